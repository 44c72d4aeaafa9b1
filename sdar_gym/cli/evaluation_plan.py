"""Plan of an evaluation: policy or server, configuration and limits, from the options and a resumed folder."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sdar_gym.cli.evaluated_policy import EvaluatedPolicy, evaluated_policy
from sdar_gym.configs import load_config
from sdar_gym.configs.load import PUBLISHED
from sdar_gym.configs.schema import ConfigError, RunConfig
from sdar_gym.evaluation.folder import RECORD, EvaluationFolder
from sdar_gym.evaluation.record import EvaluationRecord
from sdar_gym.paths import local_path
from sdar_gym.rollout.chat_endpoint import Endpoint, EndpointError, key_from_environment
from sdar_gym.rollout.episode_limits import EpisodeLimits


@dataclass(frozen=True, slots=True)
class EvalOptions:
    """The options of the command `eval`; None where one was not given.

    Attributes:
        policy: The policy in this process.
        changes: `key=value`, with the shorthands.
        config: Configuration.
        output: Folder.
        resume: Folder of an evaluation to continue.
        endpoint: Address of a server, instead of a policy.
        model: The model's name on the server.
        key_env: Environment variable with the API key.
        max_connections: Most requests to the server at once.
        limits: Limits of an episode; those that are None keep the resumed evaluation's.
        retries: Tries of a failed episode after the first.
        max_errors: Largest share of failed episodes with exit status 0.
    """

    policy: str | None
    changes: tuple[str, ...]
    config: str | None
    output: Path | None
    resume: Path | None
    endpoint: str | None
    model: str | None
    key_env: str | None
    max_connections: int
    limits: EpisodeLimits
    retries: int
    max_errors: float


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """What is evaluated, with everything that was left out filled in.

    Attributes:
        run: The configuration.
        config: Its name or file.
        limits: Limits of an episode.
        policy: The policy in this process, or None.
        endpoint: The server, or None.
        folder: The evaluation that is resumed, or None.
        before: Its record.
        own_panel: Whether its panel is taken as it is: nothing was given that chooses another.
    """

    run: RunConfig
    config: str
    limits: EpisodeLimits
    policy: EvaluatedPolicy | None
    endpoint: Endpoint | None
    folder: EvaluationFolder | None
    before: EvaluationRecord | None
    own_panel: bool = False

    @property
    def name(self) -> str:
        """The policy as it is recorded."""
        return self.policy.name if self.policy is not None else self.endpoint.model if self.endpoint else ""


def plan_evaluation(options: EvalOptions) -> EvaluationPlan:
    """What is evaluated, from the options and the evaluation that is resumed.

    Args:
        options: Of the command line.

    Raises:
        ValueError: Options that do not fit each other, a setting or the resumed folder is invalid.
    """
    if options.policy is not None and options.endpoint is not None:
        raise ConfigError(f"Name a policy ({options.policy}) or a server (--endpoint), not both.")
    if options.endpoint is None and (options.model is not None or options.key_env is not None):
        unused = "--model" if options.model is not None else "--key-env"
        if options.resume is None or options.model is not None:
            raise ConfigError(f"{unused} is for a server; name its address with --endpoint URL.")
    if options.endpoint is not None and not options.model:
        raise EndpointError("--endpoint needs the model's name on the server: --model NAME.")
    folder, before = None, None
    if options.resume is not None:
        if options.output is not None:
            raise ConfigError("--output has no effect with --resume, which continues in the folder.")
        folder = EvaluationFolder(local_path("--resume", options.resume))
        before = folder.record()
    named, address, model = options.policy, options.endpoint, options.model
    if before is not None and named is None and address is None:
        named, address, model = (
            (before.policy, None, None) if before.endpoint is None else (None, before.endpoint, before.policy)
        )
    if named is None and address is None:
        raise ConfigError("Name a policy (a run folder, builtin:tiny, …), or a server: --endpoint URL --model NAME.")
    policy = None if named is None else evaluated_policy(named)
    limits = options.limits
    if before is not None:
        given = {name: getattr(limits, name) for name in before.limits}
        limits = EpisodeLimits(**{name: before.limits[name] if now is None else now for name, now in given.items()})
    run, config = _configuration(options, policy, before)
    endpoint = None
    if address is not None:
        endpoint = Endpoint(
            address,
            model or "",
            key_from_environment(options.key_env),
            options.max_connections,
            run.rollout.chat_template_kwargs,
        )
    chooses = ("evaluation.panel", "evaluation.tasks", "evaluation.split", "env")
    own_panel = _as_it_was(options) and not any(change.partition("=")[0] in chooses for change in options.changes)
    return EvaluationPlan(run, config, limits, policy, endpoint, folder, before, own_panel)


def _as_it_was(options: EvalOptions) -> bool:
    """Whether the configuration is that of the resumed evaluation."""
    given = (options.config, options.policy, options.endpoint)
    return options.resume is not None and given == (None, None, None)


def _configuration(
    options: EvalOptions, policy: EvaluatedPolicy | None, before: EvaluationRecord | None
) -> tuple[RunConfig, str]:
    if before is not None and _as_it_was(options):
        named = [change.partition("=")[0] for change in options.changes]
        missing = [name for name in before.secrets_left_out if name not in named]
        if missing:
            raise ConfigError(
                f"{options.resume} does not keep the password of {', '.join(missing)}; give the setting again."
            )
        return recorded_config(before, options.resume or Path(), options.changes), before.config
    config = options.config or (policy.default_config if policy is not None else PUBLISHED)
    return load_config(config, options.changes), config


def recorded_config(record: EvaluationRecord, folder: Path, changes: Sequence[str]) -> RunConfig:
    """The configuration in an evaluation's record, with changes.

    Args:
        record: The record.
        folder: Its folder, for messages.
        changes: `key=value`.

    Raises:
        ConfigError: It has settings that this version does not know, or a change is invalid.
    """
    with tempfile.TemporaryDirectory(prefix="sdar-gym-eval-") as place:
        path = Path(place) / "settings.yaml"
        path.write_text(json.dumps(record.settings), encoding="utf-8")  # JSON is YAML.
        try:
            return load_config(str(path), changes)
        except ConfigError as error:
            raise ConfigError(str(error).replace(str(path), f"the settings in {folder / RECORD}")) from error

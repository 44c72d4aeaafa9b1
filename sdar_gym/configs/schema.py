"""The form of a run's YAML: every key is known, every value has its type, and a mistake is named with its mend."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from sdar_gym.configs.settings import (
    EvaluationSettings,
    PolicySettings,
    ResourceSettings,
    RolloutSettings,
    SkillSettings,
    TrainingSettings,
    at_least,
)


class ConfigError(ValueError):
    """A configuration with an unknown key or a senseless value."""


@dataclass(frozen=True, slots=True)
class RunConfig:
    """One run.

    Attributes:
        name: The run's folder is called after it and the algorithm.
        algorithm: Preset of the learner: `sdar`, `grpo`, …
        env: A registered environment.
        env_config: Arguments of the environment.
        seed: Of tasks, draws and order of rows.
        runs_dir: Folder of the run folders.
        checkpoint_interval: Updates between checkpoints; there is always one at the end.
    """

    name: str
    env: str
    algorithm: str = "sdar"
    env_config: dict[str, Any] = field(default_factory=dict)
    policy: PolicySettings = field(default_factory=PolicySettings)
    skills: SkillSettings = field(default_factory=SkillSettings)
    rollout: RolloutSettings = field(default_factory=RolloutSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    resources: ResourceSettings = field(default_factory=ResourceSettings)
    seed: int = 0
    runs_dir: str = "runs"
    checkpoint_interval: int = 10

    def __post_init__(self) -> None:
        at_least("seed", self.seed, 0)
        at_least("checkpoint_interval", self.checkpoint_interval, 1)

    def to_dict(self) -> dict[str, Any]:
        """The resolved configuration, as it is saved with a run."""
        content = asdict(self)
        content["training"]["adam_betas"] = list(self.training.adam_betas)
        return content


def parse_run_config(content: Any, origin: str) -> RunConfig:
    """Check a configuration.

    Args:
        content: What the YAML says.
        origin: Where it came from; named in errors.

    Raises:
        ConfigError: It has an unknown key, a value of the wrong type, or one that makes no sense.
    """
    if not isinstance(content, dict):
        raise ConfigError(f"{origin} is not a configuration: it holds {type(content).__name__}, not settings.")
    _refuse_unknown(RunConfig, content, "", origin)
    try:
        return TypeAdapter(RunConfig).validate_python(content)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        cause = problem.get("ctx", {}).get("error")
        if isinstance(cause, ValueError):
            raise ConfigError(f"{cause} (in {origin})") from error
        raise ConfigError(f"{where}: {problem['msg']}, got {problem['input']!r} (in {origin}).") from error


def _refuse_unknown(kind: type, content: dict[str, Any], prefix: str, origin: str) -> None:
    hints = get_type_hints(kind)
    known = [entry.name for entry in fields(kind)]
    for key, value in content.items():
        if key not in known:
            close = get_close_matches(str(key), known, n=1)
            hint = f" Did you mean {prefix}{close[0]}?" if close else f" Known here: {', '.join(known)}."
            raise ConfigError(f"Unknown setting {prefix}{key} (in {origin}).{hint}")
        if is_dataclass(hints[key]) and isinstance(value, dict):
            _refuse_unknown(hints[key], value, f"{prefix}{key}.", origin)

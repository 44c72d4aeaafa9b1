"""The configuration of a run, and how it is checked: errors name the setting and suggest a fix."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sdar_gym.algorithms.methods import METHODS, get_method
from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.configs.bounds import LARGEST_SEED
from sdar_gym.configs.env_arguments import argument_types, with_absolute_paths
from sdar_gym.configs.reading import ConfigError, UnknownSettingError
from sdar_gym.configs.run_names import check_run_name
from sdar_gym.configs.sections import (
    CheckpointSettings,
    EvaluationSettings,
    PolicySettings,
    ResourceSettings,
    RolloutSettings,
    SkillSettings,
    TrainingSettings,
    WarmStartSettings,
)
from sdar_gym.configs.typed import Free, free
from sdar_gym.envs.registry import load_modules
from sdar_gym.paths import local_path
from sdar_gym.settings import Settings, setting
from sdar_gym.text import shortened
from sdar_gym.validation import one_of

__all__ = ["TRACKERS", "ConfigError", "RunConfig", "parse_run_config"]

TRACKERS = ("tensorboard", "wandb", "mlflow")


@dataclass(frozen=True, slots=True)
class RunConfig(Settings):
    """The configuration of a run."""

    name: str = setting(doc="Name of the run's folder, with the method: letters, digits, dots, underscores, hyphens.")
    env: str = setting(doc="A registered environment.")
    method: str = setting("sdar", "Preset of the learner: `sdar`, `grpo`, …")
    imports: list[str] = setting(
        doc="Modules that register your own gates, shapers, metrics, engines or environments. Every process of the run "
        "imports them.",
        factory=list,
    )
    env_config: dict[str, Any] = setting(doc="Arguments of the environment.", factory=dict)
    policy: PolicySettings = setting(doc="The language model.", factory=PolicySettings)
    skills: SkillSettings = setting(doc="The teacher's skills.", factory=SkillSettings)
    rollout: RolloutSettings = setting(doc="How episodes are played.", factory=RolloutSettings)
    training: TrainingSettings = setting(doc="The update.", factory=TrainingSettings)
    evaluation: EvaluationSettings = setting(doc="The evaluation.", factory=EvaluationSettings)
    resources: ResourceSettings = setting(doc="Processes and GPUs.", factory=ResourceSettings)
    warmstart: WarmStartSettings = setting(
        doc="Supervised fine-tuning on the expert's episodes.", factory=WarmStartSettings
    )
    seed: int = setting(0, "Seed of tasks, draws and the order of rows.", low=0, high=LARGEST_SEED)
    runs_dir: str = setting("runs", "Folder of the run folders, local or mounted.")
    mirror: str | None = setting(
        None, "Address to which the run folder is copied after each checkpoint: `s3://…`, `gs://…`; see docs/runs.md."
    )
    trackers: list[str] = setting(
        doc="Services that get the metrics too: `tensorboard`, `wandb`, `mlflow`; see docs/runs.md, Trackers.",
        factory=list,
    )
    checkpoint_interval: int = setting(10, "Updates between checkpoints; the last update always writes one.", low=1)
    checkpoints: CheckpointSettings = setting(doc="Which checkpoints are kept.", factory=CheckpointSettings)

    def _check(self) -> None:
        check_run_name(self.name)
        load_modules(self.imports)
        for name in self.trackers:
            one_of("trackers", name, TRACKERS)
        self.store(
            trackers=list(dict.fromkeys(self.trackers)),
            runs_dir=str(local_path("runs_dir", self.runs_dir)),
            env_config=with_absolute_paths(self.env, self.env_config),
        )

    @property
    def objective(self) -> Objective:
        """The objective: the method's preset with this run's changes.

        Raises:
            ValueError: The method is unknown, or a setting is invalid with it.
        """
        return get_method(self.method).with_overrides(self.training.objective_of(self.method)).objective

    def to_dict(self) -> dict[str, Any]:
        """The resolved configuration, as it is saved with a run."""
        content = asdict(self)
        content["training"]["adam_betas"] = list(self.training.adam_betas)
        return content


def special_types(env_id: str) -> dict[str, Any]:
    """Narrower types than the data classes declare: an environment's arguments, an objective's groups."""
    objective = free(Objective)
    return {
        "env_config": Free(argument_types(env_id) or {}),
        "training.objective": objective,
        "training.objective_by_method": dict[str, dict[str, Any]],
        **{f"training.objective_by_method.{name}": objective for name in METHODS},
    }


def parse_run_config(content: Any, origin: str, changes: Sequence[str] = ()) -> RunConfig:
    """Checks a configuration and builds it.

    Args:
        content: Its settings as a dictionary.
        origin: File or name of the configuration, for messages.
        changes: The applied changes, `key=value`; an error that one of them caused names it.

    Raises:
        ConfigError: It has an unknown key, a value of the wrong type, or an invalid value.
    """
    if not isinstance(content, dict):
        raise ConfigError(f"{origin} is not a configuration: it holds {type(content).__name__}, not settings.")
    try:
        run = RunConfig.build("", content)
        _check_objectives(run)
    except UnknownSettingError as error:
        raise ConfigError(error.in_file(origin)) from error
    except ValueError as error:
        message = str(error).removesuffix(".")
        raise ConfigError(f"{message} (in {origin}{_cause(message, changes)}).") from error
    return run


def _check_objectives(run: RunConfig) -> None:
    """Checks the objective of the method that runs, and of every method in `objective_by_method`."""
    get_method(run.method).with_overrides(run.training.objective_of(run.method))
    for name, changes in run.training.objective_by_method.items():
        get_method(name).with_overrides(changes)


def _cause(message: str, changes: Sequence[str]) -> str:
    """The change that caused an error, as an addition to its message; empty if none did."""
    for change in reversed(changes):
        key = change.partition("=")[0].strip()
        short = key.removeprefix("training.objective.")
        group, _, last = short.rpartition(".")
        # The name of a setting at the top, such as `name`, is also an English word: it counts where a message begins.
        begin = r"(?<![\w.])" if "." in key else "^"
        unknown = f"(A run|The objective|{re.escape(group)}) has no setting {re.escape(repr(last))}"
        if re.search(rf"{begin}({re.escape(key)}|{re.escape(short)})(?!\w)|{unknown}", message):
            return f", by the change {shortened(change)}"
    return ""

"""Evaluation record: the resolved configuration of an evaluation, `evaluation.json`, and how two of them differ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sdar_gym.configs.record import flat_settings, left_out, resolved, settings_of, versions, without_secrets
from sdar_gym.configs.schema import RunConfig
from sdar_gym.envs.tasks import TaskPanel
from sdar_gym.evaluation.summary import context_of_result
from sdar_gym.rollout.episode_limits import EpisodeLimits
from sdar_gym.text import shortened

FORMAT = 1
# Sections and settings that say nothing about an evaluation: those of training, places, devices and batches.
_NOT_COMPARED = (
    "name",
    "method",
    "runs_dir",
    "seed",
    "training",
    "resources",
    "warmstart",
    "checkpoint_interval",
    "policy.model",
    "policy.lora",
    "policy.device",
    "policy.torch_threads",
    "policy.gradient_checkpointing",
    "policy.offload_teacher",
    "rollout.temperature",
    "rollout.max_batch_tokens",
    "rollout.max_failed_tasks",
    "evaluation.interval",
    "evaluation.teacher_tasks",
    "evaluation.token_turns",
    "evaluation.batch_size",
    # Files: the panel's hash is compared instead.
    "evaluation.panel",
    "evaluation.tasks",
    "evaluation.split",
)


@dataclass(frozen=True, slots=True)
class EvaluationRecord:
    """What an evaluation's result depends on.

    Attributes:
        policy: The policy as it was named, folders with their whole path; on a server the model's name there.
        endpoint: Address of the server; None for a policy in this process.
        weights: What tells the policy's weights from others under the same name; None if they cannot be seen.
        config: Name or file of the configuration.
        settings: The whole configuration, without secrets.
        limits: Limits of an episode.
        panel_name: Name of the panel.
        panel_hash: Its hash.
        tasks: Number of its tasks.
        secrets_left_out: Settings that `settings` shortens.
        about: Sampling, prompt's context and versions: for readers, not compared.
    """

    policy: str
    endpoint: str | None
    weights: str | None
    config: str
    settings: dict[str, Any]
    limits: dict[str, Any]
    panel_name: str
    panel_hash: str
    tasks: int
    secrets_left_out: list[str] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        run: RunConfig,
        panel: TaskPanel,
        *,
        policy: str,
        endpoint: str | None,
        weights: str | None,
        config: str,
        limits: EpisodeLimits,
        extra: Mapping[str, Any] | None = None,
    ) -> EvaluationRecord:
        """The record of an evaluation that is about to begin.

        Args:
            run: Its configuration.
            panel: Its tasks.
            policy: See the class.
            endpoint: See the class.
            weights: See the class.
            config: See the class.
            limits: Limits of an episode.
            extra: Further entries for readers.
        """
        run = resolved(run)
        settings = run.evaluation
        sampling = {
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "top_k": settings.top_k,
            "max_response_tokens": run.rollout.max_response_tokens,
            "seed": settings.seed,
            "repeats": settings.repeats,
        }
        context = context_of_result(run.rollout, settings)
        about = {
            "sampling": sampling,
            "context": {name: value for name, value in context.items() if name not in sampling},
            "with_skills": settings.with_skills,
            **(extra or {}),
            "versions": versions(),
        }
        return cls(
            policy=policy,
            endpoint=None if endpoint is None else str(without_secrets(endpoint)),
            weights=weights,
            config=config,
            settings=settings_of(run),
            limits=asdict(limits),
            panel_name=panel.name,
            panel_hash=panel.hash,
            tasks=len(panel.task_ids),
            secrets_left_out=left_out(run),
            about=about,
        )

    def to_json(self) -> dict[str, Any]:
        """The content of `evaluation.json`."""
        return {
            "format": FORMAT,
            "policy": self.policy,
            "endpoint": self.endpoint,
            "weights": self.weights,
            "config": self.config,
            "panel": {"name": self.panel_name, "hash": self.panel_hash, "tasks": self.tasks},
            "limits": self.limits,
            **self.about,
            "secrets_left_out": self.secrets_left_out,
            "settings": self.settings,
        }

    @classmethod
    def from_json(cls, content: Any) -> EvaluationRecord:
        """The record in an `evaluation.json`.

        Raises:
            ValueError: Something is missing or of another type; the message is a clause.
        """
        if not isinstance(content, dict):
            raise ValueError(f"it holds {type(content).__name__}, no object")
        if content.get("format") != FORMAT:
            raise ValueError(f"its format is {shortened(content.get('format'))}, and this version reads {FORMAT}")
        panel = _entry(content, "panel", dict)
        known = ("format", "policy", "endpoint", "weights", "config", "panel", "limits", "secrets_left_out", "settings")
        return cls(
            policy=_entry(content, "policy", str),
            endpoint=_entry(content, "endpoint", str, type(None)),
            weights=_entry(content, "weights", str, type(None)),
            config=_entry(content, "config", str),
            settings=_entry(content, "settings", dict),
            limits=_entry(content, "limits", dict),
            panel_name=_entry(panel, "name", str),
            panel_hash=_entry(panel, "hash", str),
            tasks=_entry(panel, "tasks", int),
            secrets_left_out=_entry(content, "secrets_left_out", list),
            about={name: value for name, value in content.items() if name not in known},
        )

    def differences(self, other: EvaluationRecord) -> list[str]:
        """How another record differs in what results depend on, `setting: here -> there` each.

        Args:
            other: The other record.
        """
        mine, theirs = self._compared(), other._compared()
        names = [*mine, *(name for name in theirs if name not in mine)]
        return [
            f"{name}: {_shown(mine.get(name))} -> {_shown(theirs.get(name))}"
            for name in names
            if _differ(mine.get(name), theirs.get(name))
        ]

    def _compared(self) -> dict[str, Any]:
        # Both sides as JSON, which has no tuples.
        flat = flat_settings(json.loads(json.dumps(self.settings)))
        settings = {
            name: value
            for name, value in flat.items()
            if not any(name == left or name.startswith(f"{left}.") for left in _NOT_COMPARED)
        }
        own = {"policy": self.policy, "endpoint": self.endpoint, "weights": self.weights, "panel": self.panel_hash}
        limits = {f"--max-{name}": value for name, value in self.limits.items()}
        return {**own, **limits, **settings}


def _entry(content: Mapping[str, Any], name: str, *kinds: type) -> Any:
    if name not in content or not isinstance(content[name], kinds):
        found = shortened(content[name]) if name in content else "missing"
        raise ValueError(f"{name} is {found}")
    return content[name]


def _differ(one: Any, other: Any) -> bool:
    return isinstance(one, bool) != isinstance(other, bool) or one != other


def _shown(value: Any) -> str:
    return "null" if value is None else shortened(value)

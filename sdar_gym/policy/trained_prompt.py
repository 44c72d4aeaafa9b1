"""Record of the prompt settings that a policy was trained with, in the folder of the exported policy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sdar_gym.configs.sections import RolloutSettings

FILE = "sdar_gym_prompt.json"
# Settings that change what the model reads. A policy that was trained with others is off its distribution.
_NAMES = (
    "context",
    "rewritten_history",
    "show_actions",
    "prompt",
    "window",
    "think",
    "few_shot",
    "system",
    "chat_template_kwargs",
)


def prompt_record(rollout: RolloutSettings) -> dict[str, Any]:
    """The settings that change what the model reads.

    Args:
        rollout: Of the training.
    """
    unused = "window" if rollout.context == "conversation" else "rewritten_history"
    return {name: getattr(rollout, name) for name in _NAMES if name != unused}


def prompt_record_text(rollout: RolloutSettings) -> str:
    """The record as the file holds it."""
    return json.dumps(prompt_record(rollout), indent=1) + "\n"


def prompt_differences(folder: Path, rollout: RolloutSettings) -> list[str]:
    """How an evaluation's prompts differ from those of the training, `setting: trained, evaluated` each.

    Args:
        folder: A model's folder; without a record there are no differences.
        rollout: Of the evaluation.
    """
    try:
        trained = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    now = prompt_record(rollout)
    if not isinstance(trained, dict):
        return []
    return [
        f"rollout.{name}: {trained[name]!r} in training, {now[name]!r} here"
        for name in _NAMES
        if name in trained and name in now and trained[name] != now[name]
    ]

"""Summary of an evaluation: episode metrics, success with its interval, and the settings the result depends on."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

from sdar_gym.configs.sections import RolloutSettings
from sdar_gym.envs.tasks import TaskPanel
from sdar_gym.rollout.metrics import episode_metrics
from sdar_gym.rollout.trajectory import Episode
from sdar_gym.text import shortened

_Z95 = 1.959963984540054


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95 % interval of a success rate; it stays within 0 and 1 and is sensible at both ends.

    Raises:
        ValueError: There are no trials, or more successes than trials.

    Source: Wilson (1927), score interval without continuity correction.
    """
    if not (_counts(successes, trials) and 0 <= successes <= trials and trials > 0):
        raise ValueError(f"{shortened(successes)} successes in {shortened(trials)} trials is no rate.")
    rate = successes / trials
    z2 = _Z95**2
    centre = (rate + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z95 / (1 + z2 / trials) * math.sqrt(rate * (1 - rate) / trials + z2 / (4 * trials**2))
    # Rounding must not put a rate of exactly 0 or 1 outside its own interval.
    return max(0.0, min(rate, centre - half)), min(1.0, max(rate, centre + half))


def context_of_result(rollout: RolloutSettings) -> dict[str, Any]:
    """The rollout settings that a result depends on, beside lengths; they are reported with it."""
    return {
        "prompt": rollout.prompt,
        "think": rollout.think,
        "window": rollout.window,
        "few_shot": rollout.few_shot,
        "system": rollout.system,
        "date": rollout.date,
    }


def summarize(
    episodes: Sequence[Episode], panel: TaskPanel, temperature: float, seed: int, with_skills: bool
) -> dict[str, Any]:
    """The result of playing an evaluation set once.

    Raises:
        ValueError: Not every task of the panel was played exactly once: the figure would not be the panel's.
    """
    if sorted(episode.task_id for episode in episodes) != sorted(panel.task_ids):
        raise ValueError(
            f"Panel {panel.name!r} has {len(panel.task_ids)} tasks, {len(episodes)} episodes came back: a runner was "
            "lost. Evaluate again."
        )
    wins = [episode.won for episode in episodes]
    low, high = wilson_interval(sum(wins), len(wins))
    metrics = episode_metrics(episodes)
    rates = [value for name, value in metrics.items() if name.startswith("success/")]
    return {
        **metrics,
        "success_low": low,
        "success_high": high,
        # Each type counts once; the types of Search-QA's real sets are the sets, whose mean published tables give.
        "by_type_mean": statistics.fmean(rates),
        "skill_coverage": metrics.get("skill_coverage"),
        "panel": panel.name,
        "panel_hash": panel.hash,
        "tasks": len(episodes),
        "temperature": temperature,
        "seed": seed,
        "with_skills": with_skills,
    }


def success_by_type(result: Mapping[str, Any]) -> dict[str, float]:
    """The success of each task type in a result.

    Args:
        result: Of `summarize`.
    """
    return {name.removeprefix("success/"): value for name, value in result.items() if name.startswith("success/")}


def _counts(*values: Any) -> bool:
    """Whether these are whole numbers: comparisons alone let halves pass, and tell nothing of what is no number."""
    return all(isinstance(value, Integral) for value in values)

"""Summary of an evaluation: episode metrics, success with its interval, and the settings the result depends on."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

from sdar_gym.configs.sections import EvaluationSettings, RolloutSettings
from sdar_gym.envs.tasks import TaskPanel
from sdar_gym.evaluation.repeated import clustered_interval, clustered_rate_interval, repeated_metrics
from sdar_gym.rollout.metrics import episode_metrics
from sdar_gym.rollout.trajectory import Episode
from sdar_gym.text import shortened

_Z95 = 1.959963984540054


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % Wilson interval of a success rate; within 0 and 1, and usable at rates of 0 and 1.

    Raises:
        ValueError: The numbers are not whole, or not 0 <= successes <= trials with at least one trial.

    Source: Wilson (1927), score interval without continuity correction.
    """
    if not (_whole_numbers(successes, trials) and 0 <= successes <= trials and trials > 0):
        raise ValueError(
            f"{shortened(successes)} successes in {shortened(trials)} trials is no rate; give whole numbers with "
            "0 <= successes <= trials and at least one trial."
        )
    rate = successes / trials
    z2 = _Z95**2
    center = (rate + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z95 / (1 + z2 / trials) * math.sqrt(rate * (1 - rate) / trials + z2 / (4 * trials**2))
    # Rounding must not put a rate of exactly 0 or 1 outside its own interval.
    return max(0.0, min(rate, center - half)), min(1.0, max(rate, center + half))


def context_of_result(rollout: RolloutSettings, evaluation: EvaluationSettings) -> dict[str, Any]:
    """The settings that are reported with a result, since it depends on them."""
    by_context = (
        {"rewritten_history": rollout.rewritten_history}
        if rollout.context == "conversation"
        else {"window": rollout.window}
    )
    return {
        "context": rollout.context,
        **by_context,
        "show_actions": rollout.show_actions,
        "max_observation_tokens": rollout.max_observation_tokens,
        "prompt": rollout.prompt,
        "think": rollout.think,
        "few_shot": rollout.few_shot,
        "system": rollout.system,
        "date": rollout.date,
        "top_p": evaluation.top_p,
        "top_k": evaluation.top_k,
    }


def summarize(
    episodes: Sequence[Episode], panel: TaskPanel, temperature: float, seed: int, with_skills: bool
) -> dict[str, Any]:
    """The result of one evaluation on a panel.

    The interval of success is Wilson's; with several episodes a task it is a bootstrap clustered by task, and `pass@k`
    and `pass^k` are added. `success` is the mean over all episodes, avg@n.

    Raises:
        ValueError: Not every task of the panel was played equally often.
    """
    by_task: defaultdict[str, list[bool]] = defaultdict(list)
    for episode in episodes:
        by_task[episode.task_id].append(episode.won)
    repeats = max((len(wins) for wins in by_task.values()), default=1)
    if set(by_task) != set(panel.task_ids) or any(len(wins) != repeats for wins in by_task.values()):
        raise ValueError(
            f"Panel {panel.name!r} has {len(panel.task_ids)} tasks, {len(episodes)} episodes came back: a runner was "
            "lost. Evaluate again."
        )
    return _summary(episodes, by_task, panel, repeats, temperature, seed, with_skills)


def summarize_finished(
    episodes: Sequence[Episode], panel: TaskPanel, repeats: int, temperature: float, seed: int, with_skills: bool
) -> dict[str, Any]:
    """The result of an evaluation in which episodes may have failed: rates are over the finished ones.

    Args:
        episodes: The finished episodes.
        panel: The panel.
        repeats: Episodes of each task that were asked for.
        temperature: Of the responses.
        seed: Of the draws.
        with_skills: Whether the acting policy saw the skills.

    Returns:
        As `summarize`, with `episodes` (finished) and `errors` (failed, not counted anywhere else). `pass@k` and
        `pass^k` are over the tasks whose episodes all finished.

    Raises:
        ValueError: No episode finished, or one is not of the panel.
    """
    by_task: defaultdict[str, list[bool]] = defaultdict(list)
    for episode in episodes:
        by_task[episode.task_id].append(episode.won)
    wanted = len(panel.task_ids) * repeats
    if not episodes:
        raise ValueError(f"None of the {wanted} episodes finished, so there is no result.")
    if not set(by_task) <= set(panel.task_ids) or any(len(wins) > repeats for wins in by_task.values()):
        raise ValueError(f"The episodes are not those of panel {panel.name!r} with {repeats} of each task.")
    result = _summary(episodes, by_task, panel, repeats, temperature, seed, with_skills)
    return {**result, "episodes": len(episodes), "errors": wanted - len(episodes)}


def _summary(
    episodes: Sequence[Episode],
    by_task: Mapping[str, list[bool]],
    panel: TaskPanel,
    repeats: int,
    temperature: float,
    seed: int,
    with_skills: bool,
) -> dict[str, Any]:
    metrics = episode_metrics(episodes)
    if repeats == 1:
        low, high = wilson_interval(sum(episode.won for episode in episodes), len(episodes))
    else:
        tasks = [by_task[task_id] for task_id in panel.task_ids if task_id in by_task]
        whole = [wins for wins in tasks if len(wins) == repeats]
        if len(whole) == len(tasks):
            low, high = clustered_interval([sum(wins) / repeats for wins in tasks])
        else:
            low, high = clustered_rate_interval([sum(wins) for wins in tasks], [len(wins) for wins in tasks])
        metrics |= repeated_metrics(whole) if whole else {}
    rates = [value for name, value in metrics.items() if name.startswith("success/")]
    return {
        **metrics,
        "success_low": low,
        "success_high": high,
        # Unweighted mean over task types. In Search-QA's real data a type is a data set, as in published tables.
        "by_type_mean": statistics.fmean(rates),
        "skill_coverage": metrics.get("skill_coverage"),
        "panel": panel.name,
        "panel_hash": panel.hash,
        "tasks": len(panel.task_ids),
        "repeats": repeats,
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


def _whole_numbers(*values: Any) -> bool:
    """Whether all values are whole numbers."""
    return all(isinstance(value, Integral) for value in values)

"""Episode metrics: one aggregation for training and evaluation, extended by environments and by users.

Three sources, all averaged over episodes:

- the text environment contract (success, turns, form of responses, tokens);
- the environment's metrics: every number in `Turn.extra`, as `env/<name>`, with the last turn's value;
- functions registered with `register_metric`, as `custom/<name>`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isfinite
from numbers import Real
from typing import Any

from sdar_gym.rollout.trajectory import Episode

Metric = Callable[[Episode], float | None]

# Keys of `info` that belong to the text environment contract; their metrics are listed in `episode_metrics`.
_CONTRACT = frozenset(
    ("task_id", "task_type", "split", "goal", "admissible_actions", "action_valid", "score", "won", "skills", "turn")
)
_METRICS: dict[str, Metric] = {}


def register_metric(name: str, metric: Metric) -> None:
    """Registers a metric of finished episodes; training and evaluation log its mean as `custom/<name>`.

    Args:
        name: Its name.
        metric: Takes an `Episode` and returns a number, or None where it does not apply.

    Raises:
        ValueError: The name belongs to another metric.
    """
    taken = _METRICS.get(name)
    # The same function again, from a module that was loaded a second time, is no other metric.
    if taken is not None and _origin(taken) != _origin(metric):
        raise ValueError(f"Another metric {name!r} is registered already; choose another name.")
    _METRICS[name] = metric


def _origin(metric: Metric) -> tuple[Any, Any]:
    return getattr(metric, "__module__", None), getattr(metric, "__qualname__", metric)


def environment_metrics(info: Mapping[str, Any]) -> dict[str, float]:
    """The numbers in `info` that the environment added to the contract's keys.

    Args:
        info: What `step` returned.
    """
    return {
        name: float(value)
        for name, value in info.items()
        if name not in _CONTRACT and isinstance(value, Real) and isfinite(value)
    }


def rollout_metrics(episodes: Sequence[Episode], requested: int) -> dict[str, float]:
    """The metrics of one update's episodes.

    Args:
        episodes: The episodes that were returned.
        requested: Number of requested episodes.
    """
    return {
        "episodes": len(episodes),
        "lost_episodes": requested - len(episodes),
        "failed_episodes": sum(bool(episode.error) for episode in episodes),
        **episode_metrics(episodes),
    }


def episode_metrics(episodes: Sequence[Episode]) -> dict[str, float]:
    """Means over episodes, the same for training and evaluation.

    Returns:
        `success`, `success/<task type>` (without failed episodes), `score`, `episode_turns`, `prompt_too_long`,
        `context_full` and `context_forks` (counts), those of `turn_metrics` and `coverage`, `env/<name>` and
        `custom/<name>`.
    """
    by_type: defaultdict[str, list[float]] = defaultdict(list)
    named: defaultdict[str, list[float]] = defaultdict(list)
    for episode in episodes:
        if episode.error:
            continue
        by_type[episode.task_type].append(float(episode.won))
        for name, value in episode.metrics.items():
            named[f"env/{name}"].append(value)
        for name, metric in _METRICS.items():
            value = metric(episode)
            if value is not None:
                named[f"custom/{name}"].append(float(value))
    count = max(1, len(episodes))
    return {
        "success": sum(episode.won for episode in episodes) / count,
        "score": sum(episode.score for episode in episodes) / count,
        "episode_turns": sum(len(episode.turns) for episode in episodes) / count,
        "prompt_too_long": sum(episode.ended == "prompt_too_long" for episode in episodes),
        "context_full": sum(episode.ended == "context_full" for episode in episodes),
        "context_forks": sum(episode.context_forks for episode in episodes),
        **turn_metrics(episodes),
        **coverage(episodes),
        **{f"success/{kind}": sum(wins) / len(wins) for kind, wins in sorted(by_type.items())},
        **{name: sum(values) / len(values) for name, values in sorted(named.items())},
    }


def turn_metrics(episodes: Sequence[Episode]) -> dict[str, float]:
    """Shares of turns, and lengths in tokens.

    Returns:
        `valid_form` (share of responses in the required form), `valid_action` (understood by the environment),
        `form_errors` (responses not in the required form), `action_errors` (in the form, but not understood), `cut_off`
        (responses that reached the limit), `prompts_cut` (prompts that left past turns out), `teacher_too_long` (turns
        without a teacher because its prompt was too long), and mean and largest `prompt_tokens` and `response_tokens`.
    """
    turns = [turn for episode in episodes for turn in episode.turns]
    count = max(1, len(turns))
    prompts = [turn.prompt_tokens for turn in turns]
    responses = [turn.response_tokens for turn in turns]
    return {
        "valid_form": sum(turn.valid_form for turn in turns) / count,
        "valid_action": sum(turn.valid_action for turn in turns) / count,
        "form_errors": sum(not turn.valid_form for turn in turns) / count,
        "action_errors": sum(turn.valid_form and not turn.valid_action for turn in turns) / count,
        "cut_off": sum(turn.finish_reason == "length" for turn in turns) / count,
        "prompts_cut": sum(turn.dropped_turns > 0 for turn in turns) / count,
        "teacher_too_long": sum(turn.teacher_too_long for turn in turns) / count,
        "prompt_tokens_mean": sum(prompts) / count,
        "prompt_tokens_max": max(prompts, default=0),
        "response_tokens_mean": sum(responses) / count,
        "response_tokens_max": max(responses, default=0),
    }


def coverage(episodes: Iterable[Episode]) -> dict[str, float]:
    """Skill coverage: shares of episodes with at least one skill for the task's type.

    Args:
        episodes: Episodes of an update or an evaluation set. Those without a request for skills (`skills_specific` is
            None) are left out.

    Returns:
        `skill_coverage` over all, and `skill_coverage/<task type>` in alphabetical order; empty without requests.
    """
    by_type: defaultdict[str, list[bool]] = defaultdict(list)
    for episode in episodes:
        if episode.skills_specific is not None:
            by_type[episode.task_type].append(episode.skills_specific)
    if not by_type:
        return {}
    requests = sum(map(len, by_type.values()))
    shares = {f"skill_coverage/{kind}": sum(served) / len(served) for kind, served in sorted(by_type.items())}
    return {"skill_coverage": sum(map(sum, by_type.values())) / requests, **shares}


def tokens_of(episodes: Iterable[Episode]) -> int:
    """Number of tokens that were read or sampled: prompts, without what the engine still had, and responses."""
    return sum(
        turn.prompt_tokens - turn.cached_tokens + turn.response_tokens for episode in episodes for turn in episode.turns
    )

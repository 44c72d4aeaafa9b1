"""Estimates from several episodes of each task: pass@k, pass^k, and intervals clustered by task."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np

_RESAMPLES = 2000


def pass_at_k(trials: int, successes: int, k: int) -> float:
    """Probability that at least one of k episodes of a task succeeds, without bias from n >= k episodes.

    1 - C(n - c, k) / C(n, k).

    Source: Chen et al. (arXiv 2107.03374), equation 1.

    Args:
        trials: n, episodes of the task.
        successes: c, those that succeeded.
        k: Number of tries.
    """
    return 1.0 - comb(trials - successes, k) / comb(trials, k)


def pass_hat_k(trials: int, successes: int, k: int) -> float:
    """Probability that all of k episodes of a task succeed: C(c, k) / C(n, k).

    Source: tau-bench (arXiv 2406.12045), pass^k.

    Args:
        trials: n, episodes of the task.
        successes: c, those that succeeded.
        k: Number of tries.
    """
    return comb(successes, k) / comb(trials, k)


def sizes_of_k(repeats: int) -> list[int]:
    """The k that are reported: powers of two up to the number of repeats, and that number."""
    return sorted({2**power for power in range(repeats.bit_length()) if 2**power <= repeats} | {repeats})


def repeated_metrics(wins: Sequence[Sequence[bool]]) -> dict[str, float]:
    """`pass@k` and `pass^k`, means over tasks, each with its 95 % interval for the largest k.

    Args:
        wins: For each task the outcomes of its episodes, the same number for all.
    """
    repeats = len(wins[0])
    counts = [sum(outcomes) for outcomes in wins]
    result: dict[str, float] = {}
    for k in sizes_of_k(repeats):
        for name, estimate in ((f"pass@{k}", pass_at_k), (f"pass^{k}", pass_hat_k)):
            values = [estimate(repeats, count, k) for count in counts]
            result[name] = sum(values) / len(values)
            if k == repeats:
                result[f"{name}_low"], result[f"{name}_high"] = clustered_interval(values)
    return result


def clustered_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % bootstrap interval (percentiles) of a mean over tasks; tasks are resampled whole.

    Episodes of one task are alike, so resampling single episodes would give an interval that is too narrow.

    Args:
        values: One value a task, such as its success rate.
    """
    array = np.asarray(values, dtype=float)
    draws = np.random.default_rng(0)
    means = [array[draws.integers(len(array), size=len(array))].mean() for _ in range(_RESAMPLES)]
    return _percentiles(means, float(array.mean()))


def clustered_rate_interval(successes: Sequence[int], trials: Sequence[int]) -> tuple[float, float]:
    """The same of the rate of all episodes, where tasks have different numbers of episodes.

    Args:
        successes: Successful episodes of each task.
        trials: Episodes of each task, at least one.
    """
    won, played = np.asarray(successes, dtype=float), np.asarray(trials, dtype=float)
    draws = np.random.default_rng(0)
    rates = []
    for _ in range(_RESAMPLES):
        chosen = draws.integers(len(won), size=len(won))
        rates.append(won[chosen].sum() / played[chosen].sum())
    return _percentiles(rates, float(won.sum() / played.sum()))


def _percentiles(draws: Sequence[float], mean: float) -> tuple[float, float]:
    low, high = np.quantile(draws, [0.025, 0.975])
    # Rounding must not put the mean outside its own interval.
    return min(float(low), mean), max(float(high), mean)

"""Paired comparison of two policies on the same tasks: difference of success with its interval, and McNemar's test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sdar_gym.evaluation.repeated import clustered_interval
from sdar_gym.evaluation.summary import wilson_interval


@dataclass(frozen=True, slots=True)
class PairedCounts:
    """Tasks by the outcomes of two policies that each played them once.

    Attributes:
        both: Both succeeded.
        first: Only the first succeeded.
        second: Only the second succeeded.
        neither: Both failed.
    """

    both: int
    first: int
    second: int
    neither: int

    @classmethod
    def of(cls, first: Sequence[bool], second: Sequence[bool]) -> PairedCounts:
        """The counts of outcomes in the same order of tasks.

        Args:
            first: Of the first policy.
            second: Of the second policy.
        """
        pairs = list(zip(first, second, strict=True))
        return cls(*(pairs.count(outcome) for outcome in ((True, True), (True, False), (False, True), (False, False))))

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return self.both + self.first + self.second + self.neither


def newcombe_interval(counts: PairedCounts) -> tuple[float, float]:
    """The 95 % interval of the second success rate minus the first, of paired outcomes.

    The distances of both rates from their Wilson limits are squared and added, with the correlation φ of the pairs,
    which is reduced by a continuity correction where it is positive.

    Source: Newcombe (1998), Statistics in Medicine 17, 2635-2650, method 10.

    Args:
        counts: Outcomes of at least one task.
    """
    number = counts.tasks
    first, second = counts.both + counts.first, counts.both + counts.second
    (low_1, high_1), (low_2, high_2) = wilson_interval(first, number), wilson_interval(second, number)
    rate_1, rate_2 = first / number, second / number
    margins = first * (number - first) * second * (number - second)
    excess = counts.both * counts.neither - counts.first * counts.second
    if excess > 0:
        excess = max(excess - number / 2, 0.0)
    phi = excess / math.sqrt(margins) if margins else 0.0
    down = _distance(rate_2 - low_2, high_1 - rate_1, phi)
    up = _distance(high_2 - rate_2, rate_1 - low_1, phi)
    difference = rate_2 - rate_1
    return max(-1.0, difference - down), min(1.0, difference + up)


def _distance(one: float, other: float, phi: float) -> float:
    # Rounding must not make the sum of squares negative.
    return math.sqrt(max(0.0, one**2 - 2 * phi * one * other + other**2))


def mcnemar_p(first: int, second: int) -> float:
    """McNemar's exact test: the two-sided binomial p-value that both policies win the tasks in which they differ.

    Source: McNemar (1947); with the binomial distribution instead of its approximation.

    Args:
        first: Tasks that only the first policy solved.
        second: Tasks that only the second policy solved.
    """
    number = first + second
    tail = way = 1
    for k in range(min(first, second)):
        way = way * (number - k) // (k + 1)  # C(number, k + 1)
        tail += way
    # Whole numbers until the division: 2 to the power of thousands is no float.
    return float(min(1.0, 2 * tail / 2**number)) if number else 1.0


def mean_difference(first: Sequence[float], second: Sequence[float]) -> tuple[float, float, float]:
    """The mean over tasks of the second rate minus the first, with its 95 % bootstrap interval; tasks stay whole.

    Args:
        first: Success rate of the first policy in each task.
        second: Of the second policy in the same tasks.

    Returns:
        Mean, and lower and upper limit.
    """
    values = [b - a for a, b in zip(first, second, strict=True)]
    return sum(values) / len(values), *clustered_interval(values)

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from sdar_gym.evaluation.paired import PairedCounts, mcnemar_p, mean_difference, newcombe_interval


@pytest.mark.parametrize(
    ("counts", "limits"),
    [
        # Fagerland, Lydersen and Laake (2017), Statistical Analysis of Contingency Tables, chapter 8: complete response
        # before and after consolidation therapy (Cavo et al. 2012), -0.0621 (-0.1186 to -0.0046).
        (PairedCounts(59, 16, 6, 80), (-0.1186, -0.0046)),
        # The same, of the other minus the one.
        (PairedCounts(59, 6, 16, 80), (0.0046, 0.1186)),
    ],
)
def test_the_interval_is_the_published_one(counts: PairedCounts, limits: tuple[float, float]) -> None:
    assert tuple(round(limit, 4) for limit in newcombe_interval(counts)) == limits


@pytest.mark.parametrize(
    "counts",
    [
        PairedCounts(0, 0, 0, 5),
        PairedCounts(5, 0, 0, 0),
        PairedCounts(0, 5, 0, 0),
        PairedCounts(0, 0, 5, 0),
        PairedCounts(0, 0, 1, 0),
        PairedCounts(3, 0, 0, 3),
    ],
)
def test_the_interval_holds_its_difference_at_the_edges(counts: PairedCounts) -> None:
    low, high = newcombe_interval(counts)
    assert -1 <= low <= (counts.second - counts.first) / counts.tasks <= high <= 1
    assert low < high


def test_the_interval_covers_the_difference_of_correlated_policies() -> None:
    draws = random.Random(0)
    inside = 0
    for _ in range(400):
        # A common difficulty makes the outcomes of a task alike; the rates are 0.5 and 0.6.
        tasks = [draws.random() for _ in range(100)]
        first = [draws.random() < 0.5 + (0.4 if hard < 0.5 else -0.4) for hard in tasks]
        second = [draws.random() < 0.6 + (0.35 if hard < 0.5 else -0.35) for hard in tasks]
        low, high = newcombe_interval(PairedCounts.of(first, second))
        inside += low <= 0.1 <= high
    assert 0.92 <= inside / 400 <= 0.98


def test_counts_are_of_pairs() -> None:
    assert PairedCounts.of([True, True, False, False, True], [True, False, True, False, True]) == PairedCounts(
        2, 1, 1, 1
    )
    with pytest.raises(ValueError, match="zip"):
        PairedCounts.of([True], [True, False])


def test_mcnemars_test_is_the_binomial_one() -> None:
    assert mcnemar_p(0, 0) == 1
    assert mcnemar_p(5, 5) == 1
    assert mcnemar_p(0, 5) == 2 / 32
    # Two culture media, Armitage and Berry (1994), page 127: 12 and 2 pairs differ, p = .0129 (manual of StatsDirect).
    assert round(mcnemar_p(12, 2), 4) == round(mcnemar_p(2, 12), 4) == 0.0129
    assert mcnemar_p(2, 8) == float(Fraction(2 * (1 + 10 + 45), 1024))
    assert 0 < mcnemar_p(4_000, 4_400) < 1e-4


def test_rates_of_several_episodes_are_compared_task_by_task() -> None:
    first, second = [0.0, 0.5, 1.0, 0.5] * 10, [0.5, 0.5, 1.0, 1.0] * 10
    mean, low, high = mean_difference(first, second)
    assert mean == 0.25
    assert 0.1 < low < 0.25 < high < 0.4
    assert mean_difference(first, first) == (0.0, 0.0, 0.0)

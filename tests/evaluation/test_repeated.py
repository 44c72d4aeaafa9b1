from __future__ import annotations

from itertools import combinations
from statistics import fmean

import numpy as np
import pytest

from sdar_gym.evaluation.repeated import clustered_interval, pass_at_k, pass_hat_k, repeated_metrics, sizes_of_k
from sdar_gym.evaluation.summary import wilson_interval


@pytest.mark.parametrize("trials", [1, 2, 5, 8])
def test_pass_rates_are_those_of_all_choices_of_k_episodes(trials: int) -> None:
    for successes in range(trials + 1):
        outcomes = [True] * successes + [False] * (trials - successes)
        for k in range(1, trials + 1):
            choices = list(combinations(outcomes, k))
            assert pass_at_k(trials, successes, k) == pytest.approx(fmean(any(choice) for choice in choices))
            assert pass_hat_k(trials, successes, k) == pytest.approx(fmean(all(choice) for choice in choices))


def test_k_doubles_up_to_the_number_of_repeats() -> None:
    assert [sizes_of_k(repeats) for repeats in (1, 2, 6, 8)] == [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8]]
    assert set(repeated_metrics([[True, False, True]])) == {
        *("pass@1", "pass^1", "pass@2", "pass^2", "pass@3", "pass^3"),
        *("pass@3_low", "pass@3_high", "pass^3_low", "pass^3_high"),
    }


def test_tasks_that_are_all_won_or_all_lost_count_once_and_not_once_an_episode() -> None:
    rates = [1.0] * 20 + [0.0] * 20
    low, high = clustered_interval(rates)
    # Eight episodes each change nothing, if they all end alike: the interval is that of 40 tasks, not of 320.
    tasks, episodes = wilson_interval(20, 40), wilson_interval(160, 320)
    assert high - low == pytest.approx(tasks[1] - tasks[0], rel=0.15)
    assert high - low > 2 * (episodes[1] - episodes[0])
    assert clustered_interval([0.3] * 7) == pytest.approx((0.3, 0.3))


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    draws = np.random.default_rng(1)
    covered = [
        (interval := clustered_interval(draws.binomial(4, 0.4, size=50) / 4))[0] <= 0.4 <= interval[1]
        for _ in range(200)
    ]
    assert 0.88 <= fmean(covered) <= 0.99

"""Group means and deviations over trajectories and over turn rows, against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch

from sdar_gym.algorithms.losses.group_statistics import (
    episode_deviations,
    group_advantages,
    normalize_by_group,
    turn_advantages,
)
from sdar_gym.algorithms.objectives.advantage import Statistics


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_hand_computed_group():
    # Mean 1/2, unbiased variance 4·(1/4)/3 = 1/3.
    advantages = group_advantages(f64(1, 0, 0, 1), torch.tensor([7, 7, 7, 7]))
    expected = 0.5 / ((1 / 3) ** 0.5 + 1e-6)
    torch.testing.assert_close(advantages.adv_E, f64(expected, -expected, -expected, expected))


def test_groups_with_arbitrary_ids_in_any_order_do_not_mix():
    reward = f64(1, 10, 3, 50, 20)
    group = torch.tensor([-5, 1_000_000, -5, 1_000_000, 1_000_000])
    adv = group_advantages(reward, group).adv_E
    for members in ([0, 2], [1, 3, 4]):
        own = reward[members]
        torch.testing.assert_close(adv[members], (own - own.mean()) / (own.std() + 1e-6))


def test_without_std_only_the_mean_is_removed():
    adv = turn_advantages(f64(4, 0, 2), torch.zeros(3, dtype=torch.int64), torch.arange(3), normalize_by_std=False)
    torch.testing.assert_close(adv, f64(2, -2, 0))


def test_eps_is_added_to_the_deviation_and_not_to_the_variance():
    adv = group_advantages(f64(0, 2e-6), torch.zeros(2, dtype=torch.int64)).adv_E
    torch.testing.assert_close(adv, f64(-1, 1) / (2**0.5 + 1.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("normalize_by_std", [True, False])
@pytest.mark.parametrize("statistics", Statistics)
def test_group_without_spread_gets_exactly_zero(dtype: torch.dtype, normalize_by_std: bool, statistics: Statistics):
    # 0.1 has no finite binary expansion: a naive mean misses it, and dividing by eps makes that visible.
    reward = torch.tensor([0.1] * 7 + [0.0, 1.0], dtype=dtype)
    group = torch.tensor([0] * 7 + [1] * 2)
    for adv in (
        turn_advantages(reward, group, torch.arange(9), normalize_by_std=normalize_by_std, statistics=statistics),
        normalize_by_group(reward, group, normalize_by_std=normalize_by_std),
        group_advantages(reward, group).adv_E,
    ):
        assert adv.dtype == dtype
        assert torch.equal(adv[:7], torch.zeros(7, dtype=dtype))
        assert adv[7] < 0 < adv[8]


def test_integer_rewards_give_floating_advantages():
    adv = group_advantages(torch.tensor([0, 1]), torch.tensor([3, 3])).adv_E
    torch.testing.assert_close(adv, torch.tensor([-0.5, 0.5]) / 0.5**0.5)


def test_fractions_count_groups():
    #        all fail | all succeed | live and mixed | live although all fail
    reward = f64(0, 0, 1, 1, 0, 1, 0, 0.2)
    group = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    advantages = group_advantages(reward, group, success_threshold=1.0)
    assert advantages.live_group_fraction == 0.5
    assert advantages.all_fail_fraction == 0.5
    assert advantages.all_success_fraction == 0.25


def test_success_is_undefined_without_a_threshold():
    advantages = group_advantages(f64(0, 1), torch.tensor([0, 0]))
    assert advantages.all_fail_fraction is None
    assert advantages.all_success_fraction is None


def test_row_statistics_hand_computed():
    # Rows 1, 0, 0, 0: mean 1/4, unbiased variance (9/16 + 3/16)/3 = 1/4.
    group, episode = torch.zeros(4, dtype=torch.int64), torch.tensor([0, 1, 1, 1])
    adv = turn_advantages(f64(1, 0, 0, 0), group, episode, statistics=Statistics.TURN)
    torch.testing.assert_close(adv, f64(0.75, -0.25, -0.25, -0.25) / (0.5 + 1e-6))


def test_row_statistics_of_several_groups_run_over_their_own_rows():
    reward, group, turns = f64(3, 1, 2, 0, 5), torch.tensor([0, 1, 0, 1, 0]), torch.tensor([2, 7, 1, 3, 4])
    episode = torch.arange(5).repeat_interleave(turns)
    by_rows = turn_advantages(reward[episode], group[episode], episode, statistics=Statistics.TURN)
    own = reward[episode][group[episode] == 0]
    torch.testing.assert_close(by_rows[group[episode] == 0], (own - own.mean()) / (own.std() + 1e-6))


def test_turns_without_fines_get_their_episodes_advantage():
    # The plain means of 3, 6 and 18 times 0.7 are three different numbers; the group is flat all the same.
    reward, group = f64(0.7, 0.7, 0.7, 0.1, 0.3), torch.tensor([4, 4, 4, 9, 9])
    turns = torch.tensor([3, 6, 18, 2, 6])
    episode = torch.arange(5).repeat_interleave(turns)
    adv = turn_advantages(reward[episode], group[episode], episode + 100)
    torch.testing.assert_close(adv, group_advantages(reward, group).adv_E[episode], atol=1e-14, rtol=0)
    assert torch.equal(adv[:27], torch.zeros(27, dtype=torch.float64))


def test_fined_turns_hand_computed():
    reward, group, episode = f64(1.0, 0.9, 0.0), torch.tensor([0, 0, 0]), torch.tensor([10, 10, 11])
    # Trajectory: episode means 0.95 and 0, so mean 0.475 and deviation 0.95/√2. Row: over 1, 0.9, 0.
    by_trajectory = turn_advantages(reward, group, episode)
    torch.testing.assert_close(by_trajectory, (reward - 0.475) / (0.95 / 2**0.5 + 1e-6))
    by_row = turn_advantages(reward, group, episode, statistics=Statistics.TURN)
    torch.testing.assert_close(by_row, (reward - 1.9 / 3) / (reward.std() + 1e-6))
    assert by_row[1] < by_row[0]


def test_normalize_by_group_counts_entries():
    # Mean 2, unbiased variance (1 + 1 + 4 + 0)/3 = 2.
    found = normalize_by_group(f64(1, 1, 4, 2), torch.zeros(4, dtype=torch.int64))
    torch.testing.assert_close(found, f64(-1, -1, 2, 0) / (2**0.5 + 1e-6))
    centered = normalize_by_group(f64(1, 1, 4, 2), torch.zeros(4, dtype=torch.int64), normalize_by_std=False)
    torch.testing.assert_close(centered, f64(-1, -1, 2, 0))


def test_deviations_of_rows_and_episodes_hand_computed():
    # Episode 10 has rows 1 and 0.8, mean 0.9; episode 11 has 0; the group's mean over episodes is 0.45.
    reward, group, episode = f64(1.0, 0.0, 0.8), torch.tensor([3, 3, 3]), torch.tensor([10, 11, 10])
    excess, deviation, size = episode_deviations(reward, group, episode)
    torch.testing.assert_close(excess, f64(0.1, 0.0, -0.1))
    torch.testing.assert_close(deviation, f64(0.45, -0.45, 0.45))
    assert torch.equal(size, f64(2, 2, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: group_advantages(f64(1, 2, 3), torch.tensor([0, 0, 5])), r"group of one.*\[5\]"),
        (lambda: turn_advantages(f64(1, 2), torch.tensor([0, 0]), torch.tensor([8, 8])), "group of one"),
        (
            lambda: turn_advantages(f64(1, 2, 3), torch.tensor([0, 1, 0]), torch.tensor([8, 8, 9])),
            "rows in two groups",
        ),
        (lambda: group_advantages(f64(1, float("nan")), torch.tensor([0, 0])), r"finite; entries \[1\]"),
        (lambda: group_advantages(f64(1, 2), torch.tensor([0, 0, 0])), "equally long"),
        (lambda: group_advantages(f64(1, 2), torch.tensor([0.0, 0.0])), "integer ids"),
        (lambda: group_advantages(f64(), torch.tensor([], dtype=torch.int64)), "non-empty"),
    ],
)
def test_refusals(call, message: str):
    with pytest.raises(ValueError, match=message):
        call()

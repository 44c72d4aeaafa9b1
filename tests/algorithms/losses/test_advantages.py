"""RLOO and GiGPO advantages by hand; those of GRPO are in `test_group_statistics.py`."""

from __future__ import annotations

import pytest
import torch

from sdar_gym.algorithms.losses.advantages import base_advantages, leave_one_out, step_advantages
from sdar_gym.algorithms.losses.group_statistics import turn_advantages
from sdar_gym.algorithms.objectives.advantage import AdvantageEstimator, Estimator, Statistics


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


RLOO = AdvantageEstimator(Estimator.RLOO, Statistics.TRAJECTORY, normalize_by_std=False)


def gigpo(*, std: bool = False, statistics: Statistics = Statistics.TRAJECTORY) -> AdvantageEstimator:
    return AdvantageEstimator(Estimator.GIGPO, statistics, normalize_by_std=std, step_weight=2.0, gamma=0.5)


def test_leave_one_out_hand_computed():
    reward, group = f64(1, 0, 0.5, 7, 3), torch.tensor([1, 1, 1, 2, 2])
    found = leave_one_out(reward, group, torch.arange(5))
    torch.testing.assert_close(found, f64(1 - 0.25, 0 - 0.75, 0.5 - 0.5, 7 - 3, 3 - 7))


def test_leave_one_out_of_penalized_turns_hand_computed():
    # Episode 10 has three turns and was penalized 0.3 in one; its mean is 0.9. Episodes 11 and 12 have 0 and 0.6.
    reward = f64(1.0, 0.7, 1.0, 0.0, 0.6, 0.6)
    group, episode = torch.zeros(6, dtype=torch.int64), torch.tensor([10, 10, 10, 11, 12, 12])
    found = leave_one_out(reward, group, episode)
    torch.testing.assert_close(found, f64(1.0 - 0.3, 0.7 - 0.3, 1.0 - 0.3, 0.0 - 0.75, 0.6 - 0.45, 0.6 - 0.45))


def test_leave_one_out_is_the_centered_reward_scaled_up():
    rng = torch.Generator().manual_seed(0)
    reward_E = torch.rand(12, generator=rng, dtype=torch.float64)
    episode = torch.arange(12).repeat_interleave(torch.randint(1, 5, (12,), generator=rng))
    group, reward = episode // 4, reward_E[episode]
    centered = turn_advantages(reward, group, episode, normalize_by_std=False)
    torch.testing.assert_close(leave_one_out(reward, group, episode), 4 / 3 * centered)


def test_leave_one_out_of_equal_rewards_is_exactly_zero():
    reward, episode = torch.full((9,), 0.1), torch.tensor([0, 0, 0, 1, 2, 2, 2, 2, 2])
    assert torch.equal(leave_one_out(reward, torch.zeros(9, dtype=torch.int64), episode), torch.zeros(9))


# One group, two episodes: states a b c and a a d. Rewards of the steps, and the returns from each on at γ = 0.5.
STEPS = {
    "step_reward_B": f64(0, 2, 4, 1, 0, 8),
    "reward_B": f64(6, 6, 6, 9, 9, 9),
    "group_B": torch.zeros(6, dtype=torch.int64),
    "episode_B": torch.tensor([3, 3, 3, 5, 5, 5]),
    "turn_B": torch.tensor([0, 1, 2, 0, 1, 2]),
    "anchor_B": torch.tensor([0, 1, 2, 0, 0, 3]),
}
# To go: 2, 4, 4 and 3, 4, 8. State a holds 2, 3, 4: mean 3. The others were seen once.
STEP_ADVANTAGE = f64(-1, 0, 0, 0, 1, 0)


def test_step_advantages_hand_computed():
    to_go = f64(2, 4, 4, 3, 4, 8)
    group, anchor = STEPS["group_B"], STEPS["anchor_B"]
    assert torch.equal(step_advantages(to_go, group, anchor, normalize_by_std=False), STEP_ADVANTAGE)
    scaled = step_advantages(to_go, group, anchor, normalize_by_std=True)
    torch.testing.assert_close(scaled, STEP_ADVANTAGE / (1.0 + 1e-6))  # unbiased deviation of 2, 3, 4
    # The same states in another group are other states.
    split = torch.tensor([0, 0, 0, 1, 1, 1])
    assert torch.equal(step_advantages(to_go, split, anchor, normalize_by_std=False), f64(0, 0, 0, -0.5, 0.5, 0))
    nowhere = step_advantages(to_go, group, torch.arange(6), normalize_by_std=True)
    assert torch.equal(nowhere, torch.zeros(6, dtype=torch.float64))


def test_gigpo_hand_computed():
    episode = f64(-1.5, -1.5, -1.5, 1.5, 1.5, 1.5)
    torch.testing.assert_close(base_advantages(gigpo(), **STEPS), episode + 2.0 * STEP_ADVANTAGE)
    scaled = base_advantages(gigpo(std=True), **STEPS)
    deviation = 4.5**0.5  # unbiased, of 6 and 9
    torch.testing.assert_close(scaled, episode / (deviation + 1e-6) + 2.0 * STEP_ADVANTAGE / (1 + 1e-6))


def test_gigpos_episode_part_follows_the_statistics():
    shorter = {name: tensor[:5] for name, tensor in STEPS.items()}
    found = base_advantages(gigpo(statistics=Statistics.TURN), **shorter)
    mean = (3 * 6 + 2 * 9) / 5
    to_go = f64(2, 4, 4, 1, 0)  # the second episode earns 1 and 0 now; state a holds 2, 1, 0
    state = f64(to_go[0] - 1, 0, 0, to_go[3] - 1, to_go[4] - 1)
    torch.testing.assert_close(found, f64(6 - mean, 6 - mean, 6 - mean, 9 - mean, 9 - mean) + 2.0 * state)


def test_grpo_reads_neither_steps_nor_states():
    for estimator in (AdvantageEstimator(), AdvantageEstimator(statistics=Statistics.TURN, normalize_by_std=False)):
        expected = turn_advantages(
            STEPS["reward_B"],
            STEPS["group_B"],
            STEPS["episode_B"],
            normalize_by_std=estimator.normalize_by_std,
            statistics=estimator.statistics,
        )
        assert torch.equal(base_advantages(estimator, **STEPS), expected)
    assert torch.equal(base_advantages(RLOO, **STEPS), f64(-3, -3, -3, 3, 3, 3))


ALL = [
    AdvantageEstimator(),
    AdvantageEstimator(statistics=Statistics.TURN),
    RLOO,
    gigpo(),
    gigpo(std=True, statistics=Statistics.TURN),
]


def random_rows(seed: int = 0) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    turns_E = torch.randint(1, 6, (12,), generator=rng)
    episode = torch.arange(12).repeat_interleave(turns_E)
    rows = len(episode)
    penalty = 0.1 * (torch.rand(rows, generator=rng) < 0.3).double()
    return {
        "reward_B": torch.rand(12, generator=rng, dtype=torch.float64)[episode] - penalty,
        "step_reward_B": torch.rand(rows, generator=rng, dtype=torch.float64) - penalty,
        "group_B": episode // 4,
        "episode_B": episode,
        "turn_B": torch.cat([torch.arange(int(count)) for count in turns_E]),
        "anchor_B": torch.randint(0, 4, (rows,), generator=rng),
    }


@pytest.mark.parametrize("estimator", ALL, ids=str)
def test_neither_the_order_of_rows_nor_the_names_of_groups_and_states_matter(estimator: AdvantageEstimator):
    rows = random_rows()
    straight = base_advantages(estimator, **rows)
    order = torch.randperm(len(straight), generator=torch.Generator().manual_seed(1))
    renamed = rows | {name: 1000 - 7 * rows[name] for name in ("group_B", "episode_B", "anchor_B")}
    mixed = base_advantages(estimator, **{name: tensor[order] for name, tensor in renamed.items()})
    torch.testing.assert_close(mixed, straight[order], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("estimator", ALL, ids=str)
def test_groups_do_not_mix(estimator: AdvantageEstimator):
    rows = random_rows()
    whole = base_advantages(estimator, **rows)
    for group in range(3):
        own = rows["group_B"] == group
        alone = base_advantages(estimator, **{name: tensor[own] for name, tensor in rows.items()})
        torch.testing.assert_close(alone, whole[own], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("estimator", ALL, ids=str)
def test_a_group_without_spread_gets_exactly_zero(estimator: AdvantageEstimator):
    rows = random_rows()
    flat = rows | {"reward_B": torch.full_like(rows["reward_B"], 0.1), "step_reward_B": 0.0 * rows["step_reward_B"]}
    assert torch.equal(base_advantages(estimator, **flat), torch.zeros_like(rows["reward_B"]))


@pytest.mark.parametrize("estimator", ALL, ids=str)
def test_a_group_of_one_is_refused(estimator: AdvantageEstimator):
    rows = {name: tensor[STEPS["episode_B"] == 3] for name, tensor in STEPS.items()}
    with pytest.raises(ValueError, match="group of one"):
        base_advantages(estimator, **rows)

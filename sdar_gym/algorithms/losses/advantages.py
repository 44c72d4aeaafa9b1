"""Advantage estimators: GRPO (group mean), RLOO (mean of the others), GiGPO (also the mean at the same state)."""

from __future__ import annotations

import torch
from torch import Tensor

from sdar_gym.algorithms.losses.group_statistics import episode_deviations, normalize_by_group, turn_advantages
from sdar_gym.algorithms.losses.turn_reductions import discounted_to_go
from sdar_gym.algorithms.objectives.advantage import AdvantageEstimator, Estimator


def base_advantages(
    estimator: AdvantageEstimator,
    *,
    reward_B: Tensor,
    step_reward_B: Tensor,
    group_B: Tensor,
    episode_B: Tensor,
    turn_B: Tensor,
    anchor_B: Tensor,
) -> Tensor:
    """Returns the base advantage of each turn row.

    Args:
        estimator: The settings.
        reward_B: Return of the row's episode, less the penalty of this turn.
        step_reward_B: Reward of this turn alone, less its penalty; GiGPO sums it from here on.
        group_B: Integer id of each row's group.
        episode_B: Integer id of each row's episode, unique over all groups.
        turn_B: Number of the turn within its episode.
        anchor_B: Integer id of the state that the turn was played in; equal ids in one group are the same state.

    Returns:
        Advantages, shape (B,), zero in every group without spread.

    Raises:
        ValueError: See `turn_advantages`.
    """
    if estimator.estimator is Estimator.RLOO:
        return leave_one_out(reward_B, group_B, episode_B)
    advantage_B = turn_advantages(
        reward_B,
        group_B,
        episode_B,
        normalize_by_std=estimator.normalize_by_std,
        statistics=estimator.statistics,
    )
    if estimator.step_weight is None or estimator.gamma is None:
        return advantage_B
    step_return_B = discounted_to_go(step_reward_B, episode_B, turn_B, estimator.gamma)
    return advantage_B + estimator.step_weight * step_advantages(
        step_return_B, group_B, anchor_B, normalize_by_std=estimator.normalize_by_std
    )


def leave_one_out(reward_B: Tensor, group_B: Tensor, episode_B: Tensor) -> Tensor:
    """Returns the reward of each row minus the mean reward of the group's other episodes.

    Args:
        reward_B: Return of the row's episode, less the penalty of this turn.
        group_B: Integer id of each row's group.
        episode_B: Integer id of each row's episode.

    Returns:
        Advantages, shape (B,).

    Raises:
        ValueError: See `turn_advantages`.

    Source:
        RLOO (arXiv 2402.14740): the baseline of a sample is the mean of the others. For episodes with equal rows it is
        G/(G-1) times the centered reward.
    """
    excess_B, deviation_B, size_B = episode_deviations(reward_B, group_B, episode_B)
    return excess_B + deviation_B * size_B / (size_B - 1.0)


def step_advantages(step_return_B: Tensor, group_B: Tensor, anchor_B: Tensor, *, normalize_by_std: bool) -> Tensor:
    """Returns the step advantage: a turn's return relative to the group's other turns in the same state.

    Args:
        step_return_B: Discounted return from each turn on.
        group_B: Integer id of each row's group.
        anchor_B: Integer id of the state; a state that occurs once in its group has advantage zero.
        normalize_by_std: Whether to divide by the deviation within the state.

    Returns:
        Advantages, shape (B,).

    Source:
        GiGPO (arXiv 2505.10978), anchor-state grouping. Deviation: states are equal if their observations are; the
        code also offers similarity.
    """
    pair_B2 = torch.stack([group_B, anchor_B], dim=1)
    _, state_B, members_N = torch.unique(pair_B2, dim=0, return_inverse=True, return_counts=True)
    shared_B = members_N[state_B] > 1
    advantage_B = torch.zeros_like(step_return_B)
    if bool(shared_B.any()):
        advantage_B[shared_B] = normalize_by_group(
            step_return_B[shared_B], state_B[shared_B], normalize_by_std=normalize_by_std
        )
    return advantage_B

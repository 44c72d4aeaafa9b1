"""Group statistics: means and standard deviations of returns within a group, over trajectories or turns.

Shapes: E episodes, B turns, N entries of either kind, G groups. Computed in float64 and returned in the type
of the rewards.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sdar_gym.algorithms.objectives.advantage import Statistics
from sdar_gym.validation import finite_number

# Added to standard deviations, as in the released code.
EPS = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Advantages:
    """Group-relative advantages, and shares of groups with spread, all failed, and all solved.

    Args:
        adv_E: Advantage of each episode.
        live_group_fraction: Share of groups with different rewards; the others have advantage zero.
        all_fail_fraction: Share of groups without any success, or None if success was not defined.
        all_success_fraction: Share of groups without any failure, or None if success was not defined.
    """

    adv_E: Tensor
    live_group_fraction: float
    all_fail_fraction: float | None = None
    all_success_fraction: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Moments:
    """Per distinct group: mean, unbiased standard deviation, smallest and largest value; and each entry's group."""

    mean_G: Tensor
    std_G: Tensor
    min_G: Tensor
    max_G: Tensor
    index_N: Tensor

    @property
    def live_G(self) -> Tensor:
        return self.min_G < self.max_G

    def normalize(self, value_N: Tensor, index_N: Tensor, normalize_by_std: bool, eps: float) -> Tensor:
        """Returns centered and scaled values, exactly zero in groups without spread."""
        adv_N = value_N.double() - self.mean_G[index_N]
        if normalize_by_std:
            adv_N = adv_N / (self.std_G[index_N] + eps)
        # The mean of equal numbers can miss them by a rounding error, which dividing by eps would blow up.
        adv_N = torch.where(self.live_G[index_N], adv_N, torch.zeros_like(adv_N))
        return adv_N.to(value_N.dtype if value_N.is_floating_point() else torch.get_default_dtype())


def group_advantages(reward_E: Tensor, group_E: Tensor, *, success_threshold: float | None = None) -> Advantages:
    """Returns (R - mean) / (std + eps) within each group of episodes.

    Args:
        reward_E: Return of each episode.
        group_E: Integer id of each episode's group, any integers in any order.
        success_threshold: An episode with at least this return is a success; None leaves success undefined.

    Returns:
        The advantages, zero in every group without spread, and the shares of live, failed and solved groups.

    Raises:
        ValueError: If the tensors do not fit each other, a reward is not finite, or a group has one episode.

    Source:
        GRPO (DeepSeekMath, arXiv 2402.03300).
    """
    moments = _group_moments(reward_E, group_E)
    all_fail = all_success = None
    if success_threshold is not None:
        finite_number("success_threshold", success_threshold)
        all_fail = (moments.max_G < success_threshold).double().mean().item()
        all_success = (moments.min_G >= success_threshold).double().mean().item()
    return Advantages(
        adv_E=moments.normalize(reward_E, moments.index_N, True, EPS),
        live_group_fraction=moments.live_G.double().mean().item(),
        all_fail_fraction=all_fail,
        all_success_fraction=all_success,
    )


def turn_advantages(
    reward_B: Tensor,
    group_B: Tensor,
    episode_B: Tensor,
    *,
    normalize_by_std: bool = True,
    statistics: Statistics = Statistics.TRAJECTORY,
) -> Tensor:
    """Returns the advantage of each turn row; rows of one episode may differ by penalties for invalid actions.

    The reward of a turn is its episode's return minus the penalty of that turn. With equal rows this is
    `group_advantages` of the episodes, spread over their rows.

    Args:
        reward_B: Reward of each turn row.
        group_B: Integer id of each row's group.
        episode_B: Integer id of each row's episode, unique over all groups.
        normalize_by_std: Divide by the group's standard deviation; False only subtracts the mean.
        statistics: `trajectory` takes mean and deviation over the episodes' mean rewards; `turn` over all rows.

    Returns:
        Advantages, shape (B,), zero in every group without spread.

    Raises:
        ValueError: If the tensors do not fit each other, a reward is not finite, a group has one episode, or an
            episode is in two groups.

    Source:
        `turn`: the released SDAR code, including penalties per turn. `trajectory`: the paper, which does not say where
        the penalty goes; that code's own trajectory option takes the first row of each episode, here it is their mean.
    """
    mean_E, group_E, episode_index_B = _episode_means(reward_B, group_B, episode_B)
    episodes = _group_moments(mean_E, group_E)
    if statistics is Statistics.TRAJECTORY:
        return episodes.normalize(reward_B, episodes.index_N[episode_index_B], normalize_by_std, EPS)
    rows = _group_moments(reward_B, group_B)
    return rows.normalize(reward_B, rows.index_N, normalize_by_std, EPS)


def episode_deviations(reward_B: Tensor, group_B: Tensor, episode_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the deviations of rows from their episode and of episodes from their group, and group sizes.

    Args:
        reward_B: Reward of each turn row.
        group_B: Integer id of each row's group.
        episode_B: Integer id of each row's episode, unique over all groups.

    Returns:
        The row's reward minus its episode's mean, the episode's mean minus the group's mean over episodes, and the
        number of episodes of the group; each of shape (B,).

    Raises:
        ValueError: See `turn_advantages`.
    """
    mean_E, group_E, episode_index_B = _episode_means(reward_B, group_B, episode_B)
    moments = _group_moments(mean_E, group_E)
    size_G = _scatter(torch.ones_like(mean_E), moments.index_N, len(moments.mean_G), "sum")
    deviation_E = torch.where(moments.live_G[moments.index_N], mean_E - moments.mean_G[moments.index_N], 0.0)
    kind = reward_B.dtype if reward_B.is_floating_point() else torch.get_default_dtype()
    return (
        (reward_B.double() - mean_E[episode_index_B]).to(kind),
        deviation_E[episode_index_B].to(kind),
        size_G[moments.index_N][episode_index_B].to(kind),
    )


def normalize_by_group(
    value_N: Tensor,
    group_N: Tensor,
    *,
    normalize_by_std: bool = True,
) -> Tensor:
    """Returns (value - mean) / (std + eps) within each group.

    Args:
        value_N: Values to normalize.
        group_N: Integer id of each entry's group.
        normalize_by_std: Divide by the unbiased standard deviation; False only subtracts the mean.

    Returns:
        Normalized values, shape (N,), zero in every group without spread.

    Raises:
        ValueError: If the tensors do not fit each other, a value is not finite, or a group has one
            entry.
    """
    moments = _group_moments(value_N, group_N)
    return moments.normalize(value_N, moments.index_N, normalize_by_std, EPS)


def _episode_means(reward_B: Tensor, group_B: Tensor, episode_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean reward and group of each episode, and each row's episode."""
    _check_entries(reward_B, group_B, "reward_B", "group_B")
    _check_entries(reward_B, episode_B, "reward_B", "episode_B")
    ids_E, episode_index_B = torch.unique(episode_B, return_inverse=True)
    group_E = _scatter(group_B, episode_index_B, len(ids_E), "amin")
    if not torch.equal(group_E, _scatter(group_B, episode_index_B, len(ids_E), "amax")):
        raise ValueError("An episode has rows in two groups: give every episode its own id, unique over all groups.")
    # Deviations from the smallest reward, so that the mean of equal rewards is that reward to the last bit.
    low_E = _scatter(reward_B.double(), episode_index_B, len(ids_E), "amin")
    excess_E = _scatter(reward_B.double() - low_E[episode_index_B], episode_index_B, len(ids_E), "mean")
    return low_E + excess_E, group_E, episode_index_B


def _group_moments(value_N: Tensor, group_N: Tensor) -> _Moments:
    _check_entries(value_N, group_N, "rewards", "groups")
    ids_G, index_N, entries_G = torch.unique(group_N, return_inverse=True, return_counts=True)
    if bool((entries_G < 2).any()):
        lonely = ids_G[entries_G < 2].tolist()
        raise ValueError(
            f"A group of one has no baseline: {len(lonely)} group(s) have a single episode, for example "
            f"{lonely[:4]}. Collect at least two episodes of every task (group_size >= 2)."
        )
    value, total_G = value_N.double(), entries_G.double()
    mean_G = _scatter(value, index_N, len(ids_G), "sum") / total_G
    square_G = _scatter((value - mean_G[index_N]) ** 2, index_N, len(ids_G), "sum")
    return _Moments(
        mean_G=mean_G,
        std_G=(square_G / (total_G - 1.0)).sqrt(),
        min_G=_scatter(value, index_N, len(ids_G), "amin"),
        max_G=_scatter(value, index_N, len(ids_G), "amax"),
        index_N=index_N,
    )


def _scatter(value_N: Tensor, index_N: Tensor, size: int, reduce: str) -> Tensor:
    return value_N.new_zeros(size).scatter_reduce(0, index_N, value_N, reduce, include_self=False)


def _check_entries(value_N: Tensor, id_N: Tensor, value_name: str, id_name: str) -> None:
    if value_N.ndim != 1 or value_N.shape != id_N.shape or len(value_N) == 0:
        raise ValueError(
            f"{value_name} and {id_name} must be equally long, non-empty vectors, "
            f"got shapes {tuple(value_N.shape)} and {tuple(id_N.shape)}."
        )
    if id_N.is_floating_point() or id_N.dtype == torch.bool:
        raise ValueError(f"{id_name} must be integer ids, got {id_N.dtype}.")
    if not bool(value_N.double().isfinite().all()):
        bad = (~value_N.double().isfinite()).nonzero().flatten().tolist()
        raise ValueError(f"{value_name} must be finite; entries {bad[:8]} are not.")

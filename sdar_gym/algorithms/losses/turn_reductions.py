"""Reductions over the tokens of a turn, the turns of an episode, and the turns that share a key.

Letters: B turns, T response tokens, E episodes, M turns of one episode. The turns of an episode need not be neighbors.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def turn_sum(value_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Returns the sum over each turn's response tokens, shape (B,)."""
    return torch.where(mask_BT, value_BT, torch.zeros_like(value_BT)).sum(dim=1)


def turn_mean(value_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Returns the mean over each turn's response tokens, shape (B,); zero for a row without tokens."""
    return turn_sum(value_BT, mask_BT) / mask_BT.sum(dim=1).clamp(min=1)


def turn_z_scores(value_BT: Tensor, mask_BT: Tensor, eps: float = 1e-6) -> Tensor:
    """Returns (value - mean) / (std + eps) within each turn, zero where masked and in turns without spread.

    Source:
        ADRS (arXiv 2608.03223) standardizes the teacher's log-probabilities within each step.
    """
    centered_BT = torch.where(mask_BT, value_BT - turn_mean(value_BT, mask_BT)[:, None], torch.zeros_like(value_BT))
    std_B = turn_mean(centered_BT**2, mask_BT).sqrt()
    return centered_BT / (std_B + eps)[:, None]


def window_mean(value_BT: Tensor, mask_BT: Tensor, width: int) -> Tensor:
    """Returns the mean over the last `width` response tokens of the turn, the token itself included.

    Args:
        value_BT: Values to smooth.
        mask_BT: Bool, True on response tokens; they are the first ones of each row.
        width: Tokens of the window, at least 1; fewer at the start of a turn.

    Returns:
        Trailing means, shape (B, T), zero where masked.
    """
    kept_BT = torch.where(mask_BT, value_BT, torch.zeros_like(value_BT))
    total_BT = kept_BT.cumsum(dim=1)
    before_BT = torch.zeros_like(total_BT)
    before_BT[:, width:] = total_BT[:, :-width] if width < total_BT.shape[1] else 0.0
    seen_T = torch.arange(1, value_BT.shape[1] + 1, device=value_BT.device).clamp(max=width)
    return torch.where(mask_BT, (total_BT - before_BT) / seen_T, torch.zeros_like(total_BT))


def episodes_in_order(episode_B: Tensor, turn_B: Tensor) -> Iterator[Tensor]:
    """Yields the row numbers of each episode, its turns in order."""
    order_B = torch.argsort(turn_B, stable=True)
    order_B = order_B[torch.argsort(episode_B[order_B], stable=True)]
    _, counts_E = torch.unique_consecutive(episode_B[order_B], return_counts=True)
    yield from order_B.split(counts_E.tolist())


def discounted_to_go(value_B: Tensor, episode_B: Tensor, turn_B: Tensor, gamma: float) -> Tensor:
    """Returns Σ_{j >= k} γ^(j-k) · value_j over the later turns of the same episode, shape (B,)."""
    result_B = torch.zeros_like(value_B)
    for rows_M in episodes_in_order(episode_B, turn_B):
        running = value_B.new_zeros(())
        for row in reversed(rows_M.tolist()):
            running = value_B[row] + gamma * running
            result_B[row] = running
    return result_B


def z_scores_by(value_B: Tensor, key_B: Tensor, eps: float = 1e-6) -> Tensor:
    """Returns (value - mean) / (std + eps) among the rows with the same key, zero without spread."""
    _, index_B = torch.unique(key_B, return_inverse=True)
    centered_B = value_B - mean_by(value_B, index_B)
    return centered_B / (mean_by(centered_B**2, index_B).sqrt() + eps)


def mean_by(value_B: Tensor, key_B: Tensor) -> Tensor:
    """Returns, for each row, the mean over the rows with the same key; shape (B,)."""
    _, index_B = torch.unique(key_B, return_inverse=True)
    size = int(index_B.max()) + 1 if len(index_B) else 0
    mean_N = value_B.new_zeros(size).scatter_reduce(0, index_B, value_B, "mean", include_self=False)
    return mean_N[index_B]


def group_mean_over_episodes(value_B: Tensor, episode_B: Tensor, group_B: Tensor) -> Tensor:
    """Returns, for each turn, the mean over its group's episodes of a value that all turns of an episode share.

    Args:
        value_B: The value.
        episode_B: Integer id of each turn's episode.
        group_B: Integer id of each turn's group.
    """
    _, index_B, turns_E = torch.unique(episode_B, return_inverse=True, return_counts=True)
    weight_B = 1.0 / turns_E[index_B].to(value_B.dtype)
    return mean_by(value_B * weight_B, group_B) / mean_by(weight_B, group_B)

"""Loss reductions: sums with global weights, independent of sharding and micro-batching."""

from __future__ import annotations

import torch
from torch import Tensor

from sdar_gym.validation import finite_number


def weighted_sum(loss_BT: Tensor, weight_BT: Tensor) -> Tensor:
    """Returns Σ weight·loss over the tokens that carry weight.

    The only reduction in this package. A mean is a sum with the global denominator in its weights, so adding the
    results of any split of a batch gives the result of the whole.

    Args:
        loss_BT: Per-token values; those without weight may hold anything, nan included.
        weight_BT: Per-token weights, zero on padding.

    Returns:
        A scalar.
    """
    return (torch.where(weight_BT != 0, loss_BT, torch.zeros_like(loss_BT)) * weight_BT).sum()


def token_mean_weights(response_mask_BT: Tensor, total_tokens: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Returns weights under which a sum is the mean over all tokens of the whole update.

    Args:
        response_mask_BT: Bool, True on response tokens of these rows.
        total_tokens: Response tokens of the whole update: every row of every shard and micro-batch.
        dtype: Type of the weights.

    Returns:
        Weights, shape (B, T); over all rows of the update they sum to one.

    Raises:
        ValueError: If `total_tokens` is not positive.

    Source:
        Token-level averaging as in DAPO (arXiv 2503.14476) and the released SDAR code ("token-mean"). Deviation:
        that code averages within each micro-batch and then over micro-batches and ranks, so that a token's
        weight depends on its neighbors; here it does not.
    """
    return response_mask_BT.to(dtype) / finite_number("total_tokens", total_tokens, above=0.0)


def sequence_mean_weights(
    response_mask_BT: Tensor, total_sequences: int, *, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Returns weights under which a sum is the mean over turns of each turn's token mean.

    Args:
        response_mask_BT: Bool, True on response tokens of these turns.
        total_sequences: Turns of the whole update: every shard and micro-batch.
        dtype: Type of the weights.

    Returns:
        Weights, shape (B, T); over all turns of the update they sum to one. A turn without tokens has none.

    Raises:
        ValueError: If `total_sequences` is not positive.

    Source:
        GRPO (DeepSeekMath, arXiv 2402.03300): mean over tokens, then over the outputs of a group. The SDAR paper
        writes its losses this way, over flattened trajectories; its released code uses token means.
    """
    tokens_B = response_mask_BT.sum(dim=1).clamp(min=1).to(dtype)
    per_turn_B = tokens_B * finite_number("total_sequences", total_sequences, above=0.0)
    return response_mask_BT.to(dtype) / per_turn_B.unsqueeze(1)

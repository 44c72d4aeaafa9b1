"""Sampling of tokens from logits, by inverting the cumulative distribution at one uniform number per row.

A row's draw depends on its own number alone, so the make-up of a batch does not change it.
"""

from __future__ import annotations

from math import isnan

import torch

from sdar_gym.policy.errors import NonFiniteWeightsError
from sdar_gym.rollout.engines.base import SamplingParams

# Tokens that are added up before the sums are: the fastest of a few powers of two.
_BLOCK = 64


def sample(
    logits_BV: torch.Tensor, params: SamplingParams, uniform_B: torch.Tensor, forbidden: torch.Tensor
) -> list[tuple[int, float]]:
    """Draws one token per row, with one transfer from the device.

    Args:
        logits_BV: Logits, float32.
        params: Temperature, top-p and top-k.
        uniform_B: Numbers in [0, 1), float64.
        forbidden: Tokens that are not drawn. Log-probabilities are those of the whole vocabulary all the same, as the
            learner computes them.

    Returns:
        Token and log-probability of each row.

    Raises:
        NonFiniteWeightsError: A logit is nan. Comparisons with nan are false, so an arbitrary token would be drawn.
    """
    temperature = params.temperature
    logp_BV = torch.log_softmax(logits_BV / temperature if temperature not in (0, 1) else logits_BV, dim=-1)
    if temperature == 0:
        drawn_B = logp_BV.index_fill(1, forbidden, -torch.inf).argmax(dim=-1)
    else:
        if params.top_k or params.top_p < 1:
            logp_BV = _restricted(logp_BV, params, forbidden)
        drawn_B = _inverted(logp_BV.exp().index_fill_(1, forbidden, 0.0), uniform_B.to(logits_BV.device))
    logp_B = logp_BV.gather(1, drawn_B[:, None]).squeeze(1)
    # Token ids are exact in double precision.
    tokens, logps = torch.stack([drawn_B.double(), logp_B.double()]).tolist()
    # A nan among the logits makes the whole row nan.
    if any(map(isnan, logps)):
        raise NonFiniteWeightsError(
            "The model's logits are not numbers (nan): its weights have diverged, or half precision overflowed. Go "
            "back to the last good checkpoint with a lower training.lr, or use policy.dtype=bfloat16 or float32."
        )
    return [(int(token), logp) for token, logp in zip(tokens, logps, strict=True)]


def _restricted(logp_BV: torch.Tensor, params: SamplingParams, forbidden: torch.Tensor) -> torch.Tensor:
    """Log-probabilities among the most likely tokens; -inf for the others, and for those that are not drawn."""
    sorted_BV, order_BV = logp_BV.index_fill(1, forbidden, -torch.inf).sort(dim=-1, descending=True, stable=True)
    if params.top_k:
        sorted_BV[:, params.top_k :] = -torch.inf
    if params.top_p < 1:
        # Of what top-k left, as the usual order of the two is.
        share_BV = torch.softmax(sorted_BV.double(), dim=-1)
        # A token is left out if those before it reach the limit; the first one never is.
        sorted_BV[share_BV.cumsum(dim=-1) - share_BV >= params.top_p] = -torch.inf
    return torch.empty_like(logp_BV).scatter_(1, order_BV, torch.log_softmax(sorted_BV, dim=-1))


def _inverted(weights_BV: torch.Tensor, uniform_B: torch.Tensor) -> torch.Tensor:
    """The token at which the cumulative distribution passes each number: first its block, then the token in it."""
    rows, vocabulary = weights_BV.shape
    padded = torch.nn.functional.pad(weights_BV, (0, -vocabulary % _BLOCK)).view(rows, -1, _BLOCK)
    totals = padded.sum(dim=-1, dtype=torch.float64).cumsum(dim=-1)
    # Scaled by the total, since rounding may leave it a little above or below 1.
    mark_B1 = uniform_B[:, None] * totals[:, -1:]
    block_B1 = torch.searchsorted(totals, mark_B1, right=True).clamp_(max=totals.shape[1] - 1)
    before_B1 = torch.where(block_B1 > 0, totals.gather(1, (block_B1 - 1).clamp_(min=0)), 0.0)
    inside = padded[torch.arange(rows, device=weights_BV.device), block_B1[:, 0]].double().cumsum(dim=-1)
    # Below the end of the block, whatever the two sums were rounded to: then the token has a weight above 0.
    rest_B1 = torch.minimum(mark_B1 - before_B1, inside[:, -1:] * (1 - 2**-50))
    token_B1 = torch.searchsorted(inside, rest_B1, right=True)
    # Not needed but for rows that are nan, where no token is the right one.
    return (block_B1 * _BLOCK + token_B1).squeeze(1).clamp_(max=vocabulary - 1)

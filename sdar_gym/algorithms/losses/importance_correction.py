"""Importance correction: weights for tokens of a sampler whose probabilities differ from the learner's.

An engine with other kernels, precision or cache layout samples from a slightly different policy than the learner
computes gradients of, even with equal weights.
"""

from __future__ import annotations

from math import log

import torch
from torch import Tensor

from sdar_gym.algorithms.losses.sampled_divergences import LOG_RATIO_LIMIT, k3_kl


def importance_weights(
    mode: str, logp_BT: Tensor, sampler_logp_BT: Tensor, response_mask_BT: Tensor, *, cap: float
) -> Tensor:
    """Returns the importance weight of every token, learner to sampler; 0 for tokens that leave the loss.

    The ratio is ρ = p_learner/p_sampler of a token or, by sequence, of a whole response: the product over its tokens,
    the same for each of them. `truncate` weights with min(ρ, cap). `mask` leaves out tokens or responses with
    ρ > cap or ρ < 1/cap, and weights the others with ρ.

    Args:
        mode: `token_truncate`, `token_mask`, `sequence_truncate` or `sequence_mask`.
        logp_BT: The learner's log-probabilities at the start of the update, one row per turn, in nats.
        sampler_logp_BT: The sampler's.
        response_mask_BT: Bool, True on response tokens.
        cap: Largest ratio, at least 1.

    Returns:
        Detached weights in the type of `logp_BT`, shape (B, T); 0 where masked.

    Source:
        Truncated importance sampling as in verl's rollout correction (threshold 2) and TRL's
        `vllm_importance_sampling_mode`, which has these four modes. Deviations: a sequence is one turn, also in a
        conversation, since the ratio of a whole episode would be at the cap for its length alone; 1/cap is the lower
        end of both masks; the log-ratio is limited to ±20.
    """
    level, _, kind = mode.partition("_")
    if level not in ("token", "sequence") or kind not in ("truncate", "mask"):
        raise ValueError(f"Unknown importance correction {mode!r}: a token or sequence, then _truncate or _mask.")
    log_ratio_BT = _log_ratio(logp_BT, sampler_logp_BT, response_mask_BT)
    if level == "sequence":
        log_ratio_BT = log_ratio_BT.sum(dim=1, keepdim=True).expand_as(log_ratio_BT)
    kept_BT = response_mask_BT
    if kind == "mask":
        kept_BT = kept_BT & (log_ratio_BT.abs() <= log(cap))
    weight_BT = log_ratio_BT.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp().clamp(max=cap)
    return torch.where(kept_BT, weight_BT, torch.zeros_like(weight_BT)).to(logp_BT.dtype)


def mismatch_metrics(
    logp_BT: Tensor, sampler_logp_BT: Tensor, response_mask_BT: Tensor, weight_BT: Tensor
) -> dict[str, float]:
    """Returns how far the sampler is from the learner, over all response tokens, masked by a correction or not.

    Args:
        logp_BT: The learner's log-probabilities at the start of the update.
        sampler_logp_BT: The sampler's.
        response_mask_BT: Bool, True on response tokens.
        weight_BT: Weights under which a sum is the mean over these tokens.

    Returns:
        `mismatch_kl`, the k3 estimate of KL(sampler || learner) in nats, and the largest and smallest ratio
        p_learner/p_sampler, `mismatch_ratio_max` and `mismatch_ratio_min`.
    """
    log_ratio_BT = _log_ratio(logp_BT, sampler_logp_BT, response_mask_BT)
    ratio_N = log_ratio_BT[response_mask_BT].clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
    kl_BT = k3_kl(torch.zeros_like(log_ratio_BT), log_ratio_BT)
    return {
        "mismatch_kl": float((kl_BT * weight_BT).sum()),
        "mismatch_ratio_max": float(ratio_N.max()),
        "mismatch_ratio_min": float(ratio_N.min()),
    }


def _log_ratio(logp_BT: Tensor, sampler_logp_BT: Tensor, response_mask_BT: Tensor) -> Tensor:
    """Detached log p_learner/p_sampler in double precision, 0 where masked."""
    difference_BT = logp_BT.detach().double() - sampler_logp_BT.detach().double()
    return torch.where(response_mask_BT, difference_BT, torch.zeros_like(difference_BT))

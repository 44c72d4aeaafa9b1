"""How far the student is from its teacher or from its reference, per sampled token and differentiable."""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import Tensor

# exp() of more than this overflows float32 soon after and turns the gradient of a clipped token into 0 · inf = nan.
# Every cap used here is reached long before, so the guard changes no value.
LOG_RATIO_LIMIT = 20.0


class Divergence(StrEnum):
    """What the distillation loss measures. `NLL` needs the teacher's log-probability of the sampled token only."""

    NLL = "nll"


def nll(logp_BT: Tensor, teacher_logp_BT: Tensor) -> Tensor:
    """Returns the sampled-token log-ratio teacher/student, whose gradient is that of a negative log-likelihood.

    The teacher is a constant, so the gradient is -∇log p: every sampled token is pushed up, by as much as its gate
    allows. Ungated it is a one-sample estimate of minus the reverse KL, but its gradient is not that of the
    reverse KL: the expectation over the student's own samples is zero. What trains is the gate's deviation
    from its mean, as if σ(βΔ) were a reward.

    Args:
        logp_BT: Student log-probabilities of the sampled tokens, with gradient.
        teacher_logp_BT: Teacher log-probabilities of the same tokens.

    Returns:
        Per-token loss in nats, shape (B, T). It can be negative.

    Source:
        SDAR (arXiv 2605.15155), the per-token loss before gating; paper and released code agree (Prop. 1 and 2
        of the paper call it a weighted likelihood).
    """
    return teacher_logp_BT.detach() - logp_BT


def k3_kl(logp_BT: Tensor, ref_logp_BT: Tensor, *, cap: float = 10.0) -> Tensor:
    """Returns the k3 estimate of KL(policy || reference) from tokens sampled by the policy.

    With d = log p_ref - log p, the estimate is e^d - 1 - d: never negative, zero where both agree, and its
    expectation over the policy's samples is the KL. Beyond `cap` a token keeps its value but loses its gradient:
    where a token is more than e^11 times less likely, or 14 times more likely, to the reference, nothing pulls back.

    Args:
        logp_BT: Policy log-probabilities of the sampled tokens, with gradient.
        ref_logp_BT: Reference log-probabilities of the same tokens.
        cap: Largest value per token.

    Returns:
        Per-token estimate in nats, shape (B, T), in [0, cap].

    Source:
        J. Schulman, "Approximating KL Divergence" (2020), estimator k3. The clamp to [-10, 10] is verl's
        (`low_var_kl`), on which the released SDAR code runs; as k3 is never negative only the upper end acts.
        Deviations: expm1 keeps the digits of small d; d is limited to ±20, which no value under the cap notices.
    """
    d_BT = (ref_logp_BT.detach() - logp_BT).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    return (torch.expm1(d_BT) - d_BT).clamp(max=cap)

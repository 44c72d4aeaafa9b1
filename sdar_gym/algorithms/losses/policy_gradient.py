"""The clipped policy-gradient loss of PPO and GRPO."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sdar_gym.algorithms.losses.sampled_divergences import LOG_RATIO_LIMIT


@dataclass(frozen=True, slots=True, eq=False)
class PolicyLoss:
    """The clipped loss of every token, its ratio and the clipped tokens.

    Args:
        loss_BT: Per-token loss, with gradient.
        ratio_BT: Probability ratio current/old, detached.
        clipped_BT: Bool, where the clipped branch was taken; such a token has no gradient.
        dual_clipped_BT: Bool, where the dual clip bounded the loss; such a token has no gradient either.
    """

    loss_BT: Tensor
    ratio_BT: Tensor
    clipped_BT: Tensor
    dual_clipped_BT: Tensor


def clipped_policy_loss(
    logp_BT: Tensor,
    old_logp_BT: Tensor,
    advantage_BT: Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    dual_clip: float | None = 3.0,
) -> PolicyLoss:
    """Returns the per-token PPO loss with separate clip ranges and an optional dual clip.

    With r = p/p_old the loss is -min(r·A, clip(r, 1 - low, 1 + high)·A). Where A < 0 it is further bounded by
    -dual_clip·A, so that one token that became much more likely cannot dominate a batch.

    Args:
        logp_BT: Current log-probabilities of the sampled tokens, with gradient.
        old_logp_BT: The same under the policy of the rollout.
        advantage_BT: Advantage of each token.
        clip_low: Range below one, in (0, 1].
        clip_high: Range above one.
        dual_clip: Bound on the ratio for negative advantages, above 1; None leaves them unbounded.

    Returns:
        The per-token loss, the ratio and the masks of clipped tokens.

    Source:
        PPO (arXiv 1707.06347), clipped surrogate objective; dual clip from arXiv 1912.09729; values 0.2, 0.2 and
        3.0 as in the released SDAR code. Deviation: the log-ratio is limited to ±20, which changes no clipped
        value but keeps the gradient of clipped tokens from becoming nan.
    """
    advantage_BT, old_logp_BT = advantage_BT.detach(), old_logp_BT.detach()
    ratio_BT = (logp_BT - old_logp_BT).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
    plain_BT = -advantage_BT * ratio_BT
    bounded_BT = -advantage_BT * ratio_BT.clamp(1.0 - clip_low, 1.0 + clip_high)
    clipped_BT = (bounded_BT > plain_BT).detach()
    # where() on the masks that are reported, rather than maximum(): mask and gradient cannot disagree.
    loss_BT = torch.where(clipped_BT, bounded_BT, plain_BT)
    dual_clipped_BT = torch.zeros_like(clipped_BT)
    if dual_clip is not None:
        ceiling_BT = -dual_clip * advantage_BT
        dual_clipped_BT = ((advantage_BT < 0) & (loss_BT > ceiling_BT)).detach()
        loss_BT = torch.where(dual_clipped_BT, ceiling_BT, loss_BT)
    return PolicyLoss(loss_BT, ratio_BT.detach(), clipped_BT, dual_clipped_BT)

"""Divergences of student and teacher (or reference) estimated from the sampled tokens alone."""

from __future__ import annotations

import torch
from torch import Tensor

from sdar_gym.algorithms.objectives.distillation import Divergence

# exp() of more than this overflows float32 soon after and turns the gradient of a clipped token into 0 · inf = nan.
# Every cap used here is reached long before, so the guard changes no value.
LOG_RATIO_LIMIT = 20.0


def teacher_gap(teacher_logp_BT: Tensor, student_logp_BT: Tensor, response_mask_BT: Tensor) -> Tensor:
    """Returns the teacher-student gap of each sampled token, log p_teacher - log p_student.

    Positive where the privileged context makes the token more likely. Detached: methods use it as a weight, and a
    gradient through the weight would be another objective.

    Args:
        teacher_logp_BT: Log-probabilities of the sampled tokens under the teacher's context, in nats.
        student_logp_BT: The same tokens under the student's context, from the same numerics.
        response_mask_BT: Bool, True on response tokens.

    Returns:
        The detached gap in nats, shape (B, T), zero where masked, whatever the padding holds.

    Source:
        SDAR (arXiv 2605.15155), the teacher-student gap Δ_t = sg[log p_teacher - log p_student].
    """
    gap_BT = teacher_logp_BT.detach() - student_logp_BT.detach()
    return torch.where(response_mask_BT, gap_BT, torch.zeros_like(gap_BT))


def specific_gap(gap_BT: Tensor, contrast_BT: Tensor) -> Tensor:
    """Returns the part of each gap that the skill makes and a control text would not: the smaller of two effects.

    With Δ = log p_skill - log p_student and C = log p_skill - log p_control it is the one of both that is nearer to
    zero, and zero where their signs differ (the minmod function of numerical analysis). It is never longer than Δ, so
    that a student who has reached the teacher is left alone, and zero where the control text has the skill's effect.

    Args:
        gap_BT: Δ, teacher minus student, detached, in nats.
        contrast_BT: C, the teacher with skills minus the teacher with the control text, detached.

    Source:
        Ours. The contrast of a prompt with a blanked one is OCSD's (arXiv 2608.04788).
    """
    nearer_BT = torch.minimum(gap_BT.abs(), contrast_BT.abs())
    return torch.where(gap_BT * contrast_BT > 0, nearer_BT * gap_BT.sign(), torch.zeros_like(gap_BT))


def sampled_divergence(divergence: Divergence, logp_BT: Tensor, teacher_logp_BT: Tensor, old_logp_BT: Tensor) -> Tensor:
    """Returns the named per-token loss, shape (B, T).

    Raises:
        ValueError: If the divergence needs distributions.
    """
    match divergence:
        case Divergence.LOG_RATIO:
            return log_ratio(logp_BT, teacher_logp_BT)
        case Divergence.REVERSE_KL_PG:
            return reverse_kl_pg(logp_BT, teacher_logp_BT)
        case Divergence.REVERSE_KL_K3:
            return reverse_kl_k3(logp_BT, teacher_logp_BT, old_logp_BT)
    raise ValueError(f"{str(divergence)!r} needs distributions, not the probabilities of sampled tokens.")


def log_ratio(logp_BT: Tensor, teacher_logp_BT: Tensor) -> Tensor:
    """Returns the sampled-token log-ratio teacher/student; its gradient is that of a negative log-likelihood.

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


def reverse_kl_pg(logp_BT: Tensor, teacher_logp_BT: Tensor) -> Tensor:
    """Returns -sg[Δ]·log p, the score-function estimate of the reverse KL's gradient.

    With Δ = log p_teacher - log p the expected gradient over the student's own samples is that of
    KL(student || teacher): the derivative of Δ itself has expectation zero.

    Args:
        logp_BT: Student log-probabilities of the sampled tokens, with gradient.
        teacher_logp_BT: Teacher log-probabilities of the same tokens.

    Returns:
        Per-token surrogate, shape (B, T); only its gradient has a meaning.

    Source:
        The sampled-token mode of SDPO (arXiv 2601.20802) and OPSD (arXiv 2601.18734).
    """
    return -(teacher_logp_BT - logp_BT).detach() * logp_BT


def reverse_kl_k3(logp_BT: Tensor, teacher_logp_BT: Tensor, old_logp_BT: Tensor) -> Tensor:
    """Returns ρ·k3, an importance-weighted estimate of KL(student || teacher) from tokens of the old policy.

    With l = log p - log p_teacher and k3 = e^-l - 1 + l the gradient is ρ·l·∇log p, exactly the importance-weighted
    reverse KL; it must run through ρ and l.

    Args:
        logp_BT: Student log-probabilities of the sampled tokens, with gradient.
        teacher_logp_BT: Teacher log-probabilities of the same tokens.
        old_logp_BT: The same under the policy that sampled them.

    Returns:
        Per-token loss in nats, shape (B, T), never negative.

    Source:
        Skill-SD (arXiv 2604.10674) as in the SDAR repository: exponents capped at 20 and, of the ratio, at 10. There
        each cap keeps the value and drops the gradient.
    """
    l_BT = logp_BT - teacher_logp_BT.detach()
    k3_BT = torch.expm1((-l_BT).clamp(max=LOG_RATIO_LIMIT)) + l_BT
    return (logp_BT - old_logp_BT.detach()).clamp(max=10.0).exp() * k3_BT


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

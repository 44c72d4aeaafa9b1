"""Divergences between distributions over the vocabulary, or over its top k tokens and a tail bucket.

Letters: N tokens, V vocabulary, K top tokens. The functions work on any last dimension; they are called on one chunk
of tokens at a time, so that [all tokens, vocabulary] never exists.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sdar_gym.algorithms.objectives.distillation import Divergence


def full_divergence(
    divergence: Divergence,
    student_logp_NV: Tensor,
    teacher_logp_NV: Tensor,
    *,
    alpha: float = 0.5,
    teacher_floor: float | None = None,
) -> Tensor:
    """Returns the named divergence of each token.

    Args:
        divergence: One over distributions.
        student_logp_NV: Student log-probabilities, with gradient; each row sums to one.
        teacher_logp_NV: Teacher log-probabilities of the same tokens; constants.
        alpha: Mixing weight of `jsd`.
        teacher_floor: Lowest teacher log-probability that `reverse_kl` counts with; None for no floor.

    Returns:
        Nats, shape (N,).

    Raises:
        ValueError: If the divergence is one of sampled tokens.
    """
    teacher_logp_NV = teacher_logp_NV.detach()
    match divergence:
        case Divergence.FORWARD_CE:
            return forward_ce(student_logp_NV, teacher_logp_NV)
        case Divergence.FORWARD_KL:
            return forward_kl(student_logp_NV, teacher_logp_NV)
        case Divergence.REVERSE_KL:
            floor = teacher_floor if teacher_floor is not None else -torch.inf
            return reverse_kl(student_logp_NV, teacher_logp_NV.clamp(min=floor))
        case Divergence.JSD:
            return jensen_shannon(student_logp_NV, teacher_logp_NV, alpha)
    raise ValueError(f"{str(divergence)!r} is computed from sampled tokens, not from distributions.")


def forward_ce(student_logp_NV: Tensor, teacher_logp_NV: Tensor) -> Tensor:
    """Returns -Σ p_T log p_S. Its gradient by the student's logits, p_S - p_T, does not vanish with p_S.

    Source: DistIL (arXiv 2606.05152), the local term.
    """
    return -_expect(teacher_logp_NV, student_logp_NV)


def forward_kl(student_logp_NV: Tensor, teacher_logp_NV: Tensor) -> Tensor:
    """Returns KL(teacher || student): `forward_ce` less the teacher's entropy, so zero where both agree."""
    return _expect(teacher_logp_NV, teacher_logp_NV - student_logp_NV)


def reverse_kl(student_logp_NV: Tensor, teacher_logp_NV: Tensor) -> Tensor:
    """Returns KL(student || teacher)."""
    return _expect(student_logp_NV, student_logp_NV - teacher_logp_NV)


def jensen_shannon(student_logp_NV: Tensor, teacher_logp_NV: Tensor, alpha: float) -> Tensor:
    """Returns (1-α)·KL(student || m) + α·KL(teacher || m) with m = (1-α)·p_S + α·p_T.

    At α = 0 and α = 1 the formula is zero; there it is replaced as in published code, by the forward KL and the reverse
    KL.

    Args:
        student_logp_NV: Student log-probabilities, with gradient.
        teacher_logp_NV: Teacher log-probabilities.
        alpha: In [0, 1].

    Returns:
        Nats, shape (N,).

    Source:
        GKD (arXiv 2306.13649), generalized Jensen-Shannon divergence, as SDPO (arXiv 2601.20802) and OPSD
        (arXiv 2601.18734) use it.
    """
    if alpha == 0.0:
        return forward_kl(student_logp_NV, teacher_logp_NV)
    if alpha == 1.0:
        return reverse_kl(student_logp_NV, teacher_logp_NV)
    weights = torch.tensor([1.0 - alpha, alpha], dtype=student_logp_NV.dtype).log()
    mixture_NV = torch.logaddexp(student_logp_NV + weights[0], teacher_logp_NV + weights[1])
    return (1.0 - alpha) * reverse_kl(student_logp_NV, mixture_NV) + alpha * forward_kl(mixture_NV, teacher_logp_NV)


def entropy(logp_NV: Tensor) -> Tensor:
    """Returns the entropy of each distribution in nats."""
    return -_expect(logp_NV, logp_NV)


def with_tail_bucket(logp_NK: Tensor) -> Tensor:
    """Returns the top k tokens and a tail bucket, the log-probability of all others: shape (N, K + 1).

    Source: SDPO (arXiv 2601.20802), the tail bucket of its top-k distillation.
    """
    inside_N1 = torch.logsumexp(logp_NK, dim=-1, keepdim=True).clamp(max=-1e-7)
    return torch.cat([logp_NK, torch.log(-torch.expm1(inside_N1))], dim=-1)


def renormalized(logp_NK: Tensor) -> Tensor:
    """Returns the top k tokens, renormalized to sum to one.

    Source: OPSD (arXiv 2601.18734), top-k of the teacher without a tail.
    """
    return torch.log_softmax(logp_NK, dim=-1)


def _expect(logp_NV: Tensor, value_NV: Tensor) -> Tensor:
    """Σ p·value, zero where p is zero whatever the value there."""
    p_NV = logp_NV.exp()
    return torch.where(p_NV > 0, p_NV * value_NV, torch.zeros_like(p_NV)).sum(dim=-1)

"""What the teacher says about a sampled token: the numbers that gates, multipliers and bonuses are made from."""

from __future__ import annotations

import torch
from torch import Tensor


def teacher_gap(teacher_logp_BT: Tensor, student_logp_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Returns how much more likely the sampled token is to the teacher than to the student.

    Positive where the privileged context makes the token more likely. A signal, never a path for gradients: every
    method weighs the student by it, and a gradient through the weight would be another objective.

    Args:
        teacher_logp_BT: Log-probabilities of the sampled tokens under the teacher's context, in nats.
        student_logp_BT: The same tokens under the student's context, from the same numerics.
        mask_BT: Bool, True on response tokens.

    Returns:
        The detached gap in nats, shape (B, T), zero where masked, whatever the padding holds.

    Source:
        SDAR (arXiv 2605.15155), the teacher-student gap Δ_t = sg[log p_teacher - log p_student].
    """
    gap_BT = teacher_logp_BT.detach() - student_logp_BT.detach()
    return torch.where(mask_BT, gap_BT, torch.zeros_like(gap_BT))

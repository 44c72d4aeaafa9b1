"""Distillation targets: the teacher's distributions during an update, as hidden states or top-k values.

With support `full`, a token's hidden state is kept in main memory instead of its logits; the teacher's logits are
recomputed together with the student's, for one chunk of tokens at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sdar_gym.algorithms.losses.full_divergences import full_divergence, renormalized, with_tail_bucket
from sdar_gym.algorithms.objectives.distillation import Distillation, Support
from sdar_gym.policy.logprobs import head_logits

# Names of the values that the term adds to the scores of the sampled tokens.
DIVERGENCE, AGREEMENT, FULL_TEACHER_LOGP = "divergence", "agreement", "full_teacher_logp"


@dataclass(frozen=True, slots=True, eq=False)
class DistillationTargets:
    """The teacher's distributions for the distilled rows of a shard, on the CPU.

    Attributes:
        slot_B: For each row of the shard its place in the tensors below, -1 where it is not distilled.
        hidden_RTH: Hidden states for the head, with support `full`.
        head: The head's matrix and bias, with support `full`.
        ids_RTK: The top k tokens, with support `topk`; the drawn ones with `teacher_samples`.
        logp_RTK: Their log-probabilities under the teacher, with support `topk`.
    """

    slot_B: Tensor
    hidden_RTH: Tensor | None = None
    head: tuple[Tensor, Tensor | None] | None = None
    ids_RTK: Tensor | None = None
    logp_RTK: Tensor | None = None


class DistillationTerm:
    """The distillation term of one micro-batch, a `policy.logprobs.LogitsTerm`.

    Args:
        distill: Settings of divergence and support.
        targets: Targets of the shard.
        slot_B: Places of the micro-batch's rows in the targets, on the CPU; -1 where a row is not distilled.
        mask_BT: Bool, the micro-batch's response tokens.
        sampled_BT: The sampled tokens.
        temperature: Divisor of the logits.
    """

    def __init__(
        self,
        distill: Distillation,
        targets: DistillationTargets,
        slot_B: Tensor,
        mask_BT: Tensor,
        sampled_BT: Tensor,
        temperature: float,
    ):
        self._distill = distill
        self._temperature = temperature
        self._sampled_BT = sampled_BT
        self._head = targets.head
        self.term_mask_BT = mask_BT & (slot_B >= 0).to(mask_BT.device)[:, None]
        device, width = mask_BT.device, mask_BT.shape[1]

        def rows(kept: Tensor | None) -> Tensor | None:
            if kept is None:
                return None
            if len(kept) == 0:  # No row of this shard is distilled.
                return kept.new_zeros((len(slot_B), width, *kept.shape[2:])).to(device)
            return kept[slot_B.clamp(min=0), :width].to(device)

        self._hidden_BTH = rows(targets.hidden_RTH)
        self._ids_BTK = rows(targets.ids_RTK)
        self._logp_BTK = rows(targets.logp_RTK)

    def __call__(self, logits_NV: Tensor, rows_N: Tensor, places_N: Tensor) -> dict[str, Tensor]:
        """Divergence, agreement and, with support `full`, the teacher's log-probability of the sampled token."""
        if self._distill.support is Support.FULL:
            return self._full(logits_NV, rows_N, places_N)
        if self._distill.support is Support.TEACHER_SAMPLES:
            return self._drawn(logits_NV, rows_N, places_N)
        return self._topk(logits_NV, rows_N, places_N)

    def _drawn(self, logits_NV: Tensor, rows_N: Tensor, places_N: Tensor) -> dict[str, Tensor]:
        """Cross-entropy, estimated by tokens from the teacher: the mean of -log p_student of the draws.

        Agreement is with the token that was drawn most often.
        """
        if self._ids_BTK is None:
            raise ValueError("The teacher's samples are missing; they belong to support 'teacher_samples'.")
        ids_NK = self._ids_BTK[rows_N, places_N]
        student_NK = logits_NV.gather(1, ids_NK) - torch.logsumexp(logits_NV, dim=-1, keepdim=True)
        return {
            DIVERGENCE: -student_NK.mean(dim=-1),
            AGREEMENT: (logits_NV.argmax(dim=-1) == ids_NK.mode(dim=-1).values).to(logits_NV.dtype),
        }

    def _full(self, logits_NV: Tensor, rows_N: Tensor, places_N: Tensor) -> dict[str, Tensor]:
        if self._hidden_BTH is None or self._head is None:
            raise ValueError("The teacher's hidden states are missing; they belong to support 'full'.")
        with torch.no_grad():
            weight, bias = self._head
            teacher_NV = head_logits(weight, bias, self._hidden_BTH[rows_N, places_N], self._temperature)
            teacher_NV = torch.log_softmax(teacher_NV.to(logits_NV.dtype), dim=-1)
        sampled_N = self._sampled_BT[rows_N, places_N]
        return {
            DIVERGENCE: self._divergence(torch.log_softmax(logits_NV, dim=-1), teacher_NV),
            AGREEMENT: (logits_NV.argmax(dim=-1) == teacher_NV.argmax(dim=-1)).to(logits_NV.dtype),
            FULL_TEACHER_LOGP: teacher_NV.gather(1, sampled_N[:, None]).squeeze(1),
        }

    def _topk(self, logits_NV: Tensor, rows_N: Tensor, places_N: Tensor) -> dict[str, Tensor]:
        if self._ids_BTK is None or self._logp_BTK is None:
            raise ValueError("The teacher's top tokens are missing; they belong to support 'topk'.")
        ids_NK = self._ids_BTK[rows_N, places_N]
        teacher_NK = self._logp_BTK[rows_N, places_N].to(logits_NV.dtype)
        student_NK = logits_NV.gather(1, ids_NK) - torch.logsumexp(logits_NV, dim=-1, keepdim=True)
        completed = with_tail_bucket if self._distill.tail_bucket else renormalized
        best_N = ids_NK.gather(1, teacher_NK.argmax(dim=-1, keepdim=True)).squeeze(1)
        return {
            DIVERGENCE: self._divergence(completed(student_NK), completed(teacher_NK)),
            AGREEMENT: (logits_NV.argmax(dim=-1) == best_N).to(logits_NV.dtype),
        }

    def _divergence(self, student_logp: Tensor, teacher_logp: Tensor) -> Tensor:
        distill = self._distill
        alpha = distill.alpha if distill.alpha is not None else 0.5
        return full_divergence(
            distill.divergence, student_logp, teacher_logp, alpha=alpha, teacher_floor=distill.teacher_floor
        )

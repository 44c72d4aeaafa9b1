"""Scoring without gradient: student, teacher and reference log-probabilities, in batches within the token budget."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from sdar_gym.algorithms.methods.distil import Cost
from sdar_gym.algorithms.objectives.distillation import Distillation, Divergence, Support, TopKSource
from sdar_gym.policy.logprobs import gather_scores, response_hidden, sampled_tokens, score_responses, topk_scores
from sdar_gym.policy.prefix_caching import prefix_batches
from sdar_gym.policy.teacher_weights import TeacherWeights
from sdar_gym.training.collate import (
    INPUT_IDS,
    RESPONSE_MASK,
    RESPONSE_POSITION,
    TEACHER_INPUT_IDS,
    TEACHER_POSITION,
)
from sdar_gym.training.distillation_targets import DIVERGENCE, DistillationTargets, DistillationTerm

Columns = Mapping[str, Any]
Inputs = tuple[Tensor, Tensor, Tensor]


class Scorer:
    """Scores the responses in padded columns; B rows of a shard, T response tokens of a row.

    Args:
        token_budget: Tokens of one forward pass, padding included.
        temperature: Divisor of the logits.
        device: Device of the models.
        numerics: Makes the context in which the learner runs its forward passes, such as autocast.
        head_dtype: Precision in which the learner's head computes, or None for that of its weights.
    """

    def __init__(
        self,
        token_budget: int,
        temperature: float,
        device: torch.device,
        numerics: Callable[[], AbstractContextManager[Any]],
        head_dtype: torch.dtype | None = None,
    ):
        self._token_budget = token_budget
        self._temperature = temperature
        self._device = device
        self._numerics = numerics
        self._head_dtype = head_dtype

    def logp(
        self, model: PreTrainedModel, columns: Columns, ids: str = INPUT_IDS, positions: str = RESPONSE_POSITION
    ) -> Tensor:
        """Log-probabilities of all response tokens, [B, T], on the CPU.

        Args:
            model: In evaluation mode.
            columns: The shard.
            ids: Column of token ids.
            positions: Column of the response tokens' positions in them.
        """
        return self._each(
            columns,
            ids,
            positions,
            (),
            lambda inputs, _: score_responses(model, *inputs, self._temperature, entropy=False).logp_BT,
        )

    def student(self, model: PreTrainedModel, columns: Columns) -> tuple[Tensor, Tensor]:
        """The student's log-probabilities and entropies of all response tokens, both [B, T], on the CPU."""

        def of(inputs: Inputs, _: Tensor) -> Tensor:
            scores = score_responses(model, *inputs, self._temperature)
            return torch.stack([scores.logp_BT, scores.entropy_BT], dim=-1)

        logp_BT, entropy_BT = self._each(columns, INPUT_IDS, RESPONSE_POSITION, (2,), of).unbind(dim=-1)
        return logp_BT, entropy_BT

    def targets(
        self,
        distill: Distillation,
        student: PreTrainedModel,
        teacher: TeacherWeights,
        columns: Columns,
        chosen_B: Tensor,
        purpose: str = "loss",
    ) -> DistillationTargets:
        """The teacher's distributions as far as the divergence needs them.

        Args:
            distill: Determines the support.
            student: Selects the top k, if the settings say so.
            teacher: Provides the distributions.
            columns: The shard, with the teacher's prompts.
            chosen_B: Bool, the rows to keep; the others have no slot.
            purpose: What the targets are for; with the tokens it decides the draws of a teacher known by its samples.
        """
        chosen_B = chosen_B & torch.as_tensor(columns[RESPONSE_MASK]).any(dim=1)
        slot_B = torch.where(chosen_B, chosen_B.cumsum(dim=0) - 1, -1)
        selected = {name: torch.as_tensor(value)[chosen_B] for name, value in columns.items()}
        prompts = (selected, TEACHER_INPUT_IDS, TEACHER_POSITION)
        if distill.support is Support.FULL:
            head = teacher.head_snapshot(self._head_dtype)
            with teacher.swapped_in() as model:
                hidden = self._each(*prompts, head[0].shape[1:], lambda inputs, _: response_hidden(model, *inputs))
            return DistillationTargets(slot_B, hidden_RTH=hidden, head=head)
        if distill.support is Support.TEACHER_SAMPLES:
            draws = _generator(selected[INPUT_IDS], purpose, self._device)
            with teacher.swapped_in() as model:
                ids = self._each(
                    *prompts,
                    (distill.samples or 1,),
                    lambda inputs, _: sampled_tokens(
                        model, *inputs, distill.samples or 1, self._temperature, generator=draws
                    ),
                    dtype=torch.long,
                )
            return DistillationTargets(slot_B, ids_RTK=ids)
        # At least one token is left for the tail bucket.
        k = min(distill.k or 1, int(student.config.get_text_config().vocab_size) - 1)
        if distill.topk_source is TopKSource.TEACHER:
            with teacher.swapped_in() as model:
                # Double precision holds ids and log-probabilities alike, so that one pass gives both.
                both = self._each(
                    *prompts,
                    (k, 2),
                    lambda inputs, _: torch.stack(
                        [part.double() for part in topk_scores(model, *inputs, k, self._temperature)], dim=-1
                    ),
                )
            return DistillationTargets(slot_B, ids_RTK=both[..., 0].long(), logp_RTK=both[..., 1])
        ids = self._each(
            selected,
            INPUT_IDS,
            RESPONSE_POSITION,
            (k,),
            lambda inputs, _: topk_scores(student, *inputs, k, self._temperature)[0],
            dtype=torch.long,
        )
        with teacher.swapped_in() as model:
            logp = self._each(
                *prompts,
                (k,),
                lambda inputs, rows: gather_scores(
                    model, *inputs, ids[rows, : inputs[2].shape[1]].to(self._device), self._temperature
                ),
            )
        return DistillationTargets(slot_B, ids_RTK=ids, logp_RTK=logp)

    def costs(
        self, distill: Distillation, cost: Cost, student: PreTrainedModel, teacher: TeacherWeights, columns: Columns
    ) -> Tensor:
        """Divergence to the teacher at each response token, [B, T], in nats.

        Args:
            distill: Determines the support.
            cost: Cross-entropy or KL.
            student: In evaluation mode.
            teacher: Provides the distributions.
            columns: The shard, with the teacher's prompts.
        """
        forward = Divergence.FORWARD_CE if cost is Cost.CE else Divergence.FORWARD_KL
        measured = replace(distill, divergence=forward, alpha=None, teacher_floor=None)
        everything_B = torch.ones(len(columns[RESPONSE_POSITION]), dtype=torch.bool)
        targets = self.targets(measured, student, teacher, columns, everything_B, "cost")

        def of(inputs: Inputs, rows: Tensor) -> Tensor:
            term = distillation_term(measured, targets, targets.slot_B[rows], inputs, self._temperature)
            return score_responses(student, *inputs, self._temperature, entropy=False, term=term).extra[DIVERGENCE]

        return self._each(columns, INPUT_IDS, RESPONSE_POSITION, (), of)

    def _each(
        self,
        columns: Columns,
        ids: str,
        positions: str,
        trailing: tuple[int, ...] | torch.Size,
        compute: Callable[[Inputs, Tensor], Tensor],
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Runs a function for each micro-batch and puts the results, [b, t, ...], in their rows; zeros elsewhere."""
        mask_BT = torch.as_tensor(columns[RESPONSE_MASK])
        input_ids, position_BT = torch.as_tensor(columns[ids]), torch.as_tensor(columns[positions])
        width_B = widths(position_BT, mask_BT)
        result: Tensor | None = None
        for rows, width in prefix_batches(input_ids, position_BT[:, 0], width_B, self._token_budget):
            longest = int(mask_BT[rows].sum(dim=1).max())
            inputs = (
                input_ids[rows, :width].to(self._device),
                position_BT[rows, :longest].to(self._device),
                mask_BT[rows, :longest].to(self._device),
            )
            with torch.no_grad(), self._numerics():
                part = compute(inputs, rows)
            if result is None:
                result = torch.zeros((*mask_BT.shape, *trailing), dtype=part.dtype)
            result[rows, :longest] = part.cpu()
        return torch.zeros((*mask_BT.shape, *trailing), dtype=dtype) if result is None else result


def _generator(ids: Tensor, purpose: str, device: torch.device) -> torch.Generator:
    """Draws that the sampled tokens decide: other ones in each update, the same ones in a run that is resumed."""
    digest = hashlib.blake2b(np.ascontiguousarray(ids.numpy()).tobytes(), digest_size=7, key=purpose.encode())
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest.digest(), "big"))


def widths(position_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Tokens of each row up to and including its last response token; 0 for a row without responses."""
    return (position_BT + 1).masked_fill(~mask_BT.bool(), 0).amax(dim=1)


def distillation_term(
    distill: Distillation, targets: DistillationTargets, slot_B: Tensor, inputs: Inputs, temperature: float
) -> DistillationTerm:
    """The distillation term of a micro-batch.

    Args:
        distill: Settings of divergence and support.
        targets: Targets of the shard.
        slot_B: Places of the micro-batch's rows in the targets, on the CPU.
        inputs: Token ids, response positions and response mask of the micro-batch.
        temperature: Divisor of the logits.
    """
    input_ids, position_BT, mask_BT = inputs
    sampled_BT = input_ids.gather(1, position_BT.clamp(max=input_ids.shape[1] - 1))
    return DistillationTerm(distill, targets, slot_B, mask_BT.bool(), sampled_BT, temperature)

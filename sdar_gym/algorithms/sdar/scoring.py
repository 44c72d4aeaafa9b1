"""Scores without gradient: student, teacher and reference, in micro-batches that fit into the token budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from sdar_gym.algorithms.distillation import Chooser, Distill, Support
from sdar_gym.algorithms.divergences import Divergence
from sdar_gym.algorithms.future import Cost
from sdar_gym.algorithms.sdar.batch import TEACHER_INPUT_IDS, TEACHER_PROMPT_LENGTH
from sdar_gym.algorithms.sdar.dense_teacher import DIVERGENCE, DenseTargets, DenseTeacher
from sdar_gym.algorithms.sdar.module import ANSWER_MASK, INPUT_IDS, PROMPT_LENGTH
from sdar_gym.policy.logprobs import answer_hidden, gather_scores, score_answers, topk_scores
from sdar_gym.policy.prefix_caching import alike_batches
from sdar_gym.policy.teacher_weights import TeacherWeights

Columns = Mapping[str, Any]
Inputs = tuple[Tensor, Tensor, Tensor]


class Scorer:
    """Scores answers of padded columns; B rows of a shard, T answer tokens, K chosen tokens, H hidden size.

    Args:
        token_budget: Tokens of one forward pass, padding included.
        temperature: What logits are divided by.
        device: Where the models are.
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
        self, model: PreTrainedModel, columns: Columns, ids: str = INPUT_IDS, lengths: str = PROMPT_LENGTH
    ) -> Tensor:
        """Log-probabilities of all answers, [B, T], on the CPU.

        Args:
            model: In evaluation mode.
            columns: The shard.
            ids: Column of prompts and answers.
            lengths: Column of prompt lengths.
        """
        return self._each(
            columns,
            ids,
            lengths,
            (),
            lambda inputs, _: score_answers(model, *inputs, self._temperature, entropy=False).logp_BT,
        )

    def student(self, model: PreTrainedModel, columns: Columns) -> tuple[Tensor, Tensor]:
        """The student's log-probabilities of all answers and its entropies there, both [B, T], on the CPU."""

        def of(inputs: Inputs, _: Tensor) -> Tensor:
            scores = score_answers(model, *inputs, self._temperature)
            return torch.stack([scores.logp_BT, scores.entropy_BT], dim=-1)

        logp_BT, entropy_BT = self._each(columns, INPUT_IDS, PROMPT_LENGTH, (2,), of).unbind(dim=-1)
        return logp_BT, entropy_BT

    def targets(
        self, distill: Distill, student: PreTrainedModel, teacher: TeacherWeights, columns: Columns, chosen_B: Tensor
    ) -> DenseTargets:
        """What is needed of the teacher's distributions.

        Args:
            distill: Says which support.
            student: Chooses the top k, where the settings want that.
            teacher: Whose distributions.
            columns: The shard, with the teacher's prompts.
            chosen_B: Bool, the rows to keep; the others have no slot.
        """
        chosen_B = chosen_B & torch.as_tensor(columns[ANSWER_MASK]).any(dim=1)
        slot_B = torch.where(chosen_B, chosen_B.cumsum(dim=0) - 1, -1)
        asked = {name: torch.as_tensor(value)[chosen_B] for name, value in columns.items()}
        shown = (asked, TEACHER_INPUT_IDS, TEACHER_PROMPT_LENGTH)
        if distill.support is Support.FULL:
            head = teacher.head_snapshot(self._head_dtype)
            with teacher.borrow() as model:
                hidden = self._each(*shown, head[0].shape[1:], lambda inputs, _: answer_hidden(model, *inputs))
            return DenseTargets(slot_B, hidden_RTH=hidden, head=head)
        # The rest is at least one token.
        k = min(distill.k or 1, int(student.config.get_text_config().vocab_size) - 1)
        if distill.chooser is Chooser.TEACHER:
            with teacher.borrow() as model:
                # Double precision holds ids and log-probabilities alike, so that one pass gives both.
                both = self._each(
                    *shown,
                    (k, 2),
                    lambda inputs, _: torch.stack(
                        [part.double() for part in topk_scores(model, *inputs, k, self._temperature)], dim=-1
                    ),
                )
            return DenseTargets(slot_B, ids_RTK=both[..., 0].long(), logp_RTK=both[..., 1])
        ids = self._each(
            asked,
            INPUT_IDS,
            PROMPT_LENGTH,
            (k,),
            lambda inputs, _: topk_scores(student, *inputs, k, self._temperature)[0],
            dtype=torch.long,
        )
        with teacher.borrow() as model:
            logp = self._each(
                *shown,
                (k,),
                lambda inputs, rows: gather_scores(
                    model, *inputs, ids[rows, : inputs[2].shape[1]].to(self._device), self._temperature
                ),
            )
        return DenseTargets(slot_B, ids_RTK=ids, logp_RTK=logp)

    def costs(
        self, distill: Distill, cost: Cost, student: PreTrainedModel, teacher: TeacherWeights, columns: Columns
    ) -> Tensor:
        """How far the teacher is from the student at each answer token, [B, T], in nats.

        Args:
            distill: Says over what support.
            cost: Cross-entropy or KL.
            student: In evaluation mode.
            teacher: Whose distributions.
            columns: The shard, with the teacher's prompts.
        """
        forward = Divergence.FORWARD_CE if cost is Cost.CE else Divergence.FKL
        measured = replace(distill, divergence=forward, alpha=None, teacher_floor=None)
        everything_B = torch.ones(len(columns[PROMPT_LENGTH]), dtype=torch.bool)
        targets = self.targets(measured, student, teacher, columns, everything_B)

        def of(inputs: Inputs, rows: Tensor) -> Tensor:
            term = dense_term(measured, targets, targets.slot_B[rows], inputs, self._temperature)
            return score_answers(student, *inputs, self._temperature, entropy=False, dense=term).extra[DIVERGENCE]

        return self._each(columns, INPUT_IDS, PROMPT_LENGTH, (), of)

    def _each(
        self,
        columns: Columns,
        ids: str,
        lengths: str,
        trailing: tuple[int, ...] | torch.Size,
        compute: Callable[[Inputs, Tensor], Tensor],
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Run something for each micro-batch and put the results, [b, t, ...], in their rows; zeros elsewhere."""
        mask_BT = torch.as_tensor(columns[ANSWER_MASK])
        input_ids, prompt_length = torch.as_tensor(columns[ids]), torch.as_tensor(columns[lengths])
        result: Tensor | None = None
        for rows, width in alike_batches(input_ids, prompt_length, mask_BT.sum(dim=1), self._token_budget):
            answer = int(mask_BT[rows].sum(dim=1).max())
            inputs = (
                input_ids[rows, :width].to(self._device),
                prompt_length[rows].to(self._device),
                mask_BT[rows, :answer].to(self._device),
            )
            with torch.no_grad(), self._numerics():
                part = compute(inputs, rows)
            if result is None:
                result = torch.zeros((*mask_BT.shape, *trailing), dtype=part.dtype)
            result[rows, :answer] = part.cpu()
        return torch.zeros((*mask_BT.shape, *trailing), dtype=dtype) if result is None else result


def dense_term(
    distill: Distill, targets: DenseTargets, slot_B: Tensor, inputs: Inputs, temperature: float
) -> DenseTeacher:
    """The dense term of a micro-batch whose rows have these slots.

    Args:
        distill: Which divergence, over what support.
        targets: Of the shard.
        slot_B: Places of the micro-batch's rows in the targets.
        inputs: Prompts with answers, prompt lengths and answer mask of the micro-batch.
        temperature: What logits are divided by.
    """
    input_ids, prompt_length, mask_BT = inputs
    place_BT = prompt_length[:, None] + torch.arange(mask_BT.shape[1], device=input_ids.device)
    sampled_BT = input_ids.gather(1, place_BT.clamp(max=input_ids.shape[1] - 1))
    return DenseTeacher(distill, targets, slot_B.to(input_ids.device), mask_BT.bool(), sampled_BT, temperature)


def micro_batches(prompt_length_B: Tensor, mask_BT: Tensor, token_budget: int) -> Iterator[tuple[Tensor, int]]:
    """Rows of similar length, as many as fit into the token budget, and their width; padding rows are left out.

    Args:
        prompt_length_B: Tokens of each prompt.
        mask_BT: Bool, answer tokens.
        token_budget: Tokens of one pass, padding included.
    """
    answers_B = mask_BT.sum(dim=1)
    width_B = prompt_length_B + answers_B
    order = width_B.argsort(stable=True)
    order = order[answers_B[order] > 0].tolist()
    batch: list[int] = []
    for row in order:
        if batch and (len(batch) + 1) * int(width_B[row]) > token_budget:
            yield torch.tensor(batch), int(width_B[batch[-1]])
            batch = []
        batch.append(row)
    if batch:
        yield torch.tensor(batch), int(width_B[batch[-1]])

"""Collation: the turns of an update as padded columns with one row per token sequence, for scoring and for learning.

Letters: B turns, T response tokens of a turn, N rows of sequences, L response tokens of a sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdar_gym.algorithms.losses.aggregation import sequence_mean_weights, token_mean_weights
from sdar_gym.algorithms.objectives.objective import LossReduction, Objective
from sdar_gym.algorithms.objectives.teacher import View
from sdar_gym.policy.batching import right_padded
from sdar_gym.rollout.trajectory import TokenSequence
from sdar_gym.training.turn_batch import TurnBatch

# Columns: token ids [rows, S]; positions, mask and turn of every response token [rows, L]; values of these tokens.
INPUT_IDS, RESPONSE_POSITION, RESPONSE_MASK, SPAN = "input_ids", "response_position", "response_mask", "span"
TEACHER_INPUT_IDS, TEACHER_POSITION = "teacher_input_ids", "teacher_position"
CONTROL_INPUT_IDS, CONTROL_POSITION, CONTROL_LOGP = "control_input_ids", "control_position", "control_logp"
OLD_LOGP, ADVANTAGE, WEIGHT = "old_logp", "advantage", "weight"
DISTILL, TEACHER_LOGP, IMPORTANCE, TRUST = "distill", "teacher_logp", "importance", "trust"

Columns = dict[str, np.ndarray[Any, Any]]
# From a sequence to the tokens that somebody reads, and the start of each response span in them.
_Reading = Callable[[TokenSequence], tuple[list[int], list[int]]]


class SequenceRows:
    """The token sequences of a batch as rows, and where the response tokens of its turns are in them.

    Args:
        batch: The turns.

    Attributes:
        sequences: The sequences, one a row.
        mask: Bool, True on response tokens, [rows, L].
        span: Number of the response span of each token, from 0, [rows, L].
        position: Position of each response token in its sequence, [rows, L]; 1 where masked.
    """

    def __init__(self, batch: TurnBatch):
        turn, place = batch.response_mask_BT.numpy().nonzero()
        row, column = batch.sequence_B.numpy()[turn], batch.offset_B.numpy()[turn] + place
        shape = (len(batch.sequences), int(column.max(initial=-1)) + 1)

        def table(fill: Any, values: Any, dtype: Any = np.int64) -> np.ndarray[Any, Any]:
            result = np.full(shape, fill, dtype=dtype)
            result[row, column] = values
            return result

        self.sequences = list(batch.sequences)
        self.mask = table(False, True, bool)
        self.span = table(0, batch.span_B.numpy()[turn])
        self.position = table(1, batch.start_B.numpy()[turn] + place)
        self._turn, self._place = table(0, turn), table(0, place)

    def take(self, rows: Sequence[int]) -> SequenceRows:
        """Some of the rows, in this order."""
        taken = copy(self)
        taken.sequences = [self.sequences[row] for row in rows]
        for name in ("mask", "span", "position", "_turn", "_place"):
            setattr(taken, name, getattr(self, name)[list(rows)])
        return taken

    def gather(self, value_BT: Tensor) -> Tensor:
        """Values of turns as rows of sequences, [rows, L], zero where masked."""
        rows = value_BT[torch.from_numpy(self._turn), torch.from_numpy(self._place)]
        return torch.where(torch.from_numpy(self.mask), rows, torch.zeros_like(rows))


def scoring_columns(
    batch: TurnBatch, rows_B: Tensor, view: View, pad_id: int, *, control: bool = False
) -> tuple[Columns, Tensor]:
    """Columns of the distinct sequences to score: sequences with the same tokens have the same scores.

    Args:
        batch: The turns.
        rows_B: Bool, the turns to score; at least one.
        view: The teacher's; with `none` its prompt is the student's.
        pad_id: Padding token.
        control: Whether the blanked prompts are scored too.

    Returns:
        The columns, and the row of each turn's sequence, -1 where it is not scored.
    """
    row_of: dict[tuple[Any, ...], int] = {}
    chosen: list[int] = []
    row_of_sequence: dict[int, int] = {}
    index = [-1] * len(batch.turns)
    for turn in rows_B.nonzero().flatten().tolist():
        number = int(batch.sequence_B[turn])
        if number not in row_of_sequence:
            key = _key(batch.sequences[number])
            if key not in row_of:
                row_of[key] = len(chosen)
                chosen.append(number)
            row_of_sequence[number] = row_of[key]
        index[turn] = row_of_sequence[number]
    rows = SequenceRows(batch).take(chosen)
    columns: Columns = {RESPONSE_MASK: rows.mask, RESPONSE_POSITION: rows.position}
    columns[INPUT_IDS] = right_padded([sequence.ids for sequence in rows.sequences], pad_id)
    _add_prompts(columns, TEACHER_INPUT_IDS, TEACHER_POSITION, rows, pad_id, _teacher(view))
    if control:
        _add_prompts(columns, CONTROL_INPUT_IDS, CONTROL_POSITION, rows, pad_id, _control)
    return columns, torch.tensor(index)


def to_turns(batch: TurnBatch, row_B: Tensor, value_NL: Tensor, missing_BT: Tensor) -> Tensor:
    """Values of scored sequences as values of turns, [B, T].

    Args:
        batch: The turns.
        row_B: Row of each turn's sequence, -1 where it was not scored.
        value_NL: Values of the rows' response tokens.
        missing_BT: Values of the turns that were not scored.
    """
    place_BT = batch.offset_B[:, None] + torch.arange(batch.response_mask_BT.shape[1])
    place_BT = place_BT.clamp(max=value_NL.shape[1] - 1)
    value_BT = value_NL.to(batch.old_logp_BT.dtype)[row_B.clamp(min=0)[:, None], place_BT]
    return torch.where((row_B >= 0)[:, None] & batch.response_mask_BT, value_BT, missing_BT)


def training_columns(
    batch: TurnBatch,
    objective: Objective,
    *,
    step: int,
    row_multiple: int,
    pad_id: int,
    shuffle_seed: str,
) -> tuple[Columns, int]:
    """Merges, shuffles and pads the rows to learn from.

    Weights divide by the token count of the whole update, so that sharding and micro-batching do not change the weight
    of a token.

    Args:
        batch: The turns, with advantages.
        objective: Determines how tokens are averaged and which are distilled.
        step: Number of completed updates.
        row_multiple: The number of rows is a multiple of it.
        pad_id: Padding token.
        shuffle_seed: Rows are shuffled with it, so that minibatches mix tasks.

    Returns:
        The columns, and the number of rows before padding; padding rows have weight zero.

    Raises:
        ValueError: The batch has no advantages yet.
    """
    if batch.advantage_BT is None:
        raise ValueError("The batch has no advantages: shape it before it is collated.")
    everything = SequenceRows(batch)
    distill_BT = batch.distilled_BT(objective)
    advantage_NL, distill_NL = everything.gather(batch.advantage_BT), everything.gather(distill_BT)
    merged = _merge(batch, everything, advantage_NL, distill_NL, objective)
    Random(shuffle_seed).shuffle(merged)
    rows = everything.take([group[0] for group in merged])
    count = -(-len(merged) // row_multiple) * row_multiple
    copies = torch.tensor([len(group) for group in merged])
    weight_NL = rows.gather(loss_weights(batch, objective))
    advantage = torch.stack([advantage_NL[group].double().mean(dim=0) for group in merged])
    columns: Columns = {
        RESPONSE_MASK: _filled(rows.mask, count),
        RESPONSE_POSITION: _filled(rows.position, count, 1),
        SPAN: _filled(rows.span, count),
        OLD_LOGP: _filled(rows.gather(batch.old_logp_BT).numpy(), count),
        ADVANTAGE: _filled(advantage.to(batch.advantage_BT.dtype).numpy(), count),
        WEIGHT: _filled((weight_NL * copies.to(weight_NL.dtype)[:, None]).numpy(), count),
        INPUT_IDS: right_padded([sequence.ids for sequence in rows.sequences], pad_id, count),
    }
    if batch.importance_BT is not None:
        columns[IMPORTANCE] = _filled(rows.gather(batch.importance_BT).numpy(), count)
    if objective.teacher is not None:
        columns[DISTILL] = _filled(rows.gather(distill_BT).numpy(), count)
        if batch.trust_B is not None:
            trust_BT = batch.trust_B[:, None].expand_as(batch.old_logp_BT)
            columns[TRUST] = _filled(rows.gather(trust_BT).numpy(), count)
        if batch.has_teacher_scores:
            columns[TEACHER_LOGP] = _filled(rows.gather(batch.teacher_logp_BT).numpy(), count)
        if batch.control_logp_BT is not None and objective.distill is not None and objective.distill.contrasts:
            columns[CONTROL_LOGP] = _filled(rows.gather(batch.control_logp_BT).numpy(), count)
        if objective.needs_distributions_at(step):
            view = _teacher(objective.teacher.view)
            _add_prompts(columns, TEACHER_INPUT_IDS, TEACHER_POSITION, rows, pad_id, view)
    return columns, len(merged)


def loss_weights(batch: TurnBatch, objective: Objective) -> Tensor:
    """Weight of each token in the loss, from the counts of the whole update, [B, T].

    Tokens that the importance correction leaves out count in no mean; if it leaves out all, all weights are zero.
    """
    dtype, mask_BT = batch.old_logp_BT.dtype, batch.loss_mask_BT
    if objective.aggregation is LossReduction.TOKEN_MEAN:
        return token_mean_weights(mask_BT, max(1, int(mask_BT.sum())), dtype=dtype)
    left_out = int((batch.response_mask_BT.any(dim=1) & ~mask_BT.any(dim=1)).sum())
    return sequence_mean_weights(mask_BT, max(1, len(batch.turns) - left_out), dtype=dtype)


def _merge(
    batch: TurnBatch, rows: SequenceRows, advantage_NL: Tensor, distill_NL: Tensor, objective: Objective
) -> list[list[int]]:
    """Groups of equal sequences with advantages of the same signs; each becomes one row with their summed weight.

    Exact: the loss of a token is linear in the weight, and in the advantage as long as its sign does not change. If an
    objective is not linear in the advantage, only equal advantages are merged. Importance weights must be equal. A
    small policy repeats responses within a group; there merging saves about half of the learner's work.
    """
    alike_NL = advantage_NL.sign() if objective.mergeable else advantage_NL
    importance_NL = torch.ones_like(advantage_NL) if batch.importance_BT is None else rows.gather(batch.importance_BT)
    lengths = rows.mask.sum(axis=1).tolist()
    merged: dict[tuple[Any, ...], list[int]] = {}
    for number, (length, *values) in enumerate(
        zip(lengths, alike_NL.tolist(), distill_NL.tolist(), importance_NL.tolist(), strict=True)
    ):
        key = (_key(rows.sequences[number]), *(tuple(value[:length]) for value in values))
        merged.setdefault(key, []).append(number)
    return list(merged.values())


def _key(sequence: TokenSequence) -> tuple[Any, ...]:
    """A key that is equal for sequences with the same tokens, to which every model gives the same scores."""
    spans = tuple((span.start, span.stop) for span in sequence.spans)
    return (
        tuple(sequence.ids),
        spans,
        tuple(sequence.teacher_ids or ()),
        tuple(sequence.control_ids or ()),
        tuple(sequence.teacher_starts or ()),
    )


def _teacher(view: View) -> _Reading:
    """From a sequence to what the teacher reads: its own tokens, or the student's if it has none."""

    def reading(sequence: TokenSequence) -> tuple[list[int], list[int]]:
        if view is View.NONE or sequence.teacher_ids is None:
            return sequence.ids, sequence.starts
        return sequence.teacher_ids, sequence.teacher_starts or sequence.starts_in(sequence.teacher_ids)

    return reading


def _control(sequence: TokenSequence) -> tuple[list[int], list[int]]:
    ids = sequence.control_ids
    if ids is None:
        return sequence.ids, sequence.starts
    return ids, sequence.control_starts or sequence.starts_in(ids)


def _add_prompts(
    columns: Columns,
    ids_name: str,
    position_name: str,
    rows: SequenceRows,
    pad_id: int,
    reading: _Reading,
) -> None:
    """Adds the columns of other prompts with the same responses."""
    shown = [reading(sequence) for sequence in rows.sequences]
    position = columns[RESPONSE_POSITION]
    shift = np.zeros_like(position)
    for row, ((_, starts), sequence) in enumerate(zip(shown, rows.sequences, strict=True)):
        later = np.array([start - own for start, own in zip(starts, sequence.starts, strict=True)])
        shift[row] = later[rows.span[row]]
    columns[ids_name] = right_padded([ids for ids, _ in shown], pad_id, len(position))
    columns[position_name] = np.where(columns[RESPONSE_MASK], position + shift, 1)


def _filled(value: np.ndarray[Any, Any], count: int, fill: Any = 0) -> np.ndarray[Any, Any]:
    """Rows, padded to `count` of them."""
    result = np.full((count, *value.shape[1:]), fill, dtype=value.dtype)
    result[: len(value)] = value
    return result

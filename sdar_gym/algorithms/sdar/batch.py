"""Cuts the table of turns into padded columns: distinct rows to be scored, and merged rows to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdar_gym.algorithms.losses import Aggregation, sequence_mean_weights, token_mean_weights
from sdar_gym.algorithms.objective import Objective
from sdar_gym.algorithms.sdar.module import ANSWER_MASK, INPUT_IDS, PROMPT_LENGTH
from sdar_gym.algorithms.sdar.turns import TurnTable
from sdar_gym.algorithms.teachers import View
from sdar_gym.rollout.episode import TurnRow

TEACHER_INPUT_IDS, TEACHER_PROMPT_LENGTH = "teacher_input_ids", "teacher_prompt_length"
CONTROL_INPUT_IDS, CONTROL_PROMPT_LENGTH = "control_input_ids", "control_prompt_length"
OLD_LOGP, ADVANTAGE, WEIGHT = "old_logp", "advantage", "weight"
DISTILL, TEACHER_LOGP = "distill", "teacher_logp"

Columns = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """Columns to learn from.

    Attributes:
        columns: Numpy arrays; all have the same number of rows, a multiple of the asked one.
        rows: Rows that turns were merged into; further rows are padding of weight zero.
    """

    columns: Columns
    rows: int


def scoring_columns(
    table: TurnTable, rows_B: Tensor, view: View, pad_id: int, *, control: bool = False
) -> tuple[Columns, Tensor]:
    """Distinct rows among those asked about: the same prompts and answer have the same scores.

    Args:
        table: The turns.
        rows_B: Bool, which turns are asked about; at least one.
        view: The teacher's; with `none` its prompt is the student's.
        pad_id: Padding token.
        control: Whether the blanked prompts are wanted too.

    Returns:
        Columns of the distinct rows, and for each turn the number of its row, -1 where it is not asked about.
    """
    number_of: dict[tuple[Any, ...], int] = {}
    chosen: list[TurnRow] = []
    index = [-1] * len(table.turns)
    for row in rows_B.nonzero().flatten().tolist():
        turn = table.turns[row]
        key = tuple(
            tuple(ids) for ids in (turn.prompt_ids, turn.teacher_prompt_ids, turn.control_prompt_ids, turn.response_ids)
        )
        if key not in number_of:
            number_of[key] = len(chosen)
            chosen.append(turn)
        index[row] = number_of[key]
    answers = [turn.response_ids for turn in chosen]
    mask = np.zeros((len(chosen), table.mask_BT.shape[1]), dtype=bool)
    for row, answer in enumerate(answers):
        mask[row, : len(answer)] = True
    columns: Columns = {ANSWER_MASK: mask}
    columns[INPUT_IDS], columns[PROMPT_LENGTH] = _pad([turn.prompt_ids for turn in chosen], answers, pad_id)
    shown = [teacher_prompt(turn, view) for turn in chosen]
    columns[TEACHER_INPUT_IDS], columns[TEACHER_PROMPT_LENGTH] = _pad(shown, answers, pad_id)
    if control:
        blank = [turn.control_prompt_ids or turn.prompt_ids for turn in chosen]
        columns[CONTROL_INPUT_IDS], columns[CONTROL_PROMPT_LENGTH] = _pad(blank, answers, pad_id)
    return columns, torch.tensor(index)


def prepare_batch(
    table: TurnTable,
    objective: Objective,
    adv_BT: Tensor,
    *,
    distill_B: Tensor,
    teacher_logp_BT: Tensor | None,
    dense: bool,
    row_multiple: int,
    pad_id: int,
    shuffle_seed: str,
) -> PreparedBatch:
    """Merge, shuffle and pad rows.

    Weights divide by the token count of the whole update, so that no shard or micro-batch changes what a token counts.

    Args:
        table: The turns.
        objective: Says how tokens are averaged.
        adv_BT: Advantage of each token.
        distill_B: Bool, which turns are distilled.
        teacher_logp_BT: The teacher's log-probabilities of the sampled tokens, if they are known.
        dense: Whether the teacher's prompts are wanted, for its distributions.
        row_multiple: What the number of rows has to be a multiple of.
        pad_id: Padding token.
        shuffle_seed: Rows are shuffled with it, so that minibatches mix tasks.
    """
    rows = _merge(table, adv_BT, distill_B, objective)
    Random(shuffle_seed).shuffle(rows)
    count = -(-len(rows) // row_multiple) * row_multiple
    first = torch.tensor([row[0] for row in rows])
    copies = np.zeros(count, dtype=np.float64)
    copies[: len(rows)] = [len(row) for row in rows]
    mask_BT = _filled(table.mask_BT[first], count)
    weight = loss_weights(objective, table, torch.from_numpy(mask_BT))
    advantage = torch.stack([adv_BT[row].double().mean(dim=0) for row in rows]).to(adv_BT.dtype)
    turns = [table.turns[row[0]] for row in rows]
    answers = [turn.response_ids for turn in turns]
    columns: Columns = {
        ANSWER_MASK: mask_BT,
        OLD_LOGP: _filled(table.old_logp_BT[first], count),
        ADVANTAGE: _filled(advantage, count),
        WEIGHT: (weight * torch.from_numpy(copies).to(weight.dtype)[:, None]).numpy(),
    }
    columns[INPUT_IDS], columns[PROMPT_LENGTH] = _pad([turn.prompt_ids for turn in turns], answers, pad_id, count)
    if objective.teacher is not None:
        columns[DISTILL] = _filled(distill_B[first], count)
        if teacher_logp_BT is not None:
            columns[TEACHER_LOGP] = _filled(teacher_logp_BT[first], count)
        if dense:
            shown = [teacher_prompt(turn, objective.teacher.view) for turn in turns]
            columns[TEACHER_INPUT_IDS], columns[TEACHER_PROMPT_LENGTH] = _pad(shown, answers, pad_id, count)
    return PreparedBatch(columns, len(rows))


def loss_weights(objective: Objective, table: TurnTable, mask_BT: Tensor) -> Tensor:
    """What each token counts in the loss, by the counts of the whole update; rows as in `mask_BT`."""
    if objective.aggregation is Aggregation.TOKEN_MEAN:
        return token_mean_weights(mask_BT, table.tokens, dtype=table.adv_B.dtype)
    return sequence_mean_weights(mask_BT, len(table.turns), dtype=table.adv_B.dtype)


def teacher_prompt(turn: TurnRow, view: View) -> list[int]:
    """What the teacher reads: its own prompt, or the student's where it has none."""
    return turn.prompt_ids if view is View.NONE else turn.teacher_prompt_ids or turn.prompt_ids


def _merge(table: TurnTable, adv_BT: Tensor, distill_B: Tensor, objective: Objective) -> list[list[int]]:
    """Turns with the same prompts, the same answer and the same signs of advantage become one row that counts for all.

    Exact: the loss of a token is linear in the advantage as long as its sign does not change, and linear in the weight.
    A small policy gives the same answer many times in a group; merging saves it about half of the learner's work. An
    objective that is not linear in the advantage's size merges equal advantages only.
    """
    alike_BT = adv_BT.sign() if objective.mergeable else adv_BT
    merged: dict[tuple[Any, ...], list[int]] = {}
    for number, (turn, alike, distilled) in enumerate(
        zip(table.turns, alike_BT.tolist(), distill_B.tolist(), strict=True)
    ):
        key = (
            tuple(turn.prompt_ids),
            tuple(turn.teacher_prompt_ids),
            tuple(turn.response_ids),
            tuple(alike[: len(turn.response_ids)]),
            distilled,
        )
        merged.setdefault(key, []).append(number)
    return list(merged.values())


def _filled(value: Tensor, count: int) -> np.ndarray[Any, Any]:
    """Rows and zeros up to `count`."""
    result = np.zeros((count, *value.shape[1:]), dtype=value.numpy().dtype)
    result[: len(value)] = value.numpy()
    return result


def _pad(
    prompts: Sequence[list[int]], answers: Sequence[list[int]], pad_id: int, count: int | None = None
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Prompt, answer, padding on the right; padding rows keep one token of prompt."""
    count = len(prompts) if count is None else count
    width = max(len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True))
    input_ids = np.full((count, width), pad_id, dtype=np.int64)
    lengths = np.ones(count, dtype=np.int64)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        input_ids[row, : len(prompt) + len(answer)] = [*prompt, *answer]
        lengths[row] = len(prompt)
    return input_ids, lengths

"""Turns finished groups of episodes into the one padded batch that the learners are given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import torch

from sdar_gym.algorithms.advantages import Statistics, group_advantages, turn_advantages
from sdar_gym.algorithms.losses import Aggregation, sequence_mean_weights, token_mean_weights
from sdar_gym.algorithms.objective import Objective
from sdar_gym.algorithms.sdar.module import ANSWER_MASK, INPUT_IDS, PROMPT_LENGTH
from sdar_gym.rollout.episode import Episode, TurnRow

TEACHER_INPUT_IDS, TEACHER_PROMPT_LENGTH = "teacher_input_ids", "teacher_prompt_length"
OLD_LOGP, ADVANTAGE, WEIGHT = "old_logp", "advantage", "weight"


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """Columns, one row a turn, and what is worth logging about the groups.

    Attributes:
        columns: Numpy arrays; all have the same number of rows, a multiple of the asked one.
        turns: Turns of the episodes.
        rows: Rows they were merged into; further rows are padding of weight zero.
        tokens: Answer tokens.
        metrics: Group statistics.
    """

    columns: dict[str, np.ndarray[Any, Any]]
    turns: int
    rows: int
    tokens: int
    metrics: dict[str, float]


def prepare_batch(
    episodes: Sequence[Episode],
    objective: Objective,
    *,
    teacher: bool,
    invalid_action_penalty: float,
    row_multiple: int,
    pad_id: int,
    shuffle_seed: str,
) -> PreparedBatch:
    """Compute advantages and weights over the whole batch, then shuffle and pad its rows.

    Everything that needs the whole batch happens here, before it is cut into shards: a group's baseline, and weights
    that divide by the global token count. A group that lost members with a failed runner keeps the others; one with a
    single member left is dropped, since it has no baseline.

    Args:
        episodes: Finished episodes.
        objective: Says how advantages and weights are made.
        teacher: Whether the teacher's prompts are wanted.
        invalid_action_penalty: Fine of a turn with an invalid answer.
        row_multiple: What the number of rows has to be a multiple of.
        pad_id: Padding token.
        shuffle_seed: Rows are shuffled with it, so that minibatches mix tasks.

    Raises:
        ValueError: No group of two is left.
    """
    members = Counter(episode.group_id for episode in episodes if episode.turns)
    kept = [episode for episode in episodes if members[episode.group_id] > 1 and episode.turns]
    if not kept:
        raise ValueError(f"None of {len(episodes)} episodes has a group of at least two: nothing to compare.")
    number_of = {id(episode): number for number, episode in enumerate(kept)}
    turns = [(episode, turn) for episode in kept for turn in episode.turns]
    fine = [0.0 if turn.valid_form and turn.valid_action else invalid_action_penalty for _, turn in turns]
    advantage_B = turn_advantages(
        torch.tensor([episode.total_reward for episode, _ in turns]) - torch.tensor(fine),
        torch.tensor([episode.group_id for episode, _ in turns]),
        torch.tensor([number_of[id(episode)] for episode, _ in turns]),
        normalize_by_std=objective.normalize_by_std,
        statistics=Statistics(objective.advantage_statistics),
    )
    groups = group_advantages(
        torch.tensor([float(episode.won) for episode in kept]),
        torch.tensor([episode.group_id for episode in kept]),
        success_threshold=0.5,
    )
    rows = _merge([turn for _, turn in turns], advantage_B.tolist())
    Random(shuffle_seed).shuffle(rows)
    count = -(-len(rows) // row_multiple) * row_multiple

    longest_answer = max(len(row.turn.response_ids) for row in rows)
    mask_BT = np.zeros((count, longest_answer), dtype=bool)
    old_logp_BT = np.zeros((count, longest_answer), dtype=np.float32)
    advantage = np.zeros(count, dtype=np.float32)
    copies = np.zeros(count, dtype=np.float32)
    for number, row in enumerate(rows):
        mask_BT[number, : len(row.turn.response_ids)] = True
        old_logp_BT[number, : len(row.turn.response_ids)] = row.turn.logprobs
        advantage[number] = row.advantage
        copies[number] = row.copies
    prompts = [row.turn.prompt_ids for row in rows]
    answers = [row.turn.response_ids for row in rows]
    tokens = sum(len(turn.response_ids) for _, turn in turns)
    if objective.aggregation == Aggregation.TOKEN_MEAN:
        weight = token_mean_weights(torch.from_numpy(mask_BT), tokens)
    else:
        weight = sequence_mean_weights(torch.from_numpy(mask_BT), len(turns))
    weight_BT = weight.numpy() * copies[:, None]

    input_ids, lengths = _pad(prompts, answers, count, pad_id)
    columns: dict[str, np.ndarray[Any, Any]] = {
        INPUT_IDS: input_ids,
        PROMPT_LENGTH: lengths,
        ANSWER_MASK: mask_BT,
        OLD_LOGP: old_logp_BT,
        ADVANTAGE: advantage,
        WEIGHT: weight_BT,
    }
    if teacher:
        # A row whose task got no skill is scored by the student's own prompt: its gap is 0.
        shown = [row.turn.teacher_prompt_ids or row.turn.prompt_ids for row in rows]
        columns[TEACHER_INPUT_IDS], columns[TEACHER_PROMPT_LENGTH] = _pad(shown, answers, count, pad_id)
    metrics = {
        "live_group_fraction": groups.live_group_fraction,
        "all_fail_fraction": groups.all_fail_fraction or 0.0,
        "all_success_fraction": groups.all_success_fraction or 0.0,
        "dropped_episodes": float(len(episodes) - len(kept)),
    }
    return PreparedBatch(columns, len(turns), len(rows), tokens, metrics)


@dataclass(frozen=True, slots=True)
class _Row:
    turn: TurnRow
    advantage: float
    copies: int


def _merge(turns: Sequence[TurnRow], advantages: Sequence[float]) -> list[_Row]:
    """Turns with the same prompt, the same answer and the same sign of advantage become one row that counts for all.

    Exact: the loss of a token is linear in the advantage as long as its sign does not change, and linear in the weight.
    A small policy gives the same answer many times in a group; merging saves it about half of the learner's work.
    """
    merged: dict[tuple[Any, ...], tuple[TurnRow, list[float]]] = {}
    for turn, advantage in zip(turns, advantages, strict=True):
        sign = (advantage > 0) - (advantage < 0)
        key = (tuple(turn.prompt_ids), tuple(turn.teacher_prompt_ids), tuple(turn.response_ids), sign)
        merged.setdefault(key, (turn, []))[1].append(advantage)
    return [_Row(turn, sum(shares) / len(shares), len(shares)) for turn, shares in merged.values()]


def _pad(
    prompts: Sequence[list[int]], answers: Sequence[list[int]], count: int, pad_id: int
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Prompt, answer, padding on the right; padding rows keep one token of prompt."""
    width = max(len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True))
    input_ids = np.full((count, width), pad_id, dtype=np.int64)
    lengths = np.ones(count, dtype=np.int64)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        input_ids[row, : len(prompt) + len(answer)] = [*prompt, *answer]
        lengths[row] = len(prompt)
    return input_ids, lengths

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
from sdar_gym.rollout.episode import Episode

TEACHER_INPUT_IDS, TEACHER_PROMPT_LENGTH = "teacher_input_ids", "teacher_prompt_length"
OLD_LOGP, ADVANTAGE, WEIGHT = "old_logp", "advantage", "weight"


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """Columns, one row a turn, and what is worth logging about the groups.

    Attributes:
        columns: Numpy arrays; all have the same number of rows, a multiple of the asked one.
        rows: Real rows; the others are padding of weight zero.
        tokens: Answer tokens.
        metrics: Group statistics.
    """

    columns: dict[str, np.ndarray[Any, Any]]
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
    members = Counter(episode.group_id for episode in episodes)
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
    order = list(range(len(turns)))
    Random(shuffle_seed).shuffle(order)
    count = -(-len(turns) // row_multiple) * row_multiple

    longest_answer = max(len(turn.response_ids) for _, turn in turns)
    mask_BT = np.zeros((count, longest_answer), dtype=bool)
    old_logp_BT = np.zeros((count, longest_answer), dtype=np.float32)
    advantage = np.zeros(count, dtype=np.float32)
    prompts: list[list[int]] = []
    teacher_prompts: list[list[int]] = []
    answers: list[list[int]] = []
    for row, index in enumerate(order):
        _, turn = turns[index]
        mask_BT[row, : len(turn.response_ids)] = True
        old_logp_BT[row, : len(turn.response_ids)] = turn.logprobs
        advantage[row] = float(advantage_B[index])
        prompts.append(turn.prompt_ids)
        teacher_prompts.append(turn.teacher_prompt_ids)
        answers.append(turn.response_ids)
    tokens = int(mask_BT.sum())
    weights = token_mean_weights if objective.aggregation == Aggregation.TOKEN_MEAN else sequence_mean_weights
    weight_BT = weights(torch.from_numpy(mask_BT), tokens if weights is token_mean_weights else len(turns)).numpy()

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
        shown = [taught or plain for taught, plain in zip(teacher_prompts, prompts, strict=True)]
        columns[TEACHER_INPUT_IDS], columns[TEACHER_PROMPT_LENGTH] = _pad(shown, answers, count, pad_id)
    metrics = {
        "live_group_fraction": groups.live_group_fraction,
        "all_fail_fraction": groups.all_fail_fraction or 0.0,
        "all_success_fraction": groups.all_success_fraction or 0.0,
        "dropped_episodes": float(len(episodes) - len(kept)),
    }
    return PreparedBatch(columns, len(turns), tokens, metrics)


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

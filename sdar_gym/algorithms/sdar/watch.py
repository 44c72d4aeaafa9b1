"""What is looked at beside the reward: where the teacher disagrees, whether reward backs it, and every single token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sdar_gym.algorithms.advantages import group_advantages
from sdar_gym.algorithms.diagnostics import TrustMeter, UpdateTokens, trajectory_gaps, update_metrics
from sdar_gym.algorithms.objective import Objective
from sdar_gym.algorithms.sdar.batch import loss_weights
from sdar_gym.algorithms.sdar.scores import Scores, gates
from sdar_gym.algorithms.sdar.turns import TurnTable
from sdar_gym.rollout.episode import Episode
from sdar_gym.rollout.token_classes import TOKEN_CLASSES, token_classes


@dataclass(frozen=True, slots=True, eq=False)
class WatchedTokens:
    """The tokens of one update, turn by turn, for a dump.

    Attributes:
        episodes: The update's episodes, in the order of the rows.
        adv_B: Base advantage of each turn.
        values: By the names of the dump's lists, each [turns, answer tokens]; nan where nothing is known.
    """

    episodes: tuple[Episode, ...]
    adv_B: Tensor
    values: dict[str, Tensor]


def watch_tokens(
    objective: Objective, table: TurnTable, scores: Scores | None, adv_BT: Tensor, tokenizer: Any, trust: TrustMeter
) -> tuple[dict[str, float], WatchedTokens]:
    """Look closely at one update, before anything is merged.

    Args:
        objective: The method's settings.
        table: The turns.
        scores: What the learners answered, or None for a method without a teacher.
        adv_BT: The tokens' advantages.
        tokenizer: The policy's.
        trust: Takes in the update.

    Returns:
        Metrics, and the tokens themselves.
    """
    values = {
        "student_logp": table.old_logp_BT if scores is None else scores.student_BT,
        "token_advantage": adv_BT,
        "weight": loss_weights(objective, table, table.mask_BT),
    }
    watched = WatchedTokens(table.episodes, table.adv_B, values)
    if scores is None or scores.teacher_BT is None:
        return {}, watched
    gate_BT = gates(objective, table, scores, adv_BT)
    tokens = UpdateTokens(
        mask_BT=table.mask_BT,
        student_logp_BT=scores.student_BT,
        teacher_logp_BT=scores.teacher_BT,
        gate_BT=gate_BT,
        adv_BT=adv_BT,
        turn_B=table.turn_B + 1,
        episode_B=table.episode_B,
        class_BT=_classes(table, tokenizer),
        class_names=tuple(TOKEN_CLASSES),
        entropy_BT=scores.entropy_BT if bool(scores.asked_B.all()) else None,
        taught_B=scores.asked_B,
    )
    taught_BT = scores.asked_B[:, None]

    def known(value_BT: Tensor) -> Tensor:
        return torch.where(taught_BT, value_BT, torch.full_like(value_BT, torch.nan))

    values["teacher_logp"], values["gap"] = known(scores.teacher_BT), known(scores.teacher_BT - scores.student_BT)
    if objective.distill is not None:
        values["gate"] = known(gate_BT)
    if scores.entropy_BT is not None:
        values["entropy"] = scores.entropy_BT
    first_E = torch.tensor([table.owners.index(number) for number in range(len(table.episodes))])
    trusted = trust.update(
        group_advantages(table.return_B[first_E], table.group_B[first_E]).adv_E,
        trajectory_gaps(tokens, len(table.episodes)),
        table.group_B[first_E],
        [episode.task_type for episode in table.episodes],
    )
    return {**update_metrics(tokens), **trusted}, watched


def _classes(table: TurnTable, tokenizer: Any) -> Tensor:
    number_of = {name: number for number, name in enumerate(TOKEN_CLASSES)}
    class_BT = torch.zeros(table.mask_BT.shape, dtype=torch.long)
    for row, turn in enumerate(table.turns):
        named = token_classes(tokenizer, turn.response_ids, turn.action)
        class_BT[row, : len(named)] = torch.tensor([number_of[name] for name in named])
    return class_BT

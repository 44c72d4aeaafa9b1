"""Episodes made by hand, whose tokens tell their turn, and the way from them to columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from sdar_gym.algorithms.sdar.scores import Scores, token_advantages

from sdar_gym.algorithms.methods import get_method
from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.rollout.trajectory import Episode, TurnRecord
from sdar_gym.training.collate import PreparedBatch, prepare_batch
from sdar_gym.training.turn_batch import TurnBatch, distilled_rows, turn_batch

PAD = 99
SDAR = get_method("sdar").objective


def turn(
    number: int,
    *,
    reward: float = 0.0,
    form: bool = True,
    action: bool = True,
    skilled: bool = True,
    observation: str = "o",
) -> TurnRecord:
    """A turn whose tokens tell its number; lengths differ."""
    prompt = [number, *range(100, 102 + number % 3)]
    answer = [number + 1000] * (1 + number % 4)
    logprobs = [-0.01 * number - 0.1 * place for place in range(len(answer))]
    teacher = [number, 555, 556, *prompt[1:]] if skilled else []
    return TurnRecord(observation, "r", "a", form, action, reward, prompt, answer, logprobs, teacher, 0)


def episode(group: int, member: int, turns: Sequence[TurnRecord], *, won: bool) -> Episode:
    return Episode(f"{group}/{member}", group, f"task {group}", "kind", "train", "goal", list(turns), won, float(won))


def played(**settings: Any) -> list[Episode]:
    """Two groups of two and three episodes with nine turns in all, numbered 1 to 9; two of them are invalid."""
    return [
        episode(4, 0, [turn(1, **settings), turn(2, reward=1.0, **settings)], won=True),
        episode(4, 1, [turn(3, form=False, **settings), turn(4, **settings)], won=False),
        episode(7, 0, [turn(5, **settings)], won=False),
        episode(7, 1, [turn(6, reward=1.0, action=False, **settings)], won=True),
        episode(7, 2, [turn(7, **settings), turn(8, **settings), turn(9, reward=1.0, **settings)], won=True),
    ]


def failed(group: int, first: int) -> list[Episode]:
    """A group of two that both fail, with one turn each."""
    return [episode(group, member, [turn(first + member)], won=False) for member in range(2)]


def table_of(episodes: Sequence[Episode], objective: Objective = SDAR, **settings: Any) -> TurnBatch:
    return turn_batch(episodes, objective.baseline, **{"invalid_action_penalty": 0.1, **settings})


def prepare(
    episodes: Sequence[Episode],
    objective: Objective = SDAR,
    *,
    invalid_action_penalty: float = 0.1,
    scores: Scores | None = None,
    dtype: torch.dtype = torch.float32,
    **settings: Any,
) -> PreparedBatch:
    """The batch of an update at step 0."""
    table = table_of(episodes, objective, invalid_action_penalty=invalid_action_penalty, dtype=dtype)
    defaults = {
        "distill_B": distilled_rows(objective, table),
        "teacher_logp_BT": None if scores is None else scores.teacher_BT,
        "dense": False,
        "row_multiple": 4,
        "pad_id": PAD,
        "shuffle_seed": "a",
    }
    return prepare_batch(table, objective, token_advantages(objective, table, scores, 0), **{**defaults, **settings})

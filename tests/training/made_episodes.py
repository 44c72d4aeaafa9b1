"""Episodes made by hand: each token names its turn, so a row shows which turn it came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from sdar_gym.algorithms.methods import get_method
from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.rollout.trajectory import Episode, ResponseSpan, TokenSequence, TurnRecord
from sdar_gym.training.collate import Columns
from sdar_gym.training.pipeline import UpdatePipeline
from sdar_gym.training.turn_batch import TurnBatch, turn_batch

PAD = 99
SDAR = get_method("sdar").objective


@dataclass
class MadeTurn:
    """A turn with its prompts; an empty teacher prompt means that it has no teacher."""

    record: TurnRecord
    prompt: list[int]
    teacher: list[int]


def turn(
    number: int,
    *,
    reward: float = 0.0,
    form: bool = True,
    action: bool = True,
    skilled: bool = True,
    observation: str = "o",
) -> MadeTurn:
    """A turn whose prompt begins with its number and whose response repeats 1000 + its number; lengths differ."""
    prompt = [number, *range(100, 102 + number % 3)]
    response = [number + 1000] * (1 + number % 4)
    logp = [-0.01 * number - 0.1 * place for place in range(len(response))]
    teacher = [number, 555, 556, *prompt[1:]] if skilled else []
    return MadeTurn(TurnRecord(observation, "r", "a", form, action, reward, response, logp, 0), prompt, teacher)


def episode(group: int, member: int, turns: Sequence[MadeTurn], *, won: bool) -> Episode:
    """An episode with one token sequence a turn."""
    made = Episode(f"{group}/{member}", group, f"task {group}", "kind", "train", "goal", won=won, score=float(won))
    for each in turns:
        made.add_turn(each.record, each.prompt, each.teacher)
    return made


def conversation(
    group: int, member: int, turns: Sequence[MadeTurn], *, won: bool, system: Sequence[int] = (50, 51)
) -> Episode:
    """The same as one append-only sequence: every turn's prompt follows the response before it.

    The teacher reads 555, 556 before the first prompt.
    """
    made = Episode(f"{group}/{member}", group, f"task {group}", "kind", "train", "goal", won=won, score=float(won))
    ids, spans = list(system), []
    for number, each in enumerate(turns):
        ids += each.prompt
        spans.append(ResponseSpan(number, len(ids), len(ids) + len(each.record.response_ids)))
        each.record.prompt_tokens = len(ids)
        ids += each.record.response_ids
        made.turns.append(each.record)
    sequence = TokenSequence(ids, spans)
    sequence.teacher_ids = sequence.behind([*system, 555, 556, *turns[0].prompt])
    made.sequences.append(sequence)
    return made


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


def numbers_of(batch: TurnBatch) -> list[int]:
    """The number of every turn."""
    return [made.response_ids[0] - 1000 for made in batch.turns]


def batch_of(episodes: Sequence[Episode], objective: Objective = SDAR, **settings: Any) -> TurnBatch:
    """The turns of an update at step 0."""
    return turn_batch(episodes, objective, **{"invalid_action_penalty": 0.1, **settings})


def pipeline_of(objective: Objective = SDAR, score: Any = None, **settings: Any) -> UpdatePipeline:
    """A pipeline that fails if it asks for scores, unless there is a function that computes them."""
    return UpdatePipeline(objective, score or _no_scores, pad_id=PAD, invalid_action_penalty=0.1, **settings)


def with_teacher(batch: TurnBatch, teacher_logp_BT: torch.Tensor, **scores: Any) -> TurnBatch:
    """The batch as if all turns had been scored."""
    everything_B = torch.ones(len(batch.turns), dtype=torch.bool)
    return replace(batch, scored_B=everything_B, teacher_logp_BT=teacher_logp_BT, has_teacher_scores=True, **scores)


def columns_of(
    batch: TurnBatch, objective: Objective = SDAR, *, step: int = 0, row_multiple: int = 4, shuffle_seed: str = "a"
) -> tuple[Columns, int]:
    """Columns to learn from, and the number of rows before padding."""
    pipeline = pipeline_of(objective)
    shaped = pipeline.shape(batch, step)
    return pipeline.collate(shaped, step, row_multiple=row_multiple, shuffle_seed=shuffle_seed)


def _no_scores(columns: Columns, names: Sequence[str]) -> Mapping[str, torch.Tensor]:
    raise AssertionError(f"Scores {names} of {len(columns)} columns are requested.")

"""Teacher retirement: when a type's distillation ends, that it stays ended, and what is saved."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from made_episodes import (  # pyright: ignore[reportMissingImports]
    SDAR,
    pipeline_of,
    played,
)

from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.training.collate import DISTILL, RESPONSE_MASK
from sdar_gym.training.teacher_retirement import TeacherRetirement
from sdar_gym.training.turn_batch import TurnBatch

RETIRING = SDAR.changed({"distill": {"retire_gap": 0.5}})


class Teacher:
    """A teacher whose log-probabilities are the student's plus a gap of each first prompt token's type.

    Attributes:
        rows: Rows that were scored, by call.
    """

    def __init__(self) -> None:
        self.rows: list[int] = []

    def __call__(self, columns: Any, names: Sequence[str]) -> dict[str, torch.Tensor]:
        self.rows.append(len(columns[RESPONSE_MASK]))
        return dict.fromkeys(names, torch.full(columns[RESPONSE_MASK].shape, -1.0))


def update(retirement: TeacherRetirement, gaps: dict[str, float], objective: Objective = RETIRING) -> Any:
    """One update of two groups, each a task type, with these gaps of all their tokens.

    Returns:
        The scored batch, the metrics, and the rows that the teacher read.
    """
    episodes = played()
    for episode in episodes:
        episode.task_type = "heat" if episode.group_id == 4 else "cool"
    teacher = Teacher()
    pipeline = pipeline_of(objective, teacher)
    batch: TurnBatch = retirement.without_retired(pipeline.prepare(episodes, 0))
    batch = pipeline.score(batch, 0)
    gap_B = torch.tensor([gaps[batch.episodes[number].task_type] for number in batch.episode_B.tolist()])
    teacher_BT = batch.student_logp_BT + gap_B[:, None]
    batch = replace(batch, teacher_logp_BT=torch.where(batch.scored_B[:, None], teacher_BT, batch.student_logp_BT))
    return batch, retirement.observe(batch), teacher.rows


def test_a_type_retires_when_its_gap_has_closed_and_is_no_longer_scored() -> None:
    retirement, metrics = TeacherRetirement(RETIRING), {"gap_abs/heat": 0.0}
    for number in range(5):
        batch, metrics, rows = update(retirement, {"heat": 0.1, "cool": -2.0})
        assert rows == [9]
        assert metrics["gap_abs/cool"] == pytest.approx(2.0)
        # Four updates are too few, however small the gap.
        assert metrics["retired_types"] == (number == 4)
    assert "gap_abs/heat" not in metrics
    batch, metrics, rows = update(retirement, {"heat": 9.0, "cool": -2.0})
    cool = batch.of_types({"cool"})
    assert rows == [int(cool.sum())] and torch.equal(batch.scored_B, cool)
    assert torch.equal(batch.distilled_B(RETIRING), cool)
    # For good: nothing is measured that could call it back.
    assert metrics["retired_types"] == 1


def test_when_all_have_retired_the_teacher_reads_nothing_and_nothing_is_distilled() -> None:
    retirement = TeacherRetirement(RETIRING)
    for _ in range(5):
        update(retirement, {"heat": 0.1, "cool": 0.2})
    batch, metrics, rows = update(retirement, {"heat": 0.1, "cool": 0.2})
    assert rows == [] and metrics == {"retired_types": 2}
    pipeline = pipeline_of(RETIRING)
    columns, _ = pipeline.collate(pipeline.shape(batch, 0), 0, row_multiple=1, shuffle_seed="a")
    assert not columns[DISTILL].any()


def test_a_gap_that_grows_again_in_time_keeps_its_type() -> None:
    retirement = TeacherRetirement(RETIRING)
    metrics: dict[str, float] = {}
    for gap in (0.1, 0.1, 0.1, 0.1, 3.0, 0.1):
        _, metrics, _ = update(retirement, {"heat": gap, "cool": 1.0})
    assert metrics["retired_types"] == 0
    # Weights of the six updates fall by a tenth each.
    weights = [0.9**age for age in range(5, -1, -1)]
    mean = sum(w * g for w, g in zip(weights, (0.1, 0.1, 0.1, 0.1, 3.0, 0.1), strict=True)) / sum(weights)
    assert metrics["gap_abs/heat"] == pytest.approx(mean, rel=1e-5)


def test_the_state_is_plain_and_exact() -> None:
    retirement, other = TeacherRetirement(RETIRING), TeacherRetirement(RETIRING)
    for _ in range(5):
        update(retirement, {"heat": 0.1, "cool": -2.0})
    other.set_state(json.loads(json.dumps(retirement.get_state())))
    assert other.get_state() == retirement.get_state()
    assert update(other, {"heat": 0.1, "cool": 0.3})[1] == update(retirement, {"heat": 0.1, "cool": 0.3})[1]
    other.set_state({})
    assert other.get_state() == TeacherRetirement(RETIRING).get_state()
    with pytest.raises(ValueError, match="gap of heat"):
        other.set_state({"sums": {"heat": [float("nan"), 1.0, 1]}})


def test_without_the_setting_nothing_is_measured() -> None:
    _, metrics, _ = update(TeacherRetirement(SDAR), {"heat": 0.0, "cool": 0.0}, SDAR)
    assert metrics == {}

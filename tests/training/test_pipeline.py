"""From scores to advantages: what is asked for, about which turns, and what the teacher makes of the advantage."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from made_episodes import SDAR, failed, played, table_of  # pyright: ignore[reportMissingImports]
from sdar_gym.algorithms.sdar.scores import (
    Scores,
    asked_rows,
    gates,
    spread_scores,
    token_advantages,
    wanted_scores,
)

from sdar_gym.algorithms import shape_advantages
from sdar_gym.algorithms.methods import METHODS, get_method
from sdar_gym.algorithms.methods.distil import future_costs
from sdar_gym.training.turn_batch import TurnBatch

ALL_FAIL = get_method("allfail_ce").objective


def made_scores(table: TurnBatch, asked: Any = None) -> Scores:
    """All kinds of scores, about the turns asked for."""
    asked_B = torch.ones(len(table.turns), dtype=torch.bool) if asked is None else torch.tensor(asked)
    rng = torch.Generator().manual_seed(0)

    def some() -> torch.Tensor:
        return torch.randn(table.mask_BT.shape, generator=rng, dtype=table.old_logp_BT.dtype)

    names = ("student", "teacher", "control", "cost", "entropy")
    index_B = torch.where(asked_B, torch.arange(len(table.turns)), -1)
    return spread_scores(table, index_B, {name: some() - 2.0 for name in names})


@pytest.mark.parametrize(
    ("name", "plain", "watched"),
    [
        ("grpo", (), ()),
        ("sdar", ("teacher",), ("student", "teacher")),
        ("rlsd", ("student", "teacher"), ("student", "teacher")),
        ("ocsd", ("student", "teacher", "control"), ("student", "teacher", "control")),
        ("distil", ("cost",), ("student", "teacher", "cost")),
        ("frozen_ce", (), ("student", "teacher")),
        ("sdpo", (), ("student", "teacher")),
    ],
)
def test_nothing_is_asked_for_that_is_not_used(name: str, plain: tuple[str, ...], watched: tuple[str, ...]) -> None:
    objective = get_method(name).objective
    assert wanted_scores(objective, 0, watched=False) == plain
    assert wanted_scores(objective, 0, watched=True) == watched


def test_a_teacher_whose_schedule_has_ended_is_not_asked() -> None:
    rlsd = get_method("rlsd").objective
    assert wanted_scores(rlsd, 99, watched=False) == ("student", "teacher")
    assert wanted_scores(rlsd, 100, watched=False) == ()
    assert wanted_scores(rlsd, 100, watched=True) == ()


def test_turns_are_asked_about_where_something_depends_on_them() -> None:
    table = table_of([*played(), *failed(1, 20)])
    in_failed = [*[False] * 9, True, True]
    assert asked_rows(ALL_FAIL, table, 0, watched=False).tolist() == in_failed
    assert asked_rows(ALL_FAIL, table, 0, watched=True).all()
    # Shaping and future credit look at whole groups and trajectories.
    for name in ("sdar", "rlsd", "distil"):
        assert asked_rows(get_method(name).objective, table, 0, watched=False).all()
    assert not asked_rows(get_method("grpo").objective, table, 0, watched=True).any()
    without = table_of(played(skilled=False))
    assert not asked_rows(SDAR, without, 0, watched=True).any()


def test_every_turn_gets_the_scores_of_its_row() -> None:
    table = table_of(failed(0, 1) + failed(1, 3))
    width = table.mask_BT.shape[1]
    answered = {
        name: torch.arange(2.0)[:, None].expand(2, width) + start for name, start in [("teacher", 5), ("cost", 7)]
    }
    scores = spread_scores(table, torch.tensor([1, 0, -1, 1]), answered)
    assert scores.asked_B.tolist() == [True, True, False, True]
    teacher_BT, cost_BT, old_BT = scores.teacher_BT, scores.cost_BT, table.old_logp_BT
    for row, score in enumerate((1.0, 0.0, None, 1.0)):
        mask_T = table.mask_BT[row]
        # A turn that was not asked about has no gap, and padding has nothing.
        expected = old_BT[row] if score is None else torch.where(mask_T, score + 5, old_BT[row])
        assert torch.equal(teacher_BT[row], expected)
        assert torch.equal(cost_BT[row], torch.where(mask_T, 0.0 if score is None else score + 7, 0.0))
    assert torch.equal(scores.student_BT, old_BT)
    assert scores.control_BT is None and scores.entropy_BT is None


def test_the_student_that_was_asked_replaces_the_sampler() -> None:
    table = table_of(failed(0, 1))
    width = table.mask_BT.shape[1]
    scores = spread_scores(
        table, torch.tensor([0, -1]), {"student": torch.full((1, width), -3.0), "entropy": torch.ones(1, width)}
    )
    assert scores.student_BT[0][table.mask_BT[0]].eq(-3.0).all()
    assert torch.equal(scores.student_BT[1], table.old_logp_BT[1])
    assert scores.entropy_BT[0][table.mask_BT[0]].eq(1.0).all()
    assert scores.entropy_BT[1].isnan().all()


@pytest.mark.parametrize("name", ["grpo", "sdar", "allfail_ce"])
def test_without_a_teacher_in_it_the_advantage_is_the_turn_s(name: str) -> None:
    objective = get_method(name).with_overrides(policy_coeff=0.5).objective
    table = table_of(played(), objective)
    expected = torch.where(table.mask_BT, 0.5 * table.adv_B[:, None], 0.0)
    assert torch.equal(token_advantages(objective, table, None, 0), expected)
    assert torch.equal(token_advantages(objective, table, made_scores(table), 0), expected)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.objective.shaping is not None])
def test_shaping_is_that_of_the_whole_table_and_spares_turns_without_a_teacher(name: str) -> None:
    objective, step = get_method(name).objective, 25
    table = table_of(played(), objective)
    scores = made_scores(table, [True, False, *[True] * 7])
    found = token_advantages(objective, table, scores, step)
    plain = torch.where(table.mask_BT, table.adv_B[:, None], 0.0)
    turns = table.as_turns(table.adv_B, scores.student_BT, scores.teacher_BT, scores.control_BT)
    shaped = shape_advantages(objective.shaping, turns, step)
    assert torch.equal(found[1], plain[1])
    torch.testing.assert_close(found[[0, *range(2, 9)]], shaped[[0, *range(2, 9)]], rtol=0, atol=0)
    assert (found - plain).abs().max() > 1e-5
    assert not found[~table.mask_BT].any()


def test_later_costs_are_taken_from_the_advantage_with_the_coefficient_of_the_distillation() -> None:
    objective = get_method("distil").with_overrides(distill={"coeff": 0.25}).objective
    table = table_of(played(), objective)
    scores = made_scores(table)
    ahead = future_costs(objective.future, scores.cost_BT, table.mask_BT, table.episode_B, table.turn_B, table.group_B)
    assert ahead.abs().max() > 1
    torch.testing.assert_close(token_advantages(objective, table, scores, 0), -0.25 * ahead)


@pytest.mark.parametrize("name", ["rlsd", "distil"])
def test_missing_scores_are_an_error(name: str) -> None:
    objective = get_method(name).objective
    table = table_of(played(), objective)
    with pytest.raises(ValueError, match="there are no scores"):
        token_advantages(objective, table, None, 0)


def test_the_gate_that_is_looked_at_is_the_loss_s_at_the_start_of_the_update() -> None:
    table = table_of(played())
    scores = made_scores(table)
    advantage_BT = token_advantages(SDAR, table, scores, 0)
    found = gates(SDAR, table, scores, advantage_BT)
    expected = torch.sigmoid(5.0 * (scores.teacher_BT - scores.student_BT))
    torch.testing.assert_close(found[table.mask_BT], expected[table.mask_BT])
    assert gates(get_method("grpo").objective, table, scores, advantage_BT).eq(1).all()

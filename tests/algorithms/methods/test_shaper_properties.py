"""Invariants of every multiplier and bonus: sign, bound, turn budget, masked tokens, turns without a teacher, order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from made_turns import plain, shape, turns_of

from sdar_gym.algorithms.methods import METHODS
from sdar_gym.algorithms.methods.agent_opsd import BeliefShaper
from sdar_gym.algorithms.methods.experimental.ocsd import ContrastShaper
from sdar_gym.algorithms.methods.experimental.step_opsd import TurnBudgetShaper
from sdar_gym.algorithms.methods.grsd import GRSDShaper
from sdar_gym.algorithms.methods.opid import GapBonus
from sdar_gym.algorithms.methods.rlsd import RLSDShaper
from sdar_gym.algorithms.objectives.advantage_shaping import AdvantageShaper
from sdar_gym.algorithms.objectives.schedule import Schedule
from sdar_gym.training.turn_batch import TurnBatch

SHAPED = {name: method.objective for name, method in METHODS.items() if method.objective.shaping is not None}
# Every step at which a schedule of theirs does something.
STEPS = (0, 1, 19, 20, 25, 49, 50, 69, 70, 99, 100, 1000)
# What |Â/(κ·A) - 1| never exceeds at step 0, by the published numbers; after the turn budget it is a quotient.
MULTIPLIERS: dict[str, tuple[Any, float]] = {
    "rlsd": (SHAPED["rlsd"], 0.5 * 0.2),
    "agent_opsd": (SHAPED["agent_opsd"], 0.5 * 0.2),
    "grsd": (SHAPED["grsd"], 0.5 * 0.2),
    "step_opsd": (SHAPED["step_opsd"], 1.04 / 0.96 - 1.0),
    "ocsd": (SHAPED["ocsd"], 0.5),
    # As far out as the settings allow.
    "rlsd, nearly one": (RLSDShaper(Schedule.constant(1.0), limit=0.999999), 0.999999),
    "agent_opsd, nearly one": (BeliefShaper(Schedule.constant(2.0), scale=5.0, limit=0.49), 0.98),
    "grsd, nearly one": (GRSDShaper(Schedule.constant(0.9), limit=1.1), 0.99),
    "step_opsd, nearly one": (TurnBudgetShaper(Schedule.constant(0.9), scale=1.1), 1.99 / 0.01 - 1.0),
    "ocsd, nearly one": (ContrastShaper(Schedule.constant(0.99), uncertain_turns=0.5), 0.99),
}


def test_every_multiplier_is_among_those_that_are_tested():
    multiplying = {name for name, objective in SHAPED.items() if objective.shaping and objective.shaping.multiplies}
    assert multiplying == {name for name in MULTIPLIERS if "," not in name}
    registered = {name for name, kind in AdvantageShaper.registry.items() if kind.__module__.startswith("sdar_gym.")}
    assert registered == {objective.shaping.NAME for objective in SHAPED.values() if objective.shaping}


def extreme(make_turns, seed: int) -> TurnBatch:
    """Gaps of up to 50 nats either way, some rows without advantage, some without gap."""
    turns = make_turns(seed=seed)
    rng = torch.Generator().manual_seed(seed)

    def nats() -> torch.Tensor:
        return 100 * torch.rand(turns.student_logp_BT.shape, generator=rng, dtype=torch.float64) - 50

    return replace(
        turns,
        base_advantage_B=torch.where(torch.arange(len(turns.base_advantage_B)) % 5 == 0, 0.0, turns.base_advantage_B),
        teacher_logp_BT=turns.student_logp_BT + nats(),
        control_logp_BT=turns.student_logp_BT + nats(),
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", MULTIPLIERS)
def test_multipliers_keep_the_sign_and_their_bound(name: str, seed: int, make_turns):
    shaping, bound = MULTIPLIERS[name]
    turns = extreme(make_turns, seed)
    mask = turns.response_mask_BT
    signs = plain(turns)[mask].sign()
    assert set(signs.tolist()) == {-1.0, 0.0, 1.0}
    for step in STEPS:
        found = shape(shaping, turns, step)
        assert found.isfinite().all() and not found[~mask].any()
        assert torch.equal(found[mask].sign(), signs)
        change = (found - plain(turns)).abs() - bound * plain(turns).abs()
        assert change.max() <= 1e-12
    assert (shape(shaping, turns, 0) - plain(turns)).abs().max() > 0.01


@pytest.mark.parametrize("name", ["step_opsd", "step_opsd, nearly one"])
def test_the_turn_budget_keeps_the_mean_of_each_turn(name: str, make_turns):
    turns = extreme(make_turns, 0)
    found, lengths = shape(MULTIPLIERS[name][0], turns, 0), turns.response_mask_BT.sum(dim=1)
    torch.testing.assert_close(found.sum(dim=1) / lengths, turns.base_advantage_B, rtol=1e-12, atol=1e-14)
    assert (found - plain(turns)).abs().max() > 0.01


def test_a_bonus_may_flip_signs(make_turns):
    # The other side of the same promise: this is what the bound on multipliers is for.
    turns = make_turns(spread=50.0)
    found = shape(GapBonus(Schedule.constant(1.0)), turns, 0)
    assert (found.sign() * turns.base_advantage_B.sign()[:, None] < 0).any()


def without_gap(turns: TurnBatch, rows_B: torch.Tensor) -> TurnBatch:
    """The same batch with the student's numbers for some rows, as where a turn has no teacher."""
    quiet = rows_B[:, None]
    return replace(
        turns,
        teacher_logp_BT=torch.where(quiet, turns.student_logp_BT, turns.teacher_logp_BT),
        control_logp_BT=torch.where(quiet, turns.student_logp_BT, turns.control_logp_BT),
        cost_BT=turns.cost_BT.masked_fill(quiet, 0.0),
    )


@pytest.mark.parametrize("name", SHAPED)
def test_episodes_without_any_gap_keep_their_advantage(name: str, make_turns):
    turns = make_turns()
    rows = turns.episode_B == turns.episode_B[0]
    found, before = shape(SHAPED[name], without_gap(turns, rows), 20), plain(turns)
    if name == "adrs":  # Reads the teacher's log-probability alone: the pipeline leaves such turns out.
        assert not torch.equal(found[rows], before[rows])
    else:
        torch.testing.assert_close(found[rows], before[rows], rtol=1e-14, atol=0)
    assert (found - before)[~rows].abs().max() > 1e-6


@pytest.mark.parametrize("name", SHAPED)
def test_turns_without_a_teacher_are_unchanged(name: str, make_turns):
    turns, shaper = make_turns(), SHAPED[name].shaping
    rows = torch.arange(len(turns.turn_B)) % 3 == 0
    quiet = replace(without_gap(turns, rows), scored_B=~rows)
    found, before = shape(SHAPED[name], quiet, 20), plain(turns)
    # Later costs count at turns without a teacher too; every other shaper leaves these turns exactly as they are.
    assert torch.equal(found[rows], before[rows]) == (not shaper.shapes_unscored) == (name != "distil")
    assert (found - before)[~rows].abs().max() > 1e-6


@pytest.mark.parametrize("name", SHAPED)
def test_the_order_of_rows_and_the_names_of_ids_do_not_matter(name: str, make_turns):
    turns = make_turns()
    order = torch.randperm(len(turns.turn_B), generator=torch.Generator().manual_seed(9))
    given = ("base_advantage_B", "response_mask_BT", "student_logp_BT", "teacher_logp_BT", "control_logp_BT", "cost_BT")
    given += ("group_B", "episode_B", "turn_B", "return_B", "won_B")
    mixed = turns_of(**{field: getattr(turns, field)[order] for field in given})
    mixed = replace(mixed, group_B=5000 - mixed.group_B, episode_B=-3 * mixed.episode_B)
    straight = shape(SHAPED[name], turns, 20)
    torch.testing.assert_close(shape(SHAPED[name], mixed, 20), straight[order], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", SHAPED)
def test_masked_tokens_get_zero_and_may_hold_anything(name: str, make_turns):
    turns = make_turns()
    names = ("student_logp_BT", "teacher_logp_BT", "control_logp_BT", "cost_BT")
    nothing = ~turns.response_mask_BT
    dirty = replace(turns, **{field: getattr(turns, field).masked_fill(nothing, torch.nan) for field in names})
    found = shape(SHAPED[name], dirty, 20)
    assert torch.equal(found, shape(SHAPED[name], turns, 20))
    assert nothing.any() and not found[nothing].any()


def test_a_bonus_does_not_fade_with_the_advantage(make_turns):
    # κ comes in with the advantage: at κ = 0 the bonus is all there is.
    turns, opid = make_turns(), SHAPED["opid"]
    alone = shape(opid, replace(turns, base_advantage_B=0.0 * turns.base_advantage_B), 0)
    torch.testing.assert_close(shape(opid, turns, 0) - alone, plain(turns))
    assert alone.any()


def test_future_credit_has_the_coefficient_of_the_distillation(make_turns):
    turns = make_turns()
    half = METHODS["distil"].with_overrides({"distill": {"coeff": [[0, 0.5], [10, 0.0]]}}).objective
    torch.testing.assert_close(
        shape(half, turns, 0) - plain(turns), 0.5 * (shape(SHAPED["distil"], turns, 0) - plain(turns))
    )
    assert torch.equal(shape(half, turns, 10), plain(turns))
    with pytest.raises(ValueError, match="needs the cost of every token"):
        shape(half, replace(turns, cost_BT=None), 0)

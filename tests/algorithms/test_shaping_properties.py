"""What holds for every multiplier and bonus, whatever the gaps."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

from sdar_gym.algorithms import Aggregate, Enter, Normalise, Shaping, Signal, Squash, Turns
from sdar_gym.algorithms import shape_advantages as shape
from sdar_gym.algorithms.methods import METHODS
from sdar_gym.algorithms.objectives.schedule import Schedule

SHAPINGS = {name: method.objective.shaping for name, method in METHODS.items() if method.objective.shaping is not None}
MULTIPLIERS = {name: found for name, found in SHAPINGS.items() if found.enter is Enter.MULTIPLIER}
# Every step at which a schedule of theirs does something.
STEPS = (0, 1, 19, 20, 25, 49, 50, 69, 70, 99, 100, 1000)

# Multipliers that no method uses, as far out as the settings allow.
MULTIPLIERS |= {
    "nearly one": Shaping(Enter.MULTIPLIER, Schedule.constant(1.0), limit=0.999999),
    "trusted": Shaping(
        Enter.MULTIPLIER,
        Schedule.constant(2.0),
        Signal.TEACHER_LOGP,
        normalise=Normalise.TURN_Z,
        limit=0.49,
        group_trust=True,
    ),
    "turn sums": Shaping(
        Enter.MULTIPLIER, Schedule.constant(0.9), aggregate=Aggregate.TURN_SUM, squash=Squash.TANH, scale=1.1
    ),
    "budget": Shaping(
        Enter.MULTIPLIER, Schedule.constant(0.9), squash=Squash.EXPM1, limit=1.1, turn_budget=True, uncertain_turns=0.5
    ),
}


def extreme(make_turns, seed: int) -> Turns:
    """Gaps of up to 50 nats either way, some rows without advantage, some without gap."""
    turns = make_turns(seed=seed)
    rng = torch.Generator().manual_seed(seed)

    def nats() -> torch.Tensor:
        return 100 * torch.rand(turns.logp_BT.shape, generator=rng, dtype=torch.float64) - 50

    return replace(
        turns,
        adv_B=torch.where(torch.arange(len(turns.adv_B)) % 5 == 0, 0.0, turns.adv_B),
        teacher_logp_BT=turns.logp_BT + nats(),
        control_logp_BT=turns.logp_BT + nats(),
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", MULTIPLIERS)
def test_multipliers_never_flip_a_sign(name: str, seed: int, make_turns):
    turns = extreme(make_turns, seed)
    signs = (turns.adv_B.sign()[:, None] * turns.mask_BT)[turns.mask_BT]
    assert set(signs.tolist()) == {-1.0, 0.0, 1.0}
    for step in STEPS:
        found = shape(MULTIPLIERS[name], turns, step)
        assert found.isfinite().all()
        assert torch.equal(found[turns.mask_BT].sign(), signs)
    first = shape(MULTIPLIERS[name], turns, 0)
    assert (first - turns.adv_B[:, None] * turns.mask_BT).abs().max() > 0.01


def test_a_bonus_may_flip_signs(make_turns):
    # The other side of the same promise: this is what the bound on multipliers is for.
    turns = make_turns(spread=50.0)
    found = shape(Shaping(Enter.BONUS, Schedule.constant(1.0)), turns, 0)
    assert (found.sign() * turns.adv_B.sign()[:, None] < 0).any()


@pytest.mark.parametrize("name", SHAPINGS)
def test_episodes_without_any_gap_keep_their_advantage(name: str, make_turns):
    turns = make_turns()
    untaught = (turns.episode_B == turns.episode_B[0])[:, None]
    quiet = replace(
        turns,
        teacher_logp_BT=torch.where(untaught, turns.logp_BT, turns.teacher_logp_BT),
        control_logp_BT=torch.where(untaught, turns.logp_BT, turns.control_logp_BT),
    )
    found = shape(SHAPINGS[name], quiet, 20)
    kept = (untaught & turns.mask_BT).expand_as(found)
    plain = turns.adv_B[:, None].expand_as(found)
    if SHAPINGS[name].signal is Signal.TEACHER_LOGP:  # looks at the teacher alone: the caller leaves such rows out
        assert not torch.equal(found[kept], plain[kept])
    else:
        torch.testing.assert_close(found[kept], plain[kept], rtol=1e-14, atol=0)
    assert (found - plain * turns.mask_BT)[~untaught.expand_as(found)].abs().max() > 1e-6


@pytest.mark.parametrize("name", SHAPINGS)
def test_the_order_of_rows_and_the_names_of_ids_do_not_matter(name: str, make_turns):
    turns = make_turns()
    order = torch.randperm(len(turns.adv_B), generator=torch.Generator().manual_seed(9))
    mixed = Turns(**{field.name: getattr(turns, field.name)[order] for field in fields(turns)})
    mixed = replace(mixed, group_B=5000 - mixed.group_B, episode_B=-3 * mixed.episode_B)
    straight = shape(SHAPINGS[name], turns, 20)
    torch.testing.assert_close(shape(SHAPINGS[name], mixed, 20), straight[order], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", SHAPINGS)
def test_padding_may_hold_anything(name: str, make_turns):
    turns = make_turns()
    names = ("logp_BT", "teacher_logp_BT", "control_logp_BT")
    dirty = replace(turns, **{field: getattr(turns, field).masked_fill(~turns.mask_BT, torch.nan) for field in names})
    assert torch.equal(shape(SHAPINGS[name], dirty, 20), shape(SHAPINGS[name], turns, 20))


def test_a_bonus_does_not_fade_with_the_advantage(make_turns):
    # κ comes in with the advantage: at κ = 0 the bonus is all there is.
    turns, opid = make_turns(), SHAPINGS["opid"]
    alone = shape(opid, replace(turns, adv_B=0.0 * turns.adv_B), 0)
    torch.testing.assert_close(shape(opid, turns, 0) - alone, turns.adv_B[:, None] * turns.mask_BT)
    assert alone.any()


def test_turns_refuse_what_does_not_fit(make_turns):
    turns = make_turns()
    with pytest.raises(ValueError, match=r"teacher_logp_BT must have shape"):
        replace(turns, teacher_logp_BT=turns.teacher_logp_BT[:, :-1])
    with pytest.raises(ValueError, match=r"won_B must have shape"):
        replace(turns, won_B=turns.won_B[:-1])

"""Gates: every gate against its formula written out token by token."""

from __future__ import annotations

import math
from statistics import median_low
from typing import Any

import pytest
import torch

from sdar_gym.algorithms.losses.total import compute_loss
from sdar_gym.algorithms.methods import get_method
from sdar_gym.algorithms.methods.experimental.icsd import InfluenceGate
from sdar_gym.algorithms.methods.experimental.pcsd import PersistentGate
from sdar_gym.algorithms.methods.sdar import ConstantGate, EntropyGate, SigmoidGate, SoftOrGate
from sdar_gym.algorithms.objectives.gates import Gate, GateInputs

GATES: dict[str, Any] = dict(Gate.registry)


def row(*values: float, grad: bool = False) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64, requires_grad=grad)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def inputs(gap: torch.Tensor, mask: torch.Tensor | None = None, **others: torch.Tensor) -> GateInputs:
    """What a gate reads: advantage and ratio 1 unless given."""
    one = torch.ones_like(gap)
    mask = one.bool() if mask is None else mask
    return GateInputs(gap, mask, **({"advantage_BT": one, "ratio_BT": one} | others))


def test_the_sigmoid_gate_hand_computed():
    gap = row(0.0, math.log(3) / 5, -math.log(3) / 5, grad=True)
    gate = SigmoidGate(5.0).weights(inputs(gap))
    assert not gate.requires_grad
    torch.testing.assert_close(gate, row(0.5, 0.75, 0.25))
    torch.testing.assert_close(SigmoidGate(10.0).weights(inputs(gap)), row(0.5, 0.9, 0.1))
    assert SigmoidGate() == SigmoidGate(5.0)  # the published sharpness


def test_the_constant_gate_is_one_half_by_default():
    gap = row(0.5, -1.0, 0.0, grad=True)
    half = ConstantGate().weights(inputs(gap))
    assert not half.requires_grad
    assert torch.equal(half, row(0.5, 0.5, 0.5))
    assert torch.equal(ConstantGate(0.2).weights(inputs(gap)), row(0.2, 0.2, 0.2))


def test_gates_of_entropy_hand_computed():
    gap, entropy = row(0.5, -1.0, 0.0, grad=True), row(0.0, 1.0, math.log(3) / 2, grad=True)
    given = inputs(gap, entropy_BT=entropy)
    uncertain = EntropyGate(2.0).weights(given)
    torch.testing.assert_close(uncertain, row(0.5, sigmoid(2.0), 0.75))
    # 1 - (1 - h)(1 - Δ): 1 - 0.5, 1 - 0, h.
    either = SoftOrGate(2.0).weights(given)
    torch.testing.assert_close(either, row(sigmoid(1.0), sigmoid(2.0), 0.75))
    assert not uncertain.requires_grad and not either.requires_grad


@pytest.mark.parametrize("gate", [EntropyGate(), SoftOrGate()], ids=lambda gate: gate.NAME)
def test_a_missing_entropy_is_named(gate: Gate):
    with pytest.raises(ValueError, match="needs entropy_BT"):
        gate.weights(inputs(row(0, 0, 0)))


@pytest.mark.parametrize("name", sorted(GATES))
def test_every_gate_is_detached_finite_and_between_zero_and_its_bound(name: str, make_batch):
    batch = make_batch(rows=40, tokens=9)
    mask = batch["response_mask_BT"]
    gap = torch.where(mask, 100.0 * (batch["teacher_logp_BT"] - batch["logp_BT"]), 0.0).requires_grad_()
    others = {name: batch[name].clone().requires_grad_() for name in ("advantage_BT", "entropy_BT")}
    found = GATES[name]().weights(inputs(gap, mask, ratio_BT=torch.ones_like(gap), **others))
    assert found.shape == gap.shape and not found.requires_grad
    assert found[mask].isfinite().all() and (found[mask] >= 0).all()
    # Moving weight to few tokens can make it larger than one; a turn has no more than its sigmoids had.
    bound = mask.sum(dim=1, keepdim=True).double().expand_as(gap) if name == "influence" else torch.ones_like(gap)
    assert (found <= bound)[mask].all()


@pytest.mark.parametrize("name", sorted(GATES))
def test_what_a_gate_says_it_needs_is_what_it_reads(name: str, make_batch):
    batch = make_batch(rows=40, tokens=9)
    mask = batch["response_mask_BT"]
    gap = torch.where(mask, batch["teacher_logp_BT"] - batch["logp_BT"], 0.0)
    gate = GATES[name]()
    given = {"advantage_BT": batch["advantage_BT"], "entropy_BT": batch["entropy_BT"]}
    before = gate.weights(inputs(gap, mask, **given))

    def moves(gap: torch.Tensor = gap, **changes: torch.Tensor) -> bool:
        return not torch.equal(gate.weights(inputs(gap, mask, **(given | changes))), before)

    assert moves(0.5 * gap) == gate.needs_gap
    assert moves(entropy_BT=2.0 * given["entropy_BT"]) == gate.needs_entropy
    flipped = given["advantage_BT"] * torch.where(torch.arange(9) % 2 == 0, -1.0, 1.0)
    assert moves(advantage_BT=flipped) == gate.needs_advantage
    assert (before[mask].unique().numel() > 1) == gate.varies


def influence_by_hand(gap: list[float], adv: list[float], ratio: list[float], beta: float) -> list[float]:
    gate = [sigmoid(beta * x) for x in gap]
    u = [a * r * x for a, r, x in zip(adv, ratio, gap, strict=True)]
    middle = median_low(u)
    above, below = [x - middle for x in u if x > middle], [middle - x for x in u if x < middle]
    rank = []
    for x in u:
        if x > middle:
            rank.append(1 - 0.5 * math.exp(-(x - middle) / (sum(above) / len(above))))
        elif x < middle:
            rank.append(0.5 * math.exp(-(middle - x) / (sum(below) / len(below))))
        else:
            rank.append(0.5)
    moved = [not (a < 0 and x < 0) for a, x in zip(adv, gap, strict=True)]
    mass = sum(g for g, free in zip(gate, moved, strict=True) if free)
    weighted = sum(g * m for g, m, free in zip(gate, rank, moved, strict=True) if free)
    return [g * m * mass / weighted if free else g for g, m, free in zip(gate, rank, moved, strict=True)]


@pytest.fixture
def turn(make_batch):
    batch = make_batch(rows=40, tokens=9)
    gap = torch.where(batch["response_mask_BT"], batch["teacher_logp_BT"] - batch["logp_BT"], 0.0)
    return gap, batch["advantage_BT"], (batch["logp_BT"] - batch["old_logp_BT"]).exp(), batch["response_mask_BT"]


def test_influence_is_the_formula_token_by_token(turn):
    gap, adv, ratio, mask = turn
    adv = adv * torch.where(torch.arange(9) % 3 == 0, -1.0, 1.0)  # both signs in one turn
    found = InfluenceGate(5.0).weights(inputs(gap, mask, advantage_BT=adv, ratio_BT=ratio))
    for index in range(len(gap)):
        kept = mask[index]
        expected = influence_by_hand(*(x[index][kept].tolist() for x in (gap, adv, ratio)), 5.0)
        torch.testing.assert_close(found[index][kept], torch.tensor(expected, dtype=torch.float64))
    assert not found[~mask].any()


def test_influence_keeps_the_sum_of_each_turn_and_the_tokens_that_are_not_moved(turn):
    gap, adv, ratio, mask = turn
    gate = torch.where(mask, SigmoidGate(5.0).weights(inputs(gap)), 0.0)
    found = InfluenceGate(5.0).weights(inputs(gap, mask, advantage_BT=adv, ratio_BT=ratio))
    torch.testing.assert_close(found.sum(dim=1), gate.sum(dim=1))
    stays = mask & (adv < 0) & (gap < 0)
    assert stays.any() and torch.equal(found[stays], gate[stays])
    assert (found - gate).abs().max() > 0.05  # and the others do move
    # With A > 0 the share of a token grows with what following the teacher there is worth.
    good = (adv[:, 0] > 0) & (mask.sum(dim=1) > 4)
    share = (found / gate)[good].where(mask[good], torch.nan)
    first = gap[good].where(mask[good], -torch.inf).argmax(dim=1)
    last = gap[good].where(mask[good], torch.inf).argmin(dim=1)
    every = torch.arange(int(good.sum()))
    assert (share[every, first] > share[every, last]).all()


def test_influence_of_equal_tokens_is_the_sigmoid():
    gap = torch.full((2, 4), 0.3, dtype=torch.float64)
    adv = torch.tensor([[1.0], [-1.0]], dtype=torch.float64).expand(2, 4)
    found = InfluenceGate(5.0).weights(inputs(gap, advantage_BT=adv))
    torch.testing.assert_close(found, SigmoidGate(5.0).weights(inputs(gap)))


def test_icsd_moves_sdars_gradient_within_turns_only(make_batch, to_tokens):
    batch, grads = make_batch(), {}
    for name in ("grpo", "sdar", "icsd"):
        tokens = to_tokens(batch)
        compute_loss(get_method(name).objective, tokens).loss.backward()
        grads[name] = tokens.logp_BT.grad
    sdar, icsd = grads["sdar"] - grads["grpo"], grads["icsd"] - grads["grpo"]
    torch.testing.assert_close(icsd.sum(dim=1), sdar.sum(dim=1), rtol=1e-12, atol=1e-16)
    assert (icsd - sdar).abs().max() > 1e-6


def persistent_by_hand(gap: list[float], beta: float) -> list[float]:
    def trailing(values: list[float], index: int) -> float:
        last = values[max(0, index - 7) : index + 1]
        return sum(last) / len(last)

    squares, every = [x * x for x in gap], range(len(gap))
    smooth = [trailing(gap, index) for index in every]
    variance = [max(0.0, trailing(squares, index) - smooth[index] ** 2) for index in every]
    typical, scale = sum(variance) / len(gap), math.sqrt(sum(squares) / len(gap))
    result = []
    for index in every:
        share = variance[index] / (variance[index] + typical + 1e-12)
        steady = share * smooth[index] + (1 - share) * gap[index]
        fall = smooth[index - 1] - smooth[index] if index else 0.0
        fade = 1 - 0.5 * min(1.0, max(0.0, fall / (scale + 1e-12)))
        result.append(fade * sigmoid(beta * steady))
    return result


def test_persistent_is_the_formula_token_by_token(make_batch):
    batch = make_batch(rows=20, tokens=15)
    mask = batch["response_mask_BT"]
    gap = torch.where(mask, batch["teacher_logp_BT"] - batch["logp_BT"], 0.0)
    found = PersistentGate(5.0).weights(inputs(gap, mask))
    assert (mask.sum(dim=1) > 8).any()  # longer than the window
    for index in range(len(gap)):
        expected = persistent_by_hand(gap[index][mask[index]].tolist(), 5.0)
        torch.testing.assert_close(found[index][mask[index]], torch.tensor(expected, dtype=torch.float64))


def test_persistent_gate_of_a_steady_gap_is_the_sigmoid_and_fades_where_it_falls():
    steady = torch.full((1, 12), 0.4, dtype=torch.float64)
    torch.testing.assert_close(PersistentGate(5.0).weights(inputs(steady)), SigmoidGate(5.0).weights(inputs(steady)))
    # With next to no sharpness the sigmoid is one half, and what is left is the fading.
    rising = torch.linspace(0.1, 1.2, 12, dtype=torch.float64)[None]
    torch.testing.assert_close(PersistentGate(1e-9).weights(inputs(rising)), torch.full_like(rising, 0.5))
    falling = PersistentGate(1e-9).weights(inputs(rising.flip(1)))
    assert falling[0, 0] == pytest.approx(0.5) and (falling[0, 1:] < 0.49).all()

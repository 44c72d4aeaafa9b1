"""Gates against formulas written out token by token."""

from __future__ import annotations

import math
from statistics import median_low

import pytest
import torch
from sdar_gym.algorithms.gates import entropy_gate, influence_gate, persistent_gate, soft_or_gate

from sdar_gym.algorithms import Gate, constant_gate, gate_weights, sigmoid_gate
from sdar_gym.algorithms.losses.total import compute_loss
from sdar_gym.algorithms.methods import get_method


def row(*values: float, grad: bool = False) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64, requires_grad=grad)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


ALL = torch.ones(1, 3, dtype=torch.bool)


def test_gates_hand_computed():
    gap = row(0.0, math.log(3) / 5, -math.log(3) / 5, grad=True)
    gate = sigmoid_gate(gap, 5.0)
    assert not gate.requires_grad
    torch.testing.assert_close(gate, row(0.5, 0.75, 0.25))
    assert torch.equal(gate_weights(Gate.SIGMOID, 5.0, gap, ALL), gate)
    half = gate_weights(Gate.CONSTANT, None, gap, ALL)
    assert not half.requires_grad
    assert torch.equal(half, sigmoid_gate(gap, 0.0))
    assert torch.equal(gate_weights(Gate.ONE, None, gap, ALL), row(1, 1, 1))
    assert torch.equal(constant_gate(gap, 0.2), row(0.2, 0.2, 0.2))


def test_gates_of_entropy_hand_computed():
    gap, entropy = row(0.5, -1.0, 0.0, grad=True), row(0.0, 1.0, math.log(3) / 2, grad=True)
    unsure = gate_weights(Gate.ENTROPY, 2.0, gap, ALL, entropy_BT=entropy)
    assert torch.equal(unsure, entropy_gate(entropy, 2.0))
    torch.testing.assert_close(unsure, row(0.5, sigmoid(2.0), 0.75))
    # 1 - (1 - h)(1 - Δ): 1 - 0.5, 1 - 0, h.
    either = gate_weights(Gate.SOFT_OR, 2.0, gap, ALL, entropy_BT=entropy)
    assert torch.equal(either, soft_or_gate(entropy, gap, 2.0))
    torch.testing.assert_close(either, row(sigmoid(1.0), sigmoid(2.0), 0.75))
    assert not unsure.requires_grad and not either.requires_grad


@pytest.mark.parametrize(
    ("gate", "beta", "message"),
    [
        (Gate.SIGMOID, None, "'sigmoid' needs gate_beta"),
        (Gate.ENTROPY, 5.0, "'entropy' needs entropy_BT"),
        (Gate.SOFT_OR, 5.0, "'soft_or' needs entropy_BT"),
        (Gate.INFLUENCE, 5.0, "needs advantage_BT and ratio_BT"),
    ],
)
def test_missing_inputs_are_named(gate: Gate, beta: float | None, message: str):
    with pytest.raises(ValueError, match=message):
        gate_weights(gate, beta, row(0, 0, 0), ALL)


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
    weighed = sum(g * m for g, m, free in zip(gate, rank, moved, strict=True) if free)
    return [g * m * mass / weighed if free else g for g, m, free in zip(gate, rank, moved, strict=True)]


@pytest.fixture
def turn(make_batch):
    batch = make_batch(rows=40, tokens=9)
    gap = torch.where(batch["mask_BT"], batch["teacher_logp_BT"] - batch["logp_BT"], 0.0)
    return gap, batch["advantage_BT"], (batch["logp_BT"] - batch["old_logp_BT"]).exp(), batch["mask_BT"]


def test_influence_is_the_formula_token_by_token(turn):
    gap, adv, ratio, mask = turn
    adv = adv * torch.where(torch.arange(9) % 3 == 0, -1.0, 1.0)  # both signs in one turn
    found = influence_gate(gap, adv, ratio, mask, 5.0)
    for index in range(len(gap)):
        kept = mask[index]
        expected = influence_by_hand(*(x[index][kept].tolist() for x in (gap, adv, ratio)), 5.0)
        torch.testing.assert_close(found[index][kept], torch.tensor(expected, dtype=torch.float64))
    assert not found[~mask].any()


def test_influence_keeps_the_mass_of_each_turn_and_what_stays_put(turn):
    gap, adv, ratio, mask = turn
    gate = torch.where(mask, sigmoid_gate(gap, 5.0), 0.0)
    found = influence_gate(gap, adv, ratio, mask, 5.0)
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
    adv, mask = torch.tensor([[1.0], [-1.0]], dtype=torch.float64).expand(2, 4), torch.ones(2, 4, dtype=torch.bool)
    found = influence_gate(gap, adv, torch.ones_like(gap), mask, 5.0)
    torch.testing.assert_close(found, sigmoid_gate(gap, 5.0))


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
    mask = batch["mask_BT"]
    gap = torch.where(mask, batch["teacher_logp_BT"] - batch["logp_BT"], 0.0)
    found = persistent_gate(gap, mask, 5.0)
    assert (mask.sum(dim=1) > 8).any()  # longer than the window
    for index in range(len(gap)):
        expected = persistent_by_hand(gap[index][mask[index]].tolist(), 5.0)
        torch.testing.assert_close(found[index][mask[index]], torch.tensor(expected, dtype=torch.float64))


def test_persistent_gate_of_a_steady_gap_is_the_sigmoid_and_fades_where_it_falls():
    steady, mask = torch.full((1, 12), 0.4, dtype=torch.float64), torch.ones(1, 12, dtype=torch.bool)
    torch.testing.assert_close(persistent_gate(steady, mask, 5.0), sigmoid_gate(steady, 5.0))
    # With next to no sharpness the sigmoid is one half, and what is left is the fading.
    rising = torch.linspace(0.1, 1.2, 12, dtype=torch.float64)[None]
    torch.testing.assert_close(persistent_gate(rising, mask, 1e-9), torch.full_like(rising, 0.5))
    falling = persistent_gate(rising.flip(1), mask, 1e-9)
    assert falling[0, 0] == pytest.approx(0.5) and (falling[0, 1:] < 0.49).all()

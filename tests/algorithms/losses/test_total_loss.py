"""The total loss against hand-computed numbers and finite differences, and the inputs on which it must not depend."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sdar_gym.algorithms.losses.total import LossOutput, TokenBatch, compute_loss
from sdar_gym.algorithms.methods import METHODS, get_method
from sdar_gym.algorithms.methods.sdar import SigmoidGate
from sdar_gym.algorithms.objectives.distillation import Distillation, Divergence, Support
from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.algorithms.objectives.schedule import Schedule
from sdar_gym.algorithms.objectives.teacher import Teacher

GATED = Distillation(Schedule.constant(0.3), gate=SigmoidGate(5.0))
FULL = Objective(teacher=Teacher(), distill=GATED, kl_coeff=0.2, entropy_coeff=0.1)


def distilling(**settings) -> Objective:
    """FULL with another distillation."""
    return replace(FULL, distill=Distillation(Schedule.constant(0.3), **settings))


def backward(objective: Objective, tokens: TokenBatch, step: int = 0) -> tuple[LossOutput, torch.Tensor]:
    output = compute_loss(objective, tokens, step)
    output.loss.backward()
    assert tokens.logp_BT.grad is not None
    return output, tokens.logp_BT.grad


def test_two_tokens_hand_computed():
    # One row of two tokens, ratio 1, advantages 2 and 3, gaps ±ln(3)/5 so that the gate at β = 5 is 3/4 and 1/4.
    third = torch.tensor([[1.0, -1.0]], dtype=torch.float64) * torch.log(torch.tensor(3.0, dtype=torch.float64)) / 5
    logp = torch.tensor([[-1.0, -2.0]], dtype=torch.float64, requires_grad=True)
    entropy = torch.tensor([[0.5, 1.5]], dtype=torch.float64, requires_grad=True)
    tokens = TokenBatch(
        logp_BT=logp,
        old_logp_BT=logp.detach(),
        advantage_BT=torch.tensor([[2.0, 3.0]], dtype=torch.float64),
        response_mask_BT=torch.ones(1, 2, dtype=torch.bool),
        weight_BT=torch.full((1, 2), 0.5, dtype=torch.float64),
        teacher_logp_BT=logp.detach() + third,
        ref_logp_BT=logp.detach() + torch.tensor([[0.0, 1.0]], dtype=torch.float64),
        entropy_BT=entropy,
    )
    output, grad = backward(FULL, tokens)
    gap, e = third[0, 0].item(), torch.e
    distill = (0.75 * gap - 0.25 * gap) / 2
    kl = (e - 2) / 2
    expected = {
        "policy_loss": -2.5,
        "advantage_abs": 2.5,
        "distill_loss": distill,
        "distill_fraction": 1.0,
        "gate_mean": 0.5,
        "gate_active_fraction": 0.5,
        "gap_mean": 0.0,
        "kl": kl,
        "entropy": 1.0,
        "clip_fraction": 0.0,
        "dual_clip_fraction": 0.0,
        "approx_kl": 0.0,
        "weight": 1.0,
    }
    assert {name: value.item() for name, value in output.metrics.items()} == pytest.approx(expected, abs=1e-14)
    assert output.maxima["ratio_max"].item() == 1.0
    assert output.loss.item() == pytest.approx(-2.5 + 0.3 * distill + 0.2 * kl - 0.1)
    # Per token: weight · (-A - λ·g + β·(1 - e^d)).
    torch.testing.assert_close(
        grad, torch.tensor([[-2 - 0.3 * 0.75, -3 - 0.3 * 0.25 + 0.2 * (1 - e)]], dtype=torch.float64) / 2
    )
    torch.testing.assert_close(entropy.grad, torch.full((1, 2), -0.05, dtype=torch.float64))


def test_ratio_metrics(make_batch, to_tokens):
    batch = make_batch(drift=0.6)
    output = compute_loss(Objective(), to_tokens(batch))
    mask = batch["response_mask_BT"]
    ratio, adv = (batch["logp_BT"] - batch["old_logp_BT"])[mask].exp(), batch["advantage_BT"][mask]
    clipped = ((ratio > 1.2) & (adv > 0)) | ((ratio < 0.8) & (adv < 0))
    assert 0 < clipped.double().mean() < 1
    torch.testing.assert_close(output.metrics["clip_fraction"], clipped.double().mean())
    torch.testing.assert_close(output.metrics["approx_kl"], (ratio - 1 - ratio.log()).mean())
    torch.testing.assert_close(output.metrics["advantage_abs"], adv.abs().mean())
    torch.testing.assert_close(output.maxima["ratio_max"], ratio.max())
    torch.testing.assert_close(output.minima["ratio_min"], ratio.min())


@pytest.mark.parametrize(
    ("settings", "ratio", "advantage", "loss"),
    [
        ({"clip_low": 0.4}, 0.5, -1.0, 0.6),
        ({"clip_high": 0.4}, 1.5, 1.0, -1.4),
        ({"dual_clip": 2.0}, 2.5, -1.0, 2.0),
        ({"dual_clip": None}, 4.0, -1.0, 4.0),
    ],
)
def test_clip_settings_reach_the_loss(settings, ratio: float, advantage: float, loss: float):
    one = torch.ones(1, 1, dtype=torch.float64)
    tokens = TokenBatch(
        logp_BT=(ratio * one).log(),
        old_logp_BT=0 * one,
        advantage_BT=advantage * one,
        response_mask_BT=one.bool(),
        weight_BT=one,
    )
    assert compute_loss(Objective(**settings), tokens).loss.item() == pytest.approx(loss)


CONSTANT_WEIGHTS = [
    {"gate": "constant"},
    {"gate": {"name": "constant", "value": 0.2}},
    {"positive_only": True},
    {"gate": {"name": "entropy", "beta": 2.0}},
    {"divergence": "reverse_kl_k3"},
    {"divergence": "jsd", "support": "full", "alpha": 0.5},
    {"divergence": "forward_ce", "support": "full", "gate": "constant"},
]


@pytest.mark.parametrize("settings", CONSTANT_WEIGHTS, ids=str)
def test_finite_differences_of_the_whole_loss(settings, make_batch):
    batch = make_batch(rows=4, tokens=5)
    objective = distilling(**settings)
    names = ["logp_BT", "divergence_BT", "entropy_BT"]
    if objective.distill is not None and objective.distill.gate is not None and objective.distill.gate.needs_entropy:
        names.remove("entropy_BT")  # Detached in the gate, so its gradient is not the slope of the loss.

    def loss(*inputs: torch.Tensor) -> torch.Tensor:
        return compute_loss(objective, TokenBatch(**(batch | dict(zip(names, inputs, strict=True))))).loss

    inputs = tuple(batch[name].clone().requires_grad_() for name in names)
    assert torch.autograd.gradcheck(loss, inputs)


def test_divergences_over_distributions_enter_with_weight_gate_and_coefficient(make_batch, to_tokens):
    batch = make_batch()
    gated = distilling(divergence=Divergence.REVERSE_KL, support=Support.FULL, gate=SigmoidGate(5.0))
    tokens, without = to_tokens(batch), to_tokens(batch)
    output, grad = backward(gated, tokens)
    gate = torch.sigmoid(5.0 * (batch["teacher_logp_BT"] - batch["logp_BT"]))
    assert tokens.divergence_BT is not None
    torch.testing.assert_close(tokens.divergence_BT.grad, 0.3 * batch["weight_BT"] * gate)
    torch.testing.assert_close(
        output.metrics["distill_loss"], (batch["weight_BT"] * gate * batch["divergence_BT"]).sum()
    )
    torch.testing.assert_close(
        output.metrics["agreement"], batch["agreement_BT"][batch["response_mask_BT"]].double().mean()
    )
    # The sampled tokens' probabilities get no gradient of their own from it.
    _, plain = backward(replace(FULL, teacher=None, distill=None), without)
    assert torch.equal(grad, plain)


def test_ratio_cap_weighs_tokens_by_their_capped_ratio(make_batch, to_tokens):
    batch = make_batch(drift=0.8)
    ratio = (batch["logp_BT"] - batch["old_logp_BT"]).exp()
    assert (ratio[batch["response_mask_BT"]] > 1.5).any()
    tokens = to_tokens(batch)
    backward(distilling(divergence="forward_kl", support="full", ratio_cap=1.5), tokens)
    assert tokens.divergence_BT is not None
    torch.testing.assert_close(tokens.divergence_BT.grad, 0.3 * batch["weight_BT"] * ratio.clamp(max=1.5))
    # Detached: with a sampled divergence it scales that gradient and adds none of its own.
    _, capped = backward(distilling(ratio_cap=1.5), to_tokens(batch))
    _, plain = backward(replace(FULL, teacher=None, distill=None), to_tokens(batch))
    torch.testing.assert_close(capped - plain, -0.3 * batch["weight_BT"] * ratio.clamp(max=1.5))


def test_positive_only_distils_tokens_with_positive_advantage(make_batch, to_tokens):
    batch = make_batch()
    batch["advantage_BT"][::4] = 0.0
    output, grad = backward(distilling(positive_only=True), to_tokens(batch))
    _, plain = backward(replace(FULL, teacher=None, distill=None), to_tokens(batch))
    good = batch["advantage_BT"] > 0
    torch.testing.assert_close(grad - plain, torch.where(good, -0.3 * batch["weight_BT"], 0.0))
    torch.testing.assert_close(output.metrics["distill_fraction"], good[batch["response_mask_BT"]].double().mean())


@pytest.mark.parametrize(
    "distill", [GATED, Distillation(Schedule.constant(0.3), Divergence.JSD, Support.FULL, alpha=0.5), None], ids=str
)
def test_nothing_outside_the_distilled_tokens_matters(distill: Distillation | None, make_batch, to_tokens):
    objective = get_method("icsd").objective if distill is None else replace(FULL, distill=distill)
    batch = make_batch()
    batch["distill_mask_BT"] = torch.rand(12, 1, generator=torch.Generator().manual_seed(1)).expand(12, 7) < 0.5
    clean, clean_grad = backward(objective, to_tokens(batch))
    dirty = {name: tensor.clone() for name, tensor in batch.items()}
    for name in ("teacher_logp_BT", "divergence_BT"):
        dirty[name][~batch["distill_mask_BT"]] = float("nan")
    output, grad = backward(objective, to_tokens(dirty))
    assert torch.equal(output.loss, clean.loss) and torch.equal(grad, clean_grad)
    for name, value in clean.metrics.items():
        assert torch.equal(output.metrics[name], value), name
    assert 0 < output.metrics["distill_fraction"] < 1
    # Outside, the gradient is that of the objective without distillation.
    _, plain = backward(replace(objective, teacher=None, distill=None), to_tokens(batch))
    assert torch.equal(grad[~batch["distill_mask_BT"]], plain[~batch["distill_mask_BT"]])


def test_padding_may_hold_anything(make_batch, to_tokens):
    batch = make_batch()
    full = distilling(divergence="reverse_kl", support="full", gate="soft_or")
    for objective in (FULL, full, get_method("icsd").objective, get_method("pcsd").objective):
        clean, clean_grad = backward(objective, to_tokens(batch))
        dirty = {name: torch.cat([tensor, tensor[:2]]).clone() for name, tensor in batch.items()}
        dirty["weight_BT"][12:] = 0.0  # rows that pad the batch to a multiple keep their mask and lose their weight
        for name in (
            "logp_BT",
            "old_logp_BT",
            "advantage_BT",
            "teacher_logp_BT",
            "ref_logp_BT",
            "entropy_BT",
            "divergence_BT",
        ):
            dirty[name][12:] = float("nan")
            dirty[name][:12][~dirty["response_mask_BT"][:12]] = float("-inf" if name != "advantage_BT" else "nan")
        output, grad = backward(objective, to_tokens(dirty))
        torch.testing.assert_close(output.loss, clean.loss)
        torch.testing.assert_close(grad[:12], clean_grad)
        assert torch.equal(grad[12:], torch.zeros_like(grad[12:]))
        for name, value in clean.metrics.items():
            torch.testing.assert_close(output.metrics[name], value)
        assert output.maxima == clean.maxima


def test_rows_without_any_token_contribute_nothing(make_batch, to_tokens):
    batch = make_batch()
    batch["response_mask_BT"] = torch.zeros_like(batch["response_mask_BT"])
    for name in METHODS:
        output, grad = backward(get_method(name).objective, to_tokens(batch))
        assert output.loss.item() == 0.0
        assert not grad.any()
        assert output.maxima["ratio_max"].item() == 0.0
        assert output.minima["ratio_min"].item() == torch.inf
        assert all(value.item() == 0.0 for value in output.metrics.values())


def test_metrics_are_detached_and_follow_the_inputs(make_batch, to_tokens):
    batch = make_batch()
    output = compute_loss(FULL, to_tokens(batch))
    assert not any(value.requires_grad for value in (*output.metrics.values(), *output.maxima.values()))
    needed = ("logp_BT", "old_logp_BT", "advantage_BT", "response_mask_BT", "weight_BT")
    bare = compute_loss(Objective(), to_tokens({name: batch[name] for name in needed})).metrics
    assert set(bare) == {
        "policy_loss",
        "advantage_abs",
        "approx_kl",
        "clip_fraction",
        "dual_clip_fraction",
        "weight",
    }
    for name, value in bare.items():
        assert torch.equal(value, output.metrics[name])
    # A teacher that no term uses is logged all the same.
    watched = compute_loss(Objective(), to_tokens({name: batch[name] for name in (*needed, "teacher_logp_BT")}))
    assert torch.equal(watched.metrics["gap_mean"], output.metrics["gap_mean"])


def test_schedules_are_read_at_the_step(make_batch, to_tokens):
    batch = make_batch()
    swap = Objective(
        policy_coeff=Schedule.linear(0, 1, 4), teacher=Teacher(), distill=Distillation(Schedule.linear(1, 0, 4))
    )
    assert [swap.needs_teacher_at(step) for step in (0, 3, 4)] == [True, True, False]
    # κ comes with the advantages, λ is the loss's own.
    _, policy_grad = backward(Objective(), to_tokens(batch))
    _, mixed_grad = backward(swap, to_tokens(batch), step=1)
    torch.testing.assert_close(mixed_grad, policy_grad - 0.75 * batch["weight_BT"])
    without_teacher = {name: tensor for name, tensor in batch.items() if name != "teacher_logp_BT"}
    assert compute_loss(swap, to_tokens(without_teacher), step=4).loss.isfinite()


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "teacher_logp_BT"),
        ({}, "ref_logp_BT"),
        ({}, "entropy_BT"),
        ({"divergence": "forward_kl", "support": "full"}, "divergence_BT"),
        ({"divergence": "forward_kl", "support": "full", "gate": "sigmoid"}, "teacher_logp_BT"),
    ],
)
def test_missing_inputs_are_named(settings, name: str, make_batch, to_tokens):
    batch = make_batch()
    del batch[name]
    with pytest.raises(ValueError, match=f"no {name}, but"):
        compute_loss(distilling(**settings), to_tokens(batch))


def test_missing_entropy_of_a_gate_is_named(make_batch, to_tokens):
    batch = make_batch()
    del batch["entropy_BT"]
    gated = replace(distilling(gate="entropy"), entropy_coeff=0.0)
    with pytest.raises(ValueError, match=r"no entropy_BT, but distill\.coeff"):
        compute_loss(gated, to_tokens(batch))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("logp_BT", torch.zeros(3, dtype=torch.float64), "logp_BT must have shape"),
        ("logp_BT", torch.zeros(12, 7, dtype=torch.bfloat16), "float32"),
        ("advantage_BT", torch.zeros(12, dtype=torch.float64), "advantage_BT must have shape"),
        ("teacher_logp_BT", torch.zeros(12, 6, dtype=torch.float64), "teacher_logp_BT must have shape"),
        ("ref_logp_BT", torch.zeros(12, 7), "ref_logp_BT must have"),
        ("response_mask_BT", torch.zeros(12, 7, dtype=torch.float64), "response_mask_BT must have"),
        ("distill_mask_BT", torch.zeros(12, dtype=torch.bool), "distill_mask_BT must have"),
        ("divergence_BT", torch.zeros(12, 7), "divergence_BT must have"),
    ],
)
def test_token_batch_refuses_what_does_not_fit(name: str, value: torch.Tensor, message: str, make_batch):
    with pytest.raises(ValueError, match=message):
        TokenBatch(**(make_batch() | {name: value}))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_computes(name: str, make_batch, to_tokens):
    output, grad = backward(get_method(name).objective, to_tokens(make_batch()))
    assert output.loss.isfinite()
    assert grad.isfinite().all() and grad.any()

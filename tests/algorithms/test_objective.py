from __future__ import annotations

import ast
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import sdar_gym.algorithms
from sdar_gym.algorithms import (
    Gate,
    LossOutput,
    Objective,
    Schedule,
    TokenBatch,
    compute_loss,
    get_method,
    sequence_mean_weights,
    token_mean_weights,
)

FULL = Objective(
    distill_coeff=Schedule.constant(0.3),
    gate=Gate.SIGMOID,
    gate_beta=5.0,
    kl_coeff=0.2,
    entropy_coeff=0.1,
)


def backward(objective: Objective, tokens: TokenBatch, step: int = 0) -> tuple[LossOutput, torch.Tensor]:
    output = compute_loss(objective, tokens, step)
    output.loss.backward()
    assert tokens.logp_BT.grad is not None
    return output, tokens.logp_BT.grad


def test_two_tokens_hand_computed():
    # One row of two tokens, ratio 1, advantage 2, gaps ±ln(3)/5 so that the gate at β = 5 is 3/4 and 1/4.
    third = torch.tensor([[1.0, -1.0]], dtype=torch.float64) * torch.log(torch.tensor(3.0, dtype=torch.float64)) / 5
    logp = torch.tensor([[-1.0, -2.0]], dtype=torch.float64, requires_grad=True)
    entropy = torch.tensor([[0.5, 1.5]], dtype=torch.float64, requires_grad=True)
    tokens = TokenBatch(
        logp_BT=logp,
        old_logp_BT=logp.detach(),
        adv_B=torch.tensor([2.0], dtype=torch.float64),
        mask_BT=torch.ones(1, 2, dtype=torch.bool),
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
        "policy_loss": -2.0,
        "distill_loss": distill,
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
    assert output.loss.item() == pytest.approx(-2.0 + 0.3 * distill + 0.2 * kl - 0.1)
    # Per token: weight · (-A - λ·g + β·(1 - e^d)).
    torch.testing.assert_close(
        grad, torch.tensor([[-2 - 0.3 * 0.75, -2 - 0.3 * 0.25 + 0.2 * (1 - e)]], dtype=torch.float64) / 2
    )
    torch.testing.assert_close(entropy.grad, torch.full((1, 2), -0.05, dtype=torch.float64))


def test_ratio_metrics(make_batch, to_tokens):
    batch = make_batch(drift=0.6)
    output = compute_loss(Objective(), to_tokens(batch))
    ratio = (batch["logp_BT"] - batch["old_logp_BT"])[batch["mask_BT"]].exp()
    adv = batch["adv_B"][:, None].expand_as(batch["mask_BT"])[batch["mask_BT"]]
    clipped = ((ratio > 1.2) & (adv > 0)) | ((ratio < 0.8) & (adv < 0))
    assert 0 < clipped.double().mean() < 1
    torch.testing.assert_close(output.metrics["clip_fraction"], clipped.double().mean())
    torch.testing.assert_close(output.metrics["approx_kl"], (ratio - 1 - ratio.log()).mean())
    torch.testing.assert_close(output.maxima["ratio_max"], ratio.max())


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
        adv_B=advantage * one[0],
        mask_BT=one.bool(),
        weight_BT=one,
    )
    assert compute_loss(Objective(**settings), tokens).loss.item() == pytest.approx(loss)


@pytest.mark.parametrize("gate", [Gate.CONSTANT, Gate.ONE])
def test_finite_differences_of_the_whole_loss(gate: Gate, make_batch):
    batch = make_batch(rows=4, tokens=5)
    objective = replace(FULL, gate=gate, gate_beta=None)

    def loss(logp: torch.Tensor, entropy: torch.Tensor) -> torch.Tensor:
        return compute_loss(objective, TokenBatch(**(batch | {"logp_BT": logp, "entropy_BT": entropy}))).loss

    inputs = (batch["logp_BT"].clone().requires_grad_(), batch["entropy_BT"].clone().requires_grad_())
    assert torch.autograd.gradcheck(loss, inputs)


SPLITS = [
    [[0, 1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11]],
    [[row] for row in range(12)],
    [[11, 0, 5], [1, 2, 3, 4, 6, 7, 8, 9, 10]],
]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("weights", ["tokens", "sequences"])
def test_any_split_gives_the_same_loss_gradient_and_metrics(split, weights: str, make_batch, to_tokens):
    batch = make_batch()
    if weights == "sequences":
        batch["weight_BT"] = sequence_mean_weights(batch["mask_BT"], 12, dtype=torch.float64)
    whole, whole_grad = backward(FULL, to_tokens(batch))
    assert whole.metrics["weight"].item() == pytest.approx(1.0)
    parts = [backward(FULL, to_tokens(batch, rows)) for rows in split]
    close = {"rtol": 1e-13, "atol": 1e-15}
    torch.testing.assert_close(sum(output.loss for output, _ in parts), whole.loss, **close)
    for rows, (_, grad) in zip(split, parts, strict=True):
        torch.testing.assert_close(grad, whole_grad[rows], **close)
    for name, value in whole.metrics.items():
        torch.testing.assert_close(sum(output.metrics[name] for output, _ in parts), value, **close)
    for name, value in whole.maxima.items():
        assert max(output.maxima[name] for output, _ in parts) == value


def test_weights_from_local_counts_do_change_the_loss(make_batch, to_tokens):
    batch = make_batch()
    whole = compute_loss(FULL, to_tokens(batch)).loss
    halves = []
    for rows in (slice(0, 6), slice(6, 12)):
        mask = batch["mask_BT"][rows]
        local = batch | {"weight_BT": batch["weight_BT"].clone()}
        local["weight_BT"][rows] = token_mean_weights(mask, int(mask.sum()), dtype=torch.float64)
        halves.append(compute_loss(FULL, to_tokens(local, rows)).loss)
    assert abs(sum(halves) / 2 - whole) > 1e-6


def test_padding_may_hold_anything(make_batch, to_tokens):
    batch = make_batch()
    clean, clean_grad = backward(FULL, to_tokens(batch))
    dirty = {name: torch.cat([tensor, tensor[:2]]).clone() for name, tensor in batch.items()}
    dirty["weight_BT"][12:] = 0.0  # rows that pad the batch to a multiple keep their mask and lose their weight
    dirty["adv_B"][12:] = float("nan")
    for name in ("logp_BT", "old_logp_BT", "teacher_logp_BT", "ref_logp_BT", "entropy_BT"):
        dirty[name][12:] = float("nan")
        dirty[name][:12][~dirty["mask_BT"][:12]] = float("-inf")
    output, grad = backward(FULL, to_tokens(dirty))
    torch.testing.assert_close(output.loss, clean.loss)
    torch.testing.assert_close(grad[:12], clean_grad)
    assert torch.equal(grad[12:], torch.zeros_like(grad[12:]))
    for name, value in clean.metrics.items():
        torch.testing.assert_close(output.metrics[name], value)
    assert output.maxima == clean.maxima


def test_rows_without_any_token_contribute_nothing(make_batch, to_tokens):
    batch = make_batch()
    batch["mask_BT"] = torch.zeros_like(batch["mask_BT"])
    output, grad = backward(FULL, to_tokens(batch))
    assert output.loss.item() == 0.0
    assert not grad.any()
    assert output.maxima["ratio_max"].item() == 0.0
    assert all(value.item() == 0.0 for value in output.metrics.values())


def test_metrics_are_detached_and_follow_the_inputs(make_batch, to_tokens):
    batch = make_batch()
    output = compute_loss(FULL, to_tokens(batch))
    assert not any(value.requires_grad for value in (*output.metrics.values(), *output.maxima.values()))
    for name in ("teacher_logp_BT", "ref_logp_BT", "entropy_BT"):
        del batch[name]
    bare = compute_loss(Objective(), to_tokens(batch)).metrics
    assert set(bare) == {"policy_loss", "approx_kl", "clip_fraction", "dual_clip_fraction", "weight"}
    for name, value in bare.items():
        assert torch.equal(value, output.metrics[name])


def test_schedules_are_read_at_the_step(make_batch, to_tokens):
    batch = make_batch()
    swap = Objective(policy_coeff=Schedule.linear(0, 1, 4), distill_coeff=Schedule.linear(1, 0, 4))
    assert [swap.needs_teacher_at(step) for step in (0, 3, 4)] == [True, True, False]
    _, policy_grad = backward(Objective(), to_tokens(batch))
    _, distill_grad = backward(Objective(policy_coeff=0.0, distill_coeff=1.0), to_tokens(batch))  # type: ignore[arg-type]
    _, mixed_grad = backward(swap, to_tokens(batch), step=1)
    torch.testing.assert_close(mixed_grad, 0.25 * policy_grad + 0.75 * distill_grad)
    assert (policy_grad - distill_grad).abs().max() > 1e-3
    without_teacher = {name: tensor for name, tensor in batch.items() if name != "teacher_logp_BT"}
    assert compute_loss(swap, to_tokens(without_teacher), step=4).loss.isfinite()


@pytest.mark.parametrize("name", ["teacher_logp_BT", "ref_logp_BT", "entropy_BT"])
def test_missing_inputs_are_named(name: str, make_batch, to_tokens):
    batch = make_batch()
    del batch[name]
    with pytest.raises(ValueError, match=f"no {name}, but"):
        compute_loss(FULL, to_tokens(batch))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("logp_BT", torch.zeros(3, dtype=torch.float64), "logp_BT must have shape"),
        ("logp_BT", torch.zeros(12, 7, dtype=torch.bfloat16), "float32"),
        ("adv_B", torch.zeros(12, 7, dtype=torch.float64), "adv_B must have shape"),
        ("teacher_logp_BT", torch.zeros(12, 6, dtype=torch.float64), "teacher_logp_BT must have shape"),
        ("ref_logp_BT", torch.zeros(12, 7), "ref_logp_BT must have"),
        ("mask_BT", torch.zeros(12, 7, dtype=torch.float64), "mask_BT must have"),
    ],
)
def test_token_batch_refuses_what_does_not_fit(name: str, value: torch.Tensor, message: str, make_batch):
    with pytest.raises(ValueError, match=message):
        TokenBatch(**(make_batch() | {name: value}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"policy_coeff": 0.0}, "nothing to learn from"),
        ({"policy_coeff": -1.0}, "policy_coeff must never be negative"),
        (
            {"distill_coeff": {"kind": "linear", "start": 1, "end": -1, "steps": 5}},
            "distill_coeff must never be negative",
        ),
        ({"distill_coeff": "0.01"}, "distill_coeff must be a number"),
        ({"kl_coeff": -0.1}, "kl_coeff must be at least 0"),
        ({"entropy_coeff": float("nan")}, "entropy_coeff must be finite"),
        ({"gate": "sigmoid"}, "needs gate_beta"),
        ({"gate": "sigmoid", "gate_beta": 0.0}, "write gate='constant'"),
        ({"gate": "sigmoid", "gate_beta": -5.0}, "gate_beta must be at least 0"),
        ({"gate": "constant", "gate_beta": 5.0}, "gate_beta=5.0 has no effect with gate='constant'"),
        ({"gate": "sigmoidal"}, "gate must be one of"),
        ({"divergence": "jsd"}, "divergence must be one of"),
        ({"advantage_statistics": "turn"}, "advantage_statistics must be one of"),
        ({"aggregation": "mean"}, "aggregation must be one of"),
        ({"normalize_by_std": "false"}, "normalize_by_std must be true or false"),
        ({"clip_low": 0.0}, "clip_low must be greater than 0"),
        ({"dual_clip": 0.5}, "dual_clip must be greater than 1"),
    ],
)
def test_senseless_objectives_are_refused(settings, message: str):
    with pytest.raises(ValueError, match=message):
        Objective(**settings)


def test_plain_configuration_values_are_accepted():
    given = {"distill_coeff": 0.3, "gate": "sigmoid", "gate_beta": 5, "kl_coeff": 0.2, "entropy_coeff": 0.1}
    assert Objective(**given) == FULL


def test_this_package_knows_only_tensors():
    folder = Path(sdar_gym.algorithms.__file__).parent
    allowed = sys.stdlib_module_names | {"torch"}
    imported = set()
    for file in folder.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file.name} imports relatively"
                imported.add(str(node.module))
    own = {name for name in imported if name.startswith("sdar_gym.algorithms.")}
    assert "sdar_gym.algorithms.losses" in own  # the scan sees something
    assert not any(name.startswith("sdar_gym.algorithms.sdar") for name in own)
    assert {name.split(".")[0] for name in imported - own} <= allowed


def test_every_method_computes(make_batch, to_tokens):
    grads = {}
    for name in sdar_gym.algorithms.METHODS:
        output, grads[name] = backward(get_method(name).objective, to_tokens(make_batch()))
        assert output.loss.isfinite()
    names = list(grads)
    for index, first in enumerate(names):
        for second in names[index + 1 :]:
            assert not torch.equal(grads[first], grads[second]), (first, second)

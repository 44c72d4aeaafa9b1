"""Gradients of SDAR's loss: the identities that relate it to the other methods."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sdar_gym.algorithms.losses.sampled_divergences import log_ratio
from sdar_gym.algorithms.losses.total import TokenBatch, compute_loss
from sdar_gym.algorithms.methods import get_method
from sdar_gym.algorithms.methods.sdar import ConstantGate, SigmoidGate
from sdar_gym.algorithms.objectives.distillation import Distillation
from sdar_gym.algorithms.objectives.gates import Gate, GateInputs
from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.algorithms.objectives.schedule import Schedule
from sdar_gym.algorithms.objectives.teacher import Teacher

DISTILL_ONLY = Objective(
    policy_coeff=Schedule.constant(0.0),
    teacher=Teacher(),
    distill=Distillation(Schedule.constant(0.01), gate=SigmoidGate(beta=5.0)),
)


def gradient(objective: Objective, tokens: TokenBatch) -> torch.Tensor:
    compute_loss(objective, tokens).loss.backward()
    assert tokens.logp_BT.grad is not None
    return tokens.logp_BT.grad


@pytest.fixture
def batch(make_batch):
    return make_batch()


@pytest.fixture
def no_reward(batch):
    # κ stands in the advantages that a batch brings: without a policy gradient they are zero.
    return batch | {"advantage_BT": torch.zeros_like(batch["advantage_BT"])}


def test_gradient_is_minus_lambda_times_the_mean_of_gate_times_score(batch, no_reward, to_tokens):
    gate = torch.sigmoid(5.0 * (batch["teacher_logp_BT"] - batch["logp_BT"]))
    mean_of_gate = torch.where(
        batch["response_mask_BT"], gate / batch["response_mask_BT"].sum(), torch.zeros_like(gate)
    )
    expected = -0.01 * mean_of_gate
    torch.testing.assert_close(gradient(DISTILL_ONLY, to_tokens(no_reward)), expected, rtol=1e-14, atol=0)
    # The same through the preset: SDAR minus GRPO leaves exactly that term.
    sdar = gradient(get_method("sdar").objective, to_tokens(batch))
    grpo = gradient(get_method("grpo").objective, to_tokens(batch))
    torch.testing.assert_close(sdar - grpo, expected, rtol=0, atol=1e-16)
    assert (expected[batch["response_mask_BT"]] < 0).all()  # every sampled token is pushed up, none down


def test_the_repositorys_opsd_is_sdar_without_the_policy_gradient(no_reward, to_tokens):
    bare = get_method("opsd_sdar_repo").with_overrides({"kl_coeff": 0.0, "entropy_coeff": 0.0}).objective
    assert bare.policy_coeff.always_zero
    assert torch.equal(gradient(bare, to_tokens(no_reward)), gradient(DISTILL_ONLY, to_tokens(no_reward)))


def test_the_repositorys_grpo_opsd_pushes_every_token_alike(batch, to_tokens):
    difference = gradient(get_method("grpo_opsd_sdar_repo").objective, to_tokens(batch)) - gradient(
        get_method("grpo").objective, to_tokens(batch)
    )
    torch.testing.assert_close(difference, -0.01 * 0.5 * batch["weight_BT"], rtol=0, atol=1e-16)


def test_finite_differences_of_the_gated_loss_with_the_gate_held_fixed(make_batch):
    batch = make_batch(rows=3, tokens=4)
    teacher, logp = batch["teacher_logp_BT"], batch["logp_BT"].clone().requires_grad_()
    mask, zeros = batch["response_mask_BT"], torch.zeros_like(teacher)
    fixed_gate = SigmoidGate(beta=5.0).weights(GateInputs(teacher - logp, mask, zeros, zeros))
    assert not fixed_gate.requires_grad
    assert torch.autograd.gradcheck(lambda x: fixed_gate * log_ratio(x, teacher), (logp,))


def test_a_gate_with_gradient_would_be_another_objective(make_batch, to_tokens):
    # Differences of the loss's VALUE see the gate move: -(g + βΔ·g(1-g)) per token (SDAR, Prop. 5). Autograd must not.
    batch = make_batch(rows=3, tokens=4)
    batch["advantage_BT"].zero_()
    gap = batch["teacher_logp_BT"] - batch["logp_BT"]
    gate = torch.sigmoid(5.0 * gap)
    step, moved = 1e-6, torch.zeros_like(gap)
    for index in batch["response_mask_BT"].nonzero().tolist():
        values = []
        for sign in (1, -1):
            shifted = batch | {"logp_BT": batch["logp_BT"].clone()}
            shifted["logp_BT"][tuple(index)] += sign * step
            values.append(compute_loss(DISTILL_ONLY, to_tokens(shifted)).loss.item())
        moved[tuple(index)] = (values[0] - values[1]) / (2 * step)
    expected = -0.01 * batch["weight_BT"] * (gate + 5.0 * gap * gate * (1 - gate))
    torch.testing.assert_close(moved, expected, rtol=1e-5, atol=1e-9)
    assert (gradient(DISTILL_ONLY, to_tokens(batch)) - moved).abs().max() > 1e-5


@pytest.mark.parametrize("with_teacher", [True, False])
def test_sdar_with_lambda_zero_is_grpo_bit_for_bit(with_teacher: bool, batch, to_tokens):
    batch["teacher_logp_BT"][0, 0] = float("nan")  # not even a broken teacher leaks in
    if not with_teacher:
        del batch["teacher_logp_BT"]
    off, plain = get_method("sdar").with_overrides({"distill": {"coeff": 0.0}}), get_method("grpo")
    assert not off.needs_teacher
    assert off.objective == plain.objective
    tokens, baseline = to_tokens(batch), to_tokens({k: v for k, v in batch.items() if k != "teacher_logp_BT"})
    sdar, grpo = compute_loss(off.objective, tokens), compute_loss(plain.objective, baseline)
    sdar.loss.backward()
    grpo.loss.backward()
    assert torch.equal(sdar.loss, grpo.loss)
    for mine, theirs in ((tokens.logp_BT, baseline.logp_BT), (tokens.entropy_BT, baseline.entropy_BT)):
        assert mine is not None and theirs is not None and mine.grad is not None and theirs.grad is not None
        assert torch.equal(mine.grad, theirs.grad)


def test_a_schedule_at_zero_is_grpo_bit_for_bit(batch, to_tokens):
    fading = get_method("sdar").with_overrides({"distill": {"coeff": [[0, 1], [3, 0]]}})
    faded, plain = to_tokens(batch), to_tokens(batch)
    compute_loss(fading.objective, faded, step=3).loss.backward()
    compute_loss(get_method("grpo").objective, plain).loss.backward()
    assert faded.logp_BT.grad is not None and plain.logp_BT.grad is not None
    assert torch.equal(faded.logp_BT.grad, plain.logp_BT.grad)


def expected_gradient(objective: Objective, logits_V: torch.Tensor, teacher_V: torch.Tensor) -> torch.Tensor:
    """Returns the exact on-policy expectation of the gradient: every token once, weighed by its probability."""
    logits_V = logits_V.clone().requires_grad_()
    logp_V1 = logits_V.log_softmax(0).unsqueeze(1)
    tokens = TokenBatch(
        logp_BT=logp_V1,
        old_logp_BT=logp_V1.detach(),
        advantage_BT=torch.zeros_like(logp_V1.detach()),
        response_mask_BT=torch.ones_like(logp_V1, dtype=torch.bool),
        weight_BT=logp_V1.detach().exp(),
        teacher_logp_BT=teacher_V.log_softmax(0).unsqueeze(1),
    )
    compute_loss(objective, tokens).loss.backward()
    assert logits_V.grad is not None
    return logits_V.grad


LOGITS = torch.tensor([0.3, -0.8, 1.1, 0.0], dtype=torch.float64)
TEACHER = torch.tensor([1.2, -0.5, 0.1, 0.4], dtype=torch.float64)


@pytest.mark.parametrize("gate", [ConstantGate(), None], ids=["constant", "none"])
def test_constant_gates_have_no_expected_gradient_on_policy(gate: Gate | None):
    ungated = replace(DISTILL_ONLY, distill=Distillation(Schedule.constant(0.01), gate=gate))
    assert expected_gradient(ungated, LOGITS, TEACHER).abs().max() < 1e-17


def test_the_sigmoid_gate_is_a_policy_gradient_with_the_gate_as_reward():
    policy = LOGITS.softmax(0)
    gate = torch.sigmoid(5.0 * (TEACHER.log_softmax(0) - LOGITS.log_softmax(0)))
    reward_gradient = policy * (gate - (policy * gate).sum())
    found = expected_gradient(DISTILL_ONLY, LOGITS, TEACHER)
    torch.testing.assert_close(found, -0.01 * reward_gradient)
    assert found.abs().max() > 1e-4
    # It moves probability towards what the teacher prefers: descent raises the gate's expectation.
    assert (found * reward_gradient).sum() < 0


def test_a_teacher_equal_to_the_student_teaches_nothing():
    assert expected_gradient(DISTILL_ONLY, LOGITS, LOGITS).abs().max() < 1e-17

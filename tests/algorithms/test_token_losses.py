from __future__ import annotations

import math

import pytest
import torch

from sdar_gym.algorithms.losses.aggregation import sequence_mean_weights, token_mean_weights, weighted_sum
from sdar_gym.algorithms.losses.policy_gradient import clipped_policy_loss
from sdar_gym.algorithms.losses.sampled_divergences import k3_kl, log_ratio, teacher_gap


def row(*values: float, grad: bool = False) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64, requires_grad=grad)


# Ratio, advantage, loss, d loss / d log p, clipped, dual-clipped; worked out by hand for clip 0.2/0.2 and dual clip 3.
POLICY_CASES = [
    (1.0, 2.0, -2.0, -2.0, False, False),
    (1.5, 2.0, -2.4, 0.0, True, False),
    (0.5, 2.0, -1.0, -1.0, False, False),
    (0.5, -1.0, 0.8, 0.0, True, False),
    (1.5, -1.0, 1.5, 1.5, False, False),
    (4.0, -1.0, 3.0, 0.0, False, True),
    (4.0, 1.0, -1.2, 0.0, True, False),
    (2.0, 0.0, 0.0, 0.0, False, False),
]


@pytest.mark.parametrize(("ratio", "advantage", "loss", "slope", "clipped", "dual_clipped"), POLICY_CASES)
def test_policy_loss_hand_computed(ratio, advantage, loss, slope, clipped, dual_clipped):
    logp = row(-1.0 + math.log(ratio), grad=True)
    result = clipped_policy_loss(logp, row(-1.0), row(advantage))
    result.loss_BT.sum().backward()
    torch.testing.assert_close(result.loss_BT.detach(), row(loss))
    torch.testing.assert_close(logp.grad, row(slope))
    torch.testing.assert_close(result.ratio_BT, row(ratio))
    assert not result.ratio_BT.requires_grad
    assert (result.clipped_BT.item(), result.dual_clipped_BT.item()) == (clipped, dual_clipped)


def test_policy_loss_clip_ranges_are_separate_and_the_dual_clip_optional():
    logp = row(math.log(1.4), math.log(0.6), math.log(50.0))
    loss = clipped_policy_loss(logp, row(0, 0, 0), row(1, -1, -1), clip_low=0.1, clip_high=0.3, dual_clip=None).loss_BT
    torch.testing.assert_close(loss, row(-1.3, 0.9, 50.0))


@pytest.mark.parametrize("log_ratio", [1000.0, -1000.0])
@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_policy_loss_survives_extreme_ratios(log_ratio: float, advantage: float):
    logp = torch.tensor([[log_ratio]], requires_grad=True)
    loss = clipped_policy_loss(logp, torch.zeros(1, 1), torch.full((1, 1), advantage)).loss_BT.sum()
    loss.backward()
    assert loss.isfinite() and logp.grad is not None and logp.grad.isfinite().all()


def test_policy_loss_finite_differences():
    old, adv = row(-1.0, -1.0, -1.0, -1.0, -1.0, -1.0), row(2.0, 2.0, 2.0, -1.0, -1.0, -1.0)
    ratios = [0.5, 1.1, 1.6, 0.6, 1.7, 3.5]  # both branches on both sides, away from the corners
    logp = (old + torch.tensor([ratios], dtype=torch.float64).log()).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: clipped_policy_loss(x, old, adv).loss_BT, (logp,))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clip_low": 0.0}, "clip_low must be greater than 0"),
        ({"clip_low": 1.5}, "clip_low must be at most 1"),
        ({"clip_high": -0.1}, "clip_high must be greater than 0"),
        ({"dual_clip": 1.0}, "dual_clip must be greater than 1"),
        ({"clip_high": math.inf}, "clip_high must be finite"),
    ],
)
def test_policy_loss_refuses_senseless_clipping(settings, message: str):
    with pytest.raises(ValueError, match=message):
        clipped_policy_loss(row(0), row(0), row(1), **settings)


def test_k3_hand_computed():
    kl = k3_kl(row(-1, -1, -1, -1, -1), row(-1, -2, 0, 4, -21))
    torch.testing.assert_close(kl, row(0.0, math.exp(-1), math.e - 2, 10.0, 10.0))


def test_k3_finite_differences_and_no_gradient_beyond_the_cap():
    logp, ref = row(-1, -0.5, -2, -3, grad=True), row(-1.5, -0.5, -0.5, -0.2)
    assert torch.autograd.gradcheck(lambda x: k3_kl(x, ref, cap=50.0), (logp,))
    far = row(-5, -5000, 5000, grad=True)  # the second would overflow float64
    k3_kl(far, row(0, 0, 0)).sum().backward()
    assert torch.equal(far.grad, row(0, 0, 0))


def test_k3_keeps_small_differences_in_single_precision():
    kl = k3_kl(torch.tensor([[-1.0]]), torch.tensor([[-1.0 + 2**-13]]))
    assert kl.item() == pytest.approx(2**-27, rel=1e-3)


def test_k3_expectation_is_the_kl():
    policy, reference = row(0.1, 0.5, -0.3).log_softmax(-1), row(0.4, -0.2, 0.3).log_softmax(-1)
    exact = (policy.exp() * (policy - reference)).sum()
    torch.testing.assert_close((policy.exp() * k3_kl(policy, reference)).sum(), exact)


def test_gap_is_teacher_minus_student_detached_and_zero_where_masked():
    student = row(-1.0, -2.0, -3.0, grad=True)
    gap = teacher_gap(row(-0.5, -4.0, float("nan")), student, torch.tensor([[True, True, False]]))
    assert not gap.requires_grad
    assert torch.equal(gap, row(0.5, -2.0, 0.0))


def test_nll_is_teacher_minus_student_and_trains_the_student_only():
    student, teacher = row(-1.0, -2.0, grad=True), row(-0.5, -4.0, grad=True)
    loss = log_ratio(student, teacher)
    torch.testing.assert_close(loss.detach(), row(0.5, -2.0))
    loss.sum().backward()
    assert torch.equal(student.grad, row(-1, -1))
    assert teacher.grad is None
    assert torch.autograd.gradcheck(lambda x: log_ratio(x, teacher.detach()), (student,))


def test_weighted_sum_ignores_what_has_no_weight():
    loss = row(2.0, float("nan"), 4.0, grad=True)
    weight = row(0.5, 0.0, 0.25)
    total = weighted_sum(loss, weight)
    total.backward()
    assert total.item() == 2.0
    assert torch.equal(loss.grad, weight)


def test_token_mean_weights():
    mask = torch.tensor([[True, True, True], [True, False, False]])
    weight = token_mean_weights(mask, 4, dtype=torch.float64)
    assert torch.equal(weight, torch.tensor([[0.25, 0.25, 0.25], [0.25, 0, 0]], dtype=torch.float64))
    assert torch.equal(token_mean_weights(mask[:1], 4, dtype=torch.float64), weight[:1])
    with pytest.raises(ValueError, match="total_tokens must be greater than 0"):
        token_mean_weights(mask, 0)


def test_sequence_mean_weights():
    mask = torch.tensor([[True, True], [True, False], [False, False]])
    weight = sequence_mean_weights(mask, 2, dtype=torch.float64)
    assert torch.equal(weight, torch.tensor([[0.25, 0.25], [0.5, 0], [0, 0]], dtype=torch.float64))
    # Rows one and two as one trajectory of three tokens, alone in the update.
    joined = sequence_mean_weights(mask, 1, sequence_tokens_B=torch.tensor([3, 3, 1]), dtype=torch.float64)
    torch.testing.assert_close(joined, mask.double() / 3)
    with pytest.raises(ValueError, match="total_sequences must be greater than 0"):
        sequence_mean_weights(mask, 0)

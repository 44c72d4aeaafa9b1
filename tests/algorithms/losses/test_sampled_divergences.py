"""Gap, log-ratio and k3 of sampled tokens; what they train in expectation is in `test_expected_gradients.py`."""

from __future__ import annotations

import math

import pytest
import torch

from sdar_gym.algorithms.losses.sampled_divergences import k3_kl, log_ratio, sampled_divergence, teacher_gap
from sdar_gym.algorithms.objectives.distillation import Divergence


def row(*values: float, grad: bool = False) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64, requires_grad=grad)


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


def test_the_log_ratio_is_teacher_minus_student_and_trains_the_student_only():
    student, teacher = row(-1.0, -2.0, grad=True), row(-0.5, -4.0, grad=True)
    loss = log_ratio(student, teacher)
    torch.testing.assert_close(loss.detach(), row(0.5, -2.0))
    loss.sum().backward()
    assert torch.equal(student.grad, row(-1, -1))
    assert teacher.grad is None
    assert torch.autograd.gradcheck(lambda x: log_ratio(x, teacher.detach()), (student,))


def test_a_divergence_over_distributions_is_refused():
    with pytest.raises(ValueError, match="'jsd' needs distributions"):
        sampled_divergence(Divergence.JSD, row(-1), row(-1), row(-1))

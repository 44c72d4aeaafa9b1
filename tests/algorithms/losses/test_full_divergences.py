"""Divergences between distributions: their end points, and their values over the top k tokens with a tail bucket."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from sdar_gym.algorithms.losses.full_divergences import (
    entropy,
    forward_ce,
    forward_kl,
    full_divergence,
    jensen_shannon,
    renormalized,
    reverse_kl,
    with_tail_bucket,
)
from sdar_gym.algorithms.objectives.distillation import Divergence

FULL = (Divergence.FORWARD_CE, Divergence.FORWARD_KL, Divergence.REVERSE_KL, Divergence.JSD)
V = 9


def distributions(count: int = 6, *, scale: float = 2.0, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(2, count, V, generator=rng, dtype=torch.float64)
    student, teacher = logits.log_softmax(-1)
    return student, teacher


def gradient(divergence: Divergence, **settings: float) -> torch.Tensor:
    student, teacher = distributions()
    logits = student.clone().requires_grad_()
    full_divergence(divergence, logits.log_softmax(-1), teacher, **settings).sum().backward()
    assert logits.grad is not None
    return logits.grad


def test_two_tokens_hand_computed():
    student = torch.tensor([[0.25, 0.75]], dtype=torch.float64).log()
    teacher = torch.tensor([[0.5, 0.5]], dtype=torch.float64).log()
    log = math.log
    expected = {
        Divergence.FORWARD_CE: -0.5 * (log(0.25) + log(0.75)),
        Divergence.FORWARD_KL: 0.5 * (log(2) + log(2 / 3)),
        Divergence.REVERSE_KL: 0.25 * log(0.5) + 0.75 * log(1.5),
    }
    for divergence, value in expected.items():
        assert full_divergence(divergence, student, teacher).item() == pytest.approx(value)
    # α = 0.25: m = 0.75·student + 0.25·teacher = (0.3125, 0.6875).
    kl_student = 0.25 * log(0.25 / 0.3125) + 0.75 * log(0.75 / 0.6875)
    kl_teacher = 0.5 * log(0.5 / 0.3125) + 0.5 * log(0.5 / 0.6875)
    found = full_divergence(Divergence.JSD, student, teacher, alpha=0.25).item()
    assert found == pytest.approx(0.75 * kl_student + 0.25 * kl_teacher)


@pytest.mark.parametrize("divergence", FULL)
def test_finite_differences(divergence: Divergence):
    student, teacher = distributions(3)
    logits = student.clone().requires_grad_()
    for alpha in (0.0, 0.3, 1.0) if divergence is Divergence.JSD else (0.5,):
        assert torch.autograd.gradcheck(
            lambda x, alpha=alpha: full_divergence(divergence, x.log_softmax(-1), teacher, alpha=alpha), (logits,)
        )


@pytest.mark.parametrize("divergence", FULL)
def test_the_teacher_is_a_constant_and_agreement_is_the_minimum(divergence: Divergence):
    student, teacher = distributions()
    teacher = teacher.clone().requires_grad_()
    logits = student.clone().requires_grad_()
    apart = full_divergence(divergence, logits.log_softmax(-1), teacher)
    apart.sum().backward()
    assert teacher.grad is None and logits.grad is not None and logits.grad.abs().max() > 0.01
    same = student.clone().requires_grad_()
    together = full_divergence(divergence, same.log_softmax(-1), student)
    together.sum().backward()
    torch.testing.assert_close(same.grad, torch.zeros_like(student), rtol=0, atol=1e-15)
    least = entropy(student) if divergence is Divergence.FORWARD_CE else torch.zeros(len(student), dtype=torch.float64)
    torch.testing.assert_close(together, least, rtol=1e-12, atol=1e-15)


def test_cross_entropy_and_forward_kl_differ_by_the_teachers_entropy_and_not_in_gradient():
    student, teacher = distributions()
    torch.testing.assert_close(forward_ce(student, teacher), forward_kl(student, teacher) + entropy(teacher))
    by_hand = student.exp() - teacher.exp()
    for divergence in (Divergence.FORWARD_CE, Divergence.FORWARD_KL):
        torch.testing.assert_close(gradient(divergence), by_hand)


def test_entropy_hand_computed():
    halves = torch.tensor([[0.5, 0.5, 0.0]], dtype=torch.float64).log()
    assert entropy(halves).item() == pytest.approx(math.log(2))


def test_jsd_ends_are_switches():
    student, teacher = distributions()
    assert torch.equal(jensen_shannon(student, teacher, 0.0), forward_kl(student, teacher))
    assert torch.equal(jensen_shannon(student, teacher, 1.0), reverse_kl(student, teacher))
    # The formula itself would vanish there, linearly: its slope is the KL to the other end.
    for near, far in ((1e-6, forward_kl(student, teacher)), (1 - 1e-6, reverse_kl(student, teacher))):
        inside = jensen_shannon(student, teacher, near)
        torch.testing.assert_close(inside, 1e-6 * far, rtol=1e-3, atol=0)
        assert (inside < 1e-4 * far).all()


def test_jsd_is_symmetric_in_the_middle_and_bounded():
    student, teacher = distributions()
    torch.testing.assert_close(jensen_shannon(student, teacher, 0.5), jensen_shannon(teacher, student, 0.5))
    torch.testing.assert_close(jensen_shannon(student, teacher, 0.2), jensen_shannon(teacher, student, 0.8))
    assert (jensen_shannon(student, teacher, 0.3) - jensen_shannon(teacher, student, 0.3)).abs().max() > 1e-3
    assert (jensen_shannon(student, teacher, 0.5) < math.log(2)).all()
    apart = (1000 * torch.eye(2, dtype=torch.float64)).log_softmax(-1)
    assert jensen_shannon(apart[:1], apart[1:], 0.5).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("divergence", FULL)
def test_probabilities_that_underflow_give_finite_values_and_gradients(divergence: Divergence):
    student = torch.tensor([[0.0, -300.0, -5.0]]).log_softmax(-1).requires_grad_()
    teacher = torch.tensor([[0.0, -float("inf"), -1.0]]).log_softmax(-1)
    if divergence is Divergence.REVERSE_KL:
        teacher = teacher.clamp(min=-200.0)
    value = full_divergence(divergence, student, teacher)
    value.sum().backward()
    assert value.isfinite().all() and student.grad is not None and student.grad.isfinite().all()


def test_the_teacher_floor_bounds_the_reverse_kl():
    student = torch.tensor([[0.5, 0.5]], dtype=torch.float64).log()
    teacher = torch.tensor([[0.0, -40.0]], dtype=torch.float64)
    floored = full_divergence(Divergence.REVERSE_KL, student, teacher, teacher_floor=-12.0).item()
    assert floored == pytest.approx(math.log(0.5) + 6.0)
    assert full_divergence(Divergence.REVERSE_KL, student, teacher).item() == pytest.approx(math.log(0.5) + 20.0)


def test_sampled_divergences_are_refused():
    with pytest.raises(ValueError, match="'log_ratio' is computed from sampled tokens"):
        full_divergence(Divergence.LOG_RATIO, *distributions())


def on_topk(divergence: Divergence, k: int, *, tail_bucket: bool) -> torch.Tensor:
    """The divergence over the teacher's k most likely tokens."""
    student, teacher = distributions()
    ids = teacher.topk(k, dim=-1).indices
    keep = with_tail_bucket if tail_bucket else renormalized
    return full_divergence(divergence, keep(student.gather(-1, ids)), keep(teacher.gather(-1, ids)))


def test_the_top_tokens_and_the_tail_bucket_are_a_distribution():
    student, teacher = distributions()
    ids = teacher.topk(4, dim=-1).indices
    for logp in (student, teacher):
        chosen = logp.gather(-1, ids)
        whole = with_tail_bucket(chosen)
        assert torch.equal(whole[:, :-1], chosen)
        torch.testing.assert_close(whole.exp().sum(-1), torch.ones(6, dtype=torch.float64))
        torch.testing.assert_close(whole[:, -1].exp(), 1 - chosen.exp().sum(-1))
        alone = renormalized(chosen)
        torch.testing.assert_close(alone.exp().sum(-1), torch.ones(6, dtype=torch.float64))
        torch.testing.assert_close(alone[:, 1] - alone[:, 0], chosen[:, 1] - chosen[:, 0])


@pytest.mark.parametrize("divergence", FULL)
def test_all_tokens_but_one_and_the_tail_bucket_are_the_whole_vocabulary(divergence: Divergence):
    whole = full_divergence(divergence, *distributions())
    torch.testing.assert_close(on_topk(divergence, V - 1, tail_bucket=True), whole, rtol=1e-9, atol=1e-12)
    assert (on_topk(divergence, V - 1, tail_bucket=False) - whole).abs().max() > 1e-4


@pytest.mark.parametrize("divergence", [Divergence.FORWARD_KL, Divergence.REVERSE_KL, Divergence.JSD])
def test_more_tokens_come_closer_to_the_whole_vocabulary(divergence: Divergence):
    # Joining tokens loses information and never invents any: the divergence grows with k, up to the whole.
    whole = full_divergence(divergence, *distributions())
    missing = [whole - on_topk(divergence, k, tail_bucket=True) for k in range(2, V)]
    for fewer, more in itertools.pairwise(missing):
        assert (more <= fewer + 1e-12).all()
    assert (missing[0] > 1e-3).any() and (missing[-1].abs() < 1e-9).all()


def test_gradients_reach_the_tail_bucket():
    student, teacher = distributions(3)
    logits = student.clone().requires_grad_()
    ids = teacher.topk(3, dim=-1).indices
    target = with_tail_bucket(teacher.gather(-1, ids))

    def loss(x: torch.Tensor) -> torch.Tensor:
        return forward_ce(with_tail_bucket(x.log_softmax(-1).gather(-1, ids)), target)

    assert torch.autograd.gradcheck(loss, (logits,))
    # Where the top tokens have all the probability, the tail bucket has next to none, but its logarithm is finite.
    certain = with_tail_bucket(torch.zeros(1, 1)).requires_grad_()
    assert certain.isfinite().all() and certain[0, 1] < -15

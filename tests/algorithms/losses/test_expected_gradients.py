"""Three estimates of one gradient: what divergences of sampled tokens train in expectation, exactly."""

from __future__ import annotations

import pytest
import torch

from sdar_gym.algorithms.losses.full_divergences import full_divergence
from sdar_gym.algorithms.losses.sampled_divergences import reverse_kl_k3, reverse_kl_pg
from sdar_gym.algorithms.losses.total import TokenBatch, compute_loss
from sdar_gym.algorithms.objectives.distillation import Distillation, Divergence, Support
from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.algorithms.objectives.schedule import Schedule
from sdar_gym.algorithms.objectives.teacher import Teacher

LOGITS = torch.tensor([0.3, -0.8, 1.1, 0.0], dtype=torch.float64)
TEACHER = torch.tensor([1.2, -0.5, 0.1, 0.4], dtype=torch.float64).log_softmax(0)
OLD = torch.tensor([-0.6, 0.5, 0.9, 0.2], dtype=torch.float64).log_softmax(0)
CLOSE = {"rtol": 1e-12, "atol": 1e-15}


def objective(divergence: Divergence) -> Objective:
    support = Support.FULL if divergence.full else Support.SAMPLED
    distill = Distillation(Schedule.constant(1.0), divergence, support)
    return Objective(policy_coeff=Schedule.constant(0.0), teacher=Teacher(), distill=distill)


def expected_gradient(divergence: Divergence, old_V: torch.Tensor | None) -> tuple[torch.Tensor, float]:
    """Gradient by the logits and loss, every token once, weighted by how often the sampler draws it."""
    logits_V = LOGITS.clone().requires_grad_()
    logp_V = logits_V.log_softmax(0)
    old_V = logp_V.detach() if old_V is None else old_V
    full_V = full_divergence(divergence, logp_V, TEACHER).expand(4)[:, None] if divergence.full else None
    tokens = TokenBatch(
        logp_BT=logp_V[:, None],
        old_logp_BT=old_V[:, None],
        advantage_BT=torch.zeros(4, 1, dtype=torch.float64),
        response_mask_BT=torch.ones(4, 1, dtype=torch.bool),
        weight_BT=old_V.exp()[:, None],
        teacher_logp_BT=TEACHER[:, None],
        divergence_BT=full_V,
    )
    output = compute_loss(objective(divergence), tokens)
    output.loss.backward()
    assert logits_V.grad is not None
    return logits_V.grad, output.loss.item()


def reverse_kl_by_hand() -> tuple[torch.Tensor, float]:
    """∂KL/∂logit_v = p_v·(l_v - Σ p·l) with l = log p - log p_teacher."""
    p, log_ratio = LOGITS.softmax(0), LOGITS.log_softmax(0) - TEACHER
    kl = (p * log_ratio).sum()
    return p * (log_ratio - kl), kl.item()


@pytest.mark.parametrize("divergence", [Divergence.REVERSE_KL_PG, Divergence.REVERSE_KL_K3, Divergence.REVERSE_KL])
def test_on_policy_all_three_train_the_reverse_kl(divergence: Divergence):
    by_hand, kl = reverse_kl_by_hand()
    found, value = expected_gradient(divergence, None)
    torch.testing.assert_close(found, by_hand, **CLOSE)
    assert by_hand.abs().max() > 0.05
    if divergence is not Divergence.REVERSE_KL_PG:  # a surrogate, whose value means nothing
        assert value == pytest.approx(kl, rel=1e-12)


def test_off_policy_the_weighted_k3_still_trains_the_reverse_kl_and_the_score_function_alone_does_not():
    by_hand, kl = reverse_kl_by_hand()
    found, value = expected_gradient(Divergence.REVERSE_KL_K3, OLD)
    torch.testing.assert_close(found, by_hand, **CLOSE)
    assert value == pytest.approx(kl, rel=1e-12)
    assert (expected_gradient(Divergence.REVERSE_KL_PG, OLD)[0] - by_hand).abs().max() > 0.05


def test_the_log_ratio_trains_nothing_on_policy_and_drifts_off_policy():
    assert expected_gradient(Divergence.LOG_RATIO, None)[0].abs().max() < 1e-16
    torch.testing.assert_close(expected_gradient(Divergence.LOG_RATIO, OLD)[0], LOGITS.softmax(0) - OLD.exp(), **CLOSE)


def test_the_weighted_k3_has_the_gradient_of_the_weighted_log_ratio_token_by_token():
    logp = LOGITS.log_softmax(0).clone().requires_grad_()
    reverse_kl_k3(logp, TEACHER, OLD).sum().backward()
    by_hand = (logp - OLD).exp() * (logp - TEACHER)
    torch.testing.assert_close(logp.grad, by_hand.detach(), **CLOSE)
    assert torch.autograd.gradcheck(lambda x: reverse_kl_k3(x, TEACHER, OLD), (logp,))


def test_the_weighted_k3_is_finite_at_extremes():
    logp = torch.tensor([-500.0, -0.001, -700.0], requires_grad=True)
    loss = reverse_kl_k3(logp, torch.tensor([-1.0, -900.0, -700.0]), torch.tensor([-500.0, -800.0, -1.0]))
    loss.sum().backward()
    assert loss.isfinite().all() and (loss >= 0).all() and logp.grad is not None and logp.grad.isfinite().all()


def test_reverse_kl_pg_weights_the_score_with_the_gap():
    logp, teacher = torch.tensor([-1.0, -2.0], requires_grad=True), torch.tensor([-0.5, -4.0], requires_grad=True)
    loss = reverse_kl_pg(logp, teacher)
    loss.sum().backward()
    assert torch.equal(logp.grad, torch.tensor([-0.5, 2.0]))
    assert teacher.grad is None
    assert torch.equal(loss.detach(), torch.tensor([0.5, -4.0]))

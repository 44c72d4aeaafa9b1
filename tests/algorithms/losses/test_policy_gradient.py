"""The clipped policy-gradient loss against numbers worked out by hand and finite differences."""

from __future__ import annotations

import math

import pytest
import torch

from sdar_gym.algorithms.losses.policy_gradient import clipped_policy_loss


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
def test_policy_loss_and_gradient_are_finite_at_extreme_ratios(log_ratio: float, advantage: float):
    logp = torch.tensor([[log_ratio]], requires_grad=True)
    loss = clipped_policy_loss(logp, torch.zeros(1, 1), torch.full((1, 1), advantage)).loss_BT.sum()
    loss.backward()
    assert loss.isfinite() and logp.grad is not None and logp.grad.isfinite().all()


def test_policy_loss_finite_differences():
    old, adv = row(-1.0, -1.0, -1.0, -1.0, -1.0, -1.0), row(2.0, 2.0, 2.0, -1.0, -1.0, -1.0)
    ratios = [0.5, 1.1, 1.6, 0.6, 1.7, 3.5]  # both branches on both sides, away from the corners
    logp = (old + torch.tensor([ratios], dtype=torch.float64).log()).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: clipped_policy_loss(x, old, adv).loss_BT, (logp,))

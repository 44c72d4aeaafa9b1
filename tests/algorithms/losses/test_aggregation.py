"""Weights under which sums are means over the whole update, and the sum that they weight."""

from __future__ import annotations

import pytest
import torch

from sdar_gym.algorithms.losses.aggregation import sequence_mean_weights, token_mean_weights, weighted_sum


def row(*values: float, grad: bool = False) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64, requires_grad=grad)


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
    with pytest.raises(ValueError, match="total_tokens must be a finite number above 0"):
        token_mean_weights(mask, 0)


def test_sequence_mean_weights():
    mask = torch.tensor([[True, True], [True, False], [False, False]])
    weight = sequence_mean_weights(mask, 2, dtype=torch.float64)
    assert torch.equal(weight, torch.tensor([[0.25, 0.25], [0.5, 0], [0, 0]], dtype=torch.float64))
    with pytest.raises(ValueError, match="total_sequences must be a finite number above 0"):
        sequence_mean_weights(mask, 0)

"""Importance weights of every mode against hand-worked numbers, and the terms of the loss that they enter."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sdar_gym.algorithms.losses.importance_correction import importance_weights, mismatch_metrics
from sdar_gym.algorithms.losses.total import compute_loss
from sdar_gym.algorithms.methods import get_method
from sdar_gym.algorithms.objectives.objective import Objective

NAN = float("nan")
# Learner to sampler, by token. By response: 3, 3/8, 3/2 and 8.
RATIOS = [[3.0, 1.0, NAN], [0.25, 1.5, 1.0], [1.5, NAN, NAN], [2.0, 2.0, 2.0]]


def made(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The learner's and the sampler's log-probabilities and the mask; padding holds nan."""
    ratio = torch.tensor(RATIOS, dtype=torch.float64)
    sampler = torch.full_like(ratio, -0.5)
    return (sampler + ratio.log()).to(dtype), sampler.to(dtype), ~ratio.isnan()


@pytest.mark.parametrize(
    ("mode", "cap", "expected"),
    [
        ("token_truncate", 2.5, [[2.5, 1.0, 0], [0.25, 1.5, 1.0], [1.5, 0, 0], [2.0, 2.0, 2.0]]),
        ("token_mask", 2.5, [[0, 1.0, 0], [0, 1.5, 1.0], [1.5, 0, 0], [2.0, 2.0, 2.0]]),
        ("token_mask", 5.0, [[3.0, 1.0, 0], [0.25, 1.5, 1.0], [1.5, 0, 0], [2.0, 2.0, 2.0]]),
        ("sequence_truncate", 2.5, [[2.5, 2.5, 0], [0.375, 0.375, 0.375], [1.5, 0, 0], [2.5, 2.5, 2.5]]),
        ("sequence_mask", 2.5, [[0, 0, 0], [0, 0, 0], [1.5, 0, 0], [0, 0, 0]]),
        ("sequence_mask", 3.5, [[3.0, 3.0, 0], [0.375, 0.375, 0.375], [1.5, 0, 0], [0, 0, 0]]),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_weights_hand_computed(mode: str, cap: float, expected: list[list[float]], dtype: torch.dtype):
    logp, sampler, mask = made(dtype)
    weight = importance_weights(mode, logp.requires_grad_(), sampler, mask, cap=cap)
    assert weight.dtype == dtype and not weight.requires_grad
    torch.testing.assert_close(weight, torch.tensor(expected, dtype=dtype), rtol=1e-6, atol=0.0)


def test_an_enormous_ratio_stays_finite():
    logp, sampler = torch.tensor([[-1e4, -1.0]]), torch.tensor([[-1.0, -1e4]])
    mask = torch.ones(1, 2, dtype=torch.bool)
    weight = importance_weights("token_truncate", logp, sampler, mask, cap=2.0)
    # Above zero: only tokens that leave the loss have none.
    assert 0 < weight[0, 0] < 1e-8 and weight[0, 1] == 2.0
    assert not importance_weights("token_mask", logp, sampler, mask, cap=2.0).any()
    metrics = mismatch_metrics(logp, sampler, mask, mask / 2)
    assert all(torch.tensor(value).isfinite() for value in metrics.values())


@pytest.mark.parametrize("mode", ["off", "token", "turn_mask", "token_clip"])
def test_an_unknown_mode_is_refused(mode: str):
    with pytest.raises(ValueError, match=f"Unknown importance correction '{mode}'"):
        importance_weights(mode, *made(), cap=2.0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_mismatch_hand_computed(dtype: torch.dtype):
    logp, sampler, mask = made(dtype)
    found = mismatch_metrics(logp, sampler, mask, mask.to(dtype) / 9)
    ratio = torch.tensor(RATIOS, dtype=torch.float64)[mask]
    # The sampler drew the tokens, so the ratio in k3 is learner to sampler.
    expected = (ratio - 1 - ratio.log()).sum() / 9
    assert found == pytest.approx(
        {"mismatch_kl": float(expected), "mismatch_ratio_max": 3.0, "mismatch_ratio_min": 0.25}, rel=1e-6
    )


def test_k3_estimates_the_divergence_from_the_sampler_to_the_learner():
    sampler, learner = torch.tensor([0.7, 0.2, 0.1]).double(), torch.tensor([0.4, 0.4, 0.2]).double()
    # Every token as often as the sampler draws it.
    found = mismatch_metrics(
        learner.log()[None], sampler.log()[None], torch.ones(1, 3, dtype=torch.bool), sampler[None]
    )
    assert found["mismatch_kl"] == pytest.approx(float((sampler * (sampler / learner).log()).sum()))


def test_the_policy_gradient_is_weighted(make_batch, to_tokens):
    batch = make_batch()
    plain = to_tokens(batch)
    compute_loss(Objective(), plain).loss.backward()
    batch["importance_BT"] = torch.rand(12, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64) + 0.5
    batch["importance_BT"][~batch["response_mask_BT"]] = NAN
    tokens = to_tokens(batch)
    output = compute_loss(Objective(), tokens)
    output.loss.backward()
    assert tokens.logp_BT.grad is not None and plain.logp_BT.grad is not None
    mask = batch["response_mask_BT"]
    torch.testing.assert_close(tokens.logp_BT.grad[mask], (plain.logp_BT.grad * batch["importance_BT"])[mask])
    assert not tokens.logp_BT.grad[~mask].any()
    torch.testing.assert_close(output.metrics["policy_loss"], output.loss.detach())


@pytest.mark.parametrize(
    ("name", "change", "weighted"),
    [
        ("sdar", {}, False),
        ("sdar", {"ratio_cap": 2.0}, True),
        ("skill_sd", {}, True),
        ("allfail_ce", {}, False),
    ],
)
def test_distillation_is_weighted_where_it_has_an_importance_ratio(
    name: str, change: dict[str, float], weighted: bool, make_batch, to_tokens
):
    objective = get_method(name).with_overrides({"distill": {"coeff": 1.0, **change}}).objective
    objective = replace(objective, kl_coeff=0.3, entropy_coeff=0.2)
    batch = make_batch()
    # Without advantages there is no policy gradient.
    batch["advantage_BT"].zero_()
    plain = compute_loss(objective, to_tokens(batch))
    batch["importance_BT"] = torch.full_like(batch["logp_BT"], 1.7)
    output = compute_loss(objective, to_tokens(batch))
    factor = 1.7 if weighted else 1.0
    torch.testing.assert_close(output.metrics["distill_loss"], factor * plain.metrics["distill_loss"])
    assert plain.metrics["distill_loss"].abs() > 1e-3
    for term in ("kl", "entropy"):
        assert torch.equal(output.metrics[term], plain.metrics[term])

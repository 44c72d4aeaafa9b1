"""Sharding and micro-batching change nothing: results of parts add up to the result of the whole."""

from __future__ import annotations

import pytest
import torch

from sdar_gym.algorithms.losses.aggregation import sequence_mean_weights, token_mean_weights
from sdar_gym.algorithms.losses.total import compute_loss
from sdar_gym.algorithms.methods import METHODS, get_method
from sdar_gym.algorithms.objectives.objective import Objective

SPLITS = [
    [[0, 1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11]],
    [[row] for row in range(12)],
    [[11, 0, 5], [1, 2, 3, 4, 6, 7, 8, 9, 10]],
]
CLOSE = {"rtol": 1e-13, "atol": 1e-15}


def add_up(objective: Objective, batch, split, to_tokens) -> None:
    def gradients(tokens) -> list[torch.Tensor]:
        leaves = (tokens.logp_BT, tokens.entropy_BT, tokens.divergence_BT)
        return [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]

    tokens = to_tokens(batch)
    whole = compute_loss(objective, tokens)
    whole.loss.backward()
    assert whole.metrics["weight"].item() == pytest.approx(1.0)
    parts = []
    for rows in split:
        part = to_tokens(batch, rows)
        parts.append(compute_loss(objective, part))
        parts[-1].loss.backward()
        for mine, all_of_it in zip(gradients(part), gradients(tokens), strict=True):
            torch.testing.assert_close(mine, all_of_it[rows], **CLOSE)
    torch.testing.assert_close(sum(part.loss for part in parts), whole.loss, **CLOSE)
    for name, value in whole.metrics.items():
        torch.testing.assert_close(sum(part.metrics[name] for part in parts), value, **CLOSE)
    for name, value in whole.maxima.items():
        assert max(part.maxima[name] for part in parts) == value
    for name, value in whole.minima.items():
        assert min(part.minima[name] for part in parts) == value


@pytest.mark.parametrize("split", SPLITS, ids=len)
@pytest.mark.parametrize("weights", ["tokens", "sequences"])
def test_any_split_gives_the_same_loss_gradient_and_metrics(split, weights: str, make_batch, to_tokens):
    batch = make_batch()
    if weights == "sequences":
        batch["weight_BT"] = sequence_mean_weights(batch["response_mask_BT"], 12, dtype=torch.float64)
    add_up(get_method("sdar").objective, batch, split, to_tokens)


@pytest.mark.parametrize("name", METHODS)
def test_no_method_notices_a_split(name: str, make_batch, to_tokens):
    # What looks at the whole update, shaping and future credit, is in the advantages before rows are cut apart.
    batch = make_batch()
    batch["distill_mask_BT"] = torch.rand(12, 7, generator=torch.Generator().manual_seed(1)) < 0.6
    add_up(get_method(name).objective, batch, SPLITS[2], to_tokens)


@pytest.mark.parametrize("name", ["grpo", "sdar", "skill_sd"])
def test_no_importance_correction_notices_a_split(name: str, make_batch, to_tokens):
    batch = make_batch()
    rng = torch.Generator().manual_seed(2)
    batch["importance_BT"] = 2 * torch.rand(12, 7, generator=rng, dtype=torch.float64)
    # A token and a whole turn that a mask leaves out, and the mean over the others.
    batch["importance_BT"][0, 0], batch["importance_BT"][5] = 0.0, 0.0
    kept = batch["response_mask_BT"] & (batch["importance_BT"] != 0)
    assert 0 < int(kept.sum()) < int(batch["response_mask_BT"].sum())
    batch["weight_BT"] = token_mean_weights(kept, int(kept.sum()), dtype=torch.float64)
    add_up(get_method(name).objective, batch, SPLITS[1], to_tokens)


def test_weights_from_local_counts_do_change_the_loss(make_batch, to_tokens):
    batch, objective = make_batch(), get_method("sdar").objective
    whole = compute_loss(objective, to_tokens(batch)).loss
    halves = []
    for rows in (slice(0, 6), slice(6, 12)):
        mask = batch["response_mask_BT"][rows]
        local = batch | {"weight_BT": batch["weight_BT"].clone()}
        local["weight_BT"][rows] = token_mean_weights(mask, int(mask.sum()), dtype=torch.float64)
        halves.append(compute_loss(objective, to_tokens(local, rows)).loss)
    assert abs(sum(halves) / 2 - whole) > 1e-6

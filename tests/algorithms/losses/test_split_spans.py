"""Sequences with several response spans have the loss and the gradient of the same turns with one row each."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sdar_gym.algorithms.losses.total import TokenBatch, compute_loss, split_spans
from sdar_gym.algorithms.methods import METHODS
from sdar_gym.algorithms.objectives.distillation import Distillation
from sdar_gym.algorithms.objectives.gates import Gate
from sdar_gym.algorithms.objectives.objective import Objective

Batch = dict[str, torch.Tensor]
LEAVES = ("logp_BT", "entropy_BT", "divergence_BT")
# Which of twelve turns each sequence holds, in order; the third one has a single response.
SEQUENCES = [[0, 1, 2, 3], [4, 5], [6], [7, 8, 9, 10, 11]]
GATES = sorted(Gate.registry)
CLOSE = {"rtol": 1e-12, "atol": 1e-15}


def packed(batch: Batch) -> tuple[Batch, torch.Tensor]:
    """The turns of each sequence behind each other, then a row of padding; and the number of each token's span."""
    mask = batch["response_mask_BT"]
    width = max(int(mask[turns].sum()) for turns in SEQUENCES) + 1
    shape = (len(SEQUENCES) + 1, width)
    rows = {
        name: value.new_full(shape, torch.nan) if value.is_floating_point() else value.new_zeros(shape)
        for name, value in batch.items()
    }
    rows["weight_BT"] = torch.zeros(shape, dtype=torch.float64)
    span_BT = torch.zeros(shape, dtype=torch.int64)
    for row, turns in enumerate(SEQUENCES):
        start = 0
        for number, turn in enumerate(turns):
            stop = start + int(mask[turn].sum())
            for name, value in batch.items():
                rows[name][row, start:stop] = value[turn][mask[turn]]
            span_BT[row, start:stop] = number
            start = stop
    return rows, span_BT


def by_token(value_BT: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The values of the response tokens; turns are packed in order, so that both layouts list them alike."""
    return value_BT[batch["response_mask_BT"]]


def compare(objective: Objective, batch: Batch, to_tokens) -> None:
    turns = to_tokens(batch)
    expected = compute_loss(objective, turns)
    expected.loss.backward()
    together, span_BT = packed(batch)
    sequences = to_tokens(together)
    found = compute_loss(objective, split_spans(sequences, span_BT))
    found.loss.backward()
    torch.testing.assert_close(found.loss, expected.loss, **CLOSE)
    assert set(found.metrics) == set(expected.metrics)
    for name, value in expected.metrics.items():
        torch.testing.assert_close(found.metrics[name], value, **CLOSE)
    assert found.maxima == expected.maxima
    for name in LEAVES:
        one, other = getattr(turns, name).grad, getattr(sequences, name).grad
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(by_token(other, together), by_token(one, batch), **CLOSE)
            assert not other[~together["response_mask_BT"]].any()


def gated(name: str, **changes: object) -> Objective:
    distill = Distillation(**({"coeff": 0.3, "gate": name} | changes))  # type: ignore[arg-type]
    return replace(METHODS["sdar"].objective, distill=distill)


@pytest.mark.parametrize("name", GATES)
def test_every_gate_weights_the_tokens_of_a_turn_and_not_of_a_sequence(name: str, make_batch, to_tokens):
    assert {"influence", "persistent", "sigmoid"} <= set(GATES)
    batch = make_batch(tokens=11)
    # Some turns have both signs, and some tokens are not distilled.
    batch["advantage_BT"] *= torch.where(torch.arange(11) % 3 == 0, -1.0, 1.0)
    compare(gated(name), batch, to_tokens)
    batch["distill_mask_BT"] = torch.rand(12, 11, generator=torch.Generator().manual_seed(1)) < 0.8
    compare(gated(name, ratio_cap=2.0), batch, to_tokens)


@pytest.mark.parametrize("name", METHODS)
def test_no_method_notices_how_turns_are_packed(name: str, make_batch, to_tokens):
    compare(METHODS[name].objective, make_batch(), to_tokens)


@pytest.mark.parametrize("name", ["influence", "persistent"])
def test_a_gate_that_compares_tokens_would_notice_unsplit_sequences(name: str, make_batch):
    # The reason for the split: over a whole sequence these two gates give other weights.
    rows, span_BT = packed(make_batch(tokens=11))
    tokens = TokenBatch(**rows)
    split = compute_loss(gated(name), split_spans(tokens, span_BT)).metrics["distill_loss"]
    whole = compute_loss(gated(name), tokens).metrics["distill_loss"]
    assert abs(split - whole) > 1e-3


def test_rows_with_one_span_are_left_as_they_are(make_batch, to_tokens):
    tokens = to_tokens(make_batch())
    assert split_spans(tokens, torch.zeros(12, 7, dtype=torch.int64)) is tokens


def test_optional_inputs_that_are_missing_stay_missing(make_batch):
    rows, span_BT = packed(make_batch())
    needed = ("logp_BT", "old_logp_BT", "advantage_BT", "response_mask_BT", "weight_BT")
    split = split_spans(TokenBatch(**{name: rows[name] for name in needed}), span_BT)
    assert split.logp_BT.shape == (12, 7)  # twelve turns; padding rows are dropped
    assert (split.teacher_logp_BT, split.divergence_BT, split.entropy_BT) == (None, None, None)

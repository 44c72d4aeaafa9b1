"""Supervised fine-tuning: the loss of response tokens alone, the order of the steps, the learning rate."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from warm_configs import ALFWORLD, ENVIRONMENTS, warm_config  # pyright: ignore[reportMissingImports]

from sdar_gym.configs.schema import RunConfig
from sdar_gym.policy.load import load_model
from sdar_gym.policy.sizing import TrainingSizes
from sdar_gym.rollout.trajectory import ResponseSpan, TokenSequence
from sdar_gym.warmstart.demonstrations import demonstrate, sequences_of
from sdar_gym.warmstart.supervised import (
    SupervisedTrainer,
    planned_steps,
    rate_factor,
    response_nll,
    response_tokens,
)

CPU = torch.device("cpu")
SEQUENCES = [
    TokenSequence(list(range(5, 45)), [ResponseSpan(0, 7, 12), ResponseSpan(1, 20, 21), ResponseSpan(2, 30, 38)]),
    TokenSequence(list(range(90, 60, -1)), [ResponseSpan(0, 25, 30)]),
]


def trainer_of(run: RunConfig, sequences: list[TokenSequence], tokenizer: Any, budget: int = 4000) -> SupervisedTrainer:
    return SupervisedTrainer(run, sequences, TrainingSizes(budget, False, ""), CPU, tokenizer.pad_token_id)


def gradient_of(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def by_hand(model: Any, sequences: list[TokenSequence]) -> torch.Tensor:
    """The loss from the logits of each sequence alone, one token after the other."""
    total = torch.zeros(())
    for sequence in sequences:
        logits = model(input_ids=torch.tensor([sequence.ids])).logits[0]
        for span in sequence.spans:
            for place in range(span.start, span.stop):
                total = total - logits[place - 1].log_softmax(-1)[sequence.ids[place]]
    return total


def test_the_loss_and_its_gradient_are_those_of_the_response_tokens_alone(policy_folder: Path, tokenizer: Any) -> None:
    model: Any = load_model(str(policy_folder), "float64")
    loss = response_nll(model, SEQUENCES, tokenizer.pad_token_id)
    assert response_tokens(SEQUENCES) == 5 + 1 + 8 + 5
    expected = by_hand(model, SEQUENCES)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-12)
    ours, theirs = gradient_of(model, loss), gradient_of(model, expected)
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-8, atol=1e-10)
    # With every token in the loss it is another one.
    whole = [TokenSequence(one.ids, [ResponseSpan(0, 1, len(one.ids))]) for one in SEQUENCES]
    assert float(by_hand(model, whole).detach()) > 2 * float(expected.detach())


def test_micro_batches_change_nothing(policy_folder: Path, tokenizer: Any) -> None:
    run = warm_config(policy_folder, ALFWORLD, "policy.dtype=float64", "warmstart.batch_tokens=100000")
    sequences = sequences_of(demonstrate(run, tokenizer).train)
    results, weights = [], []
    for budget in (100_000, 700):
        trainer = trainer_of(run, sequences, tokenizer, budget)
        results.append(trainer.step())
        weights.append(trainer.weights())
    assert results[0].loss == pytest.approx(results[1].loss, rel=1e-12)
    assert results[0].grad_norm == pytest.approx(results[1].grad_norm, rel=1e-9)
    # The first step of AdamW divides by the gradient's size, so tiny differences of tiny gradients show.
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-4, atol=1e-5)
    before = load_model(str(policy_folder), "float64").state_dict()
    assert any(not torch.equal(before[name.removeprefix("model.")], tensor) for name, tensor in weights[0].items())


@pytest.mark.parametrize(("env_id", "lora"), [*((env_id, False) for env_id in ENVIRONMENTS), (ALFWORLD, True)])
def test_the_loss_falls_and_the_held_out_loss_too(policy_folder: Path, tokenizer: Any, env_id: str, lora: bool) -> None:
    changes = ["warmstart.episodes=4", "warmstart.batch_tokens=3000", "warmstart.epochs=2"]
    if lora:
        changes += ["policy.lora.r=8", "warmstart.lr=5e-2"]
    run = warm_config(policy_folder, env_id, *changes)
    shown = demonstrate(run, tokenizer)
    held_out = sequences_of(shown.held_out)
    trainer = trainer_of(run, sequences_of(shown.train), tokenizer)
    before = trainer.loss_of(held_out)
    losses = [trainer.step().loss for _ in range(trainer.steps)]
    assert losses[0] == pytest.approx(before, rel=0.1)
    assert losses[-1] < 0.95 * losses[0]
    assert trainer.loss_of(held_out) < 0.95 * before
    names = trainer.weights().keys()
    assert all("lora_" in name for name in names) if lora else not any("lora_" in name for name in names)


def test_every_row_is_trained_once_an_epoch_in_a_new_order_and_steps_are_alike() -> None:
    lengths = [50 + 37 * number % 400 for number in range(60)]
    plan = planned_steps(lengths, epochs=3, step_tokens=2_000, seed=4)
    epochs = [plan[start : start + len(plan) // 3] for start in range(0, len(plan), len(plan) // 3)]
    assert len(epochs) == 3
    for epoch in epochs:
        assert sorted(row for step in epoch for row in step) == list(range(60))
        sizes = [sum(lengths[row] for row in step) for step in epoch]
        assert max(sizes) - min(sizes) <= 2 * max(lengths)
        assert sum(sizes) / len(sizes) == pytest.approx(2_000, rel=0.15)
    assert epochs[0] != epochs[1]
    assert plan == planned_steps(lengths, epochs=3, step_tokens=2_000, seed=4)
    assert plan != planned_steps(lengths, epochs=3, step_tokens=2_000, seed=5)
    assert planned_steps([10, 9_000, 10], epochs=1, step_tokens=100, seed=0).__len__() <= 3


def test_the_learning_rate_rises_and_falls_to_a_tenth() -> None:
    rates = [rate_factor(step, 100, 10) for step in range(100)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 2)) / 2)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0.1 < rates[-1] < 0.101
    assert [rate_factor(step, 4, 0, cosine=False) for step in range(4)] == [1.0] * 4

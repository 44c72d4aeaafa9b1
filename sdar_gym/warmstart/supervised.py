"""Supervised fine-tuning: the loss of response tokens, learning rates, and an optimizer loop that can be resumed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from sdar_gym.configs.schema import RunConfig
from sdar_gym.freed_memory import return_freed_memory
from sdar_gym.policy.batching import budget_batches, right_padded
from sdar_gym.policy.load import load_weights
from sdar_gym.policy.logprobs import score_responses
from sdar_gym.policy.non_finite import NonFiniteError
from sdar_gym.policy.policy_model import load_policy_model, on_cpu, recompute_activations
from sdar_gym.policy.sizing import TrainingSizes, set_threads
from sdar_gym.rollout.trajectory import TokenSequence

# The learning rate that a cosine schedule ends with, as a share of the peak.
_LAST_RATE = 0.1


def response_nll(model: PreTrainedModel, sequences: Sequence[TokenSequence], pad_id: int) -> torch.Tensor:
    """Negative log-likelihood of the response tokens, summed, in nats; all other tokens are context.

    Args:
        model: The causal language model.
        sequences: What it reads in one pass.
        pad_id: Padding token.
    """
    spans = [np.concatenate([np.arange(span.start, span.stop) for span in sequence.spans]) for sequence in sequences]
    position = np.ones((len(sequences), max(map(len, spans))), dtype=np.int64)
    mask = np.zeros(position.shape, dtype=bool)
    for row, places in enumerate(spans):
        position[row, : len(places)] = places
        mask[row, : len(places)] = True
    scores = score_responses(
        model,
        torch.from_numpy(right_padded([sequence.ids for sequence in sequences], pad_id)).to(model.device),
        torch.from_numpy(position).to(model.device),
        torch.from_numpy(mask).to(model.device),
        entropy=False,
    )
    return -scores.logp_BT.sum()


def response_tokens(sequences: Sequence[TokenSequence]) -> int:
    """Number of response tokens."""
    return sum(span.stop - span.start for sequence in sequences for span in sequence.spans)


def rate_factor(step: int, steps: int, warmup: int, *, cosine: bool = True) -> float:
    """Share of the peak learning rate.

    Args:
        step: Number of the step, from 0.
        steps: Steps in all.
        warmup: Steps over which the rate rises linearly.
        cosine: Whether it then falls along a cosine to a tenth; else it stays.
    """
    if step < warmup:
        return (step + 1) / warmup
    if not cosine:
        return 1.0
    share = (step - warmup) / max(1, steps - warmup)
    return _LAST_RATE + (1 - _LAST_RATE) / 2 * (1 + math.cos(math.pi * share))


def planned_steps(lengths: Sequence[int], epochs: int, step_tokens: int, seed: int) -> list[list[int]]:
    """The rows of every optimizer step: each epoch has a new random order, cut into steps of about equal tokens.

    Args:
        lengths: Tokens of every row.
        epochs: Passes over the rows.
        step_tokens: Tokens of a step, on average.
        seed: Seed of the orders.
    """
    total = sum(lengths)
    count = min(len(lengths), max(1, round(total / step_tokens)))
    plan: list[list[int]] = []
    for epoch in range(epochs):
        order = list(range(len(lengths)))
        Random(f"sdar-gym warm start {seed} {epoch}").shuffle(order)
        steps: list[list[int]] = [[] for _ in range(count)]
        before = 0
        for row in order:
            # By the middle of the row, so that no step is favored.
            steps[min(count - 1, int((before + lengths[row] / 2) / total * count))].append(row)
            before += lengths[row]
        plan += [step for step in steps if step]
    return plan


@dataclass(frozen=True, slots=True)
class StepResult:
    """Figures of one optimizer step.

    Attributes:
        loss: Mean negative log-likelihood of the response tokens, before the step, in nats.
        lr: Learning rate.
        grad_norm: Norm of the gradient, before clipping.
        tokens: Tokens read, without padding.
        response_tokens: Tokens in the loss.
    """

    loss: float
    lr: float
    grad_norm: float
    tokens: int
    response_tokens: int


class SupervisedTrainer:
    """Trains a policy, whole or by adapters, on response tokens.

    A step depends on the weights, the optimizer's state and the step's number alone, so that a resumed training is the
    same as one without an interruption.

    Args:
        run: The configuration.
        sequences: What is trained on.
        sizes: Tokens of a forward and backward pass, and whether activations are recomputed.
        device: Where it is trained.
        pad_id: Padding token.

    Attributes:
        steps: Number of optimizer steps in all.
        done: Number of steps done.
    """

    def __init__(
        self,
        run: RunConfig,
        sequences: Sequence[TokenSequence],
        sizes: TrainingSizes,
        device: torch.device,
        pad_id: int,
    ):
        settings = run.warmstart
        self._run, self._sequences, self._pad = run, sequences, pad_id
        self._budget = sizes.micro_batch_tokens
        model, self._adapters, self._compute_dtype = load_policy_model(
            run.policy.model, run.policy.dtype, run.policy.lora, trained=True
        )
        self._model = model.to(device)  # pyright: ignore[reportArgumentType]
        set_threads(run.policy.torch_threads, self._model, 1)
        if sizes.gradient_checkpointing:
            recompute_activations(self._model)
        self._trained = [parameter for parameter in self._model.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._trained, betas=run.training.adam_betas, weight_decay=run.training.weight_decay
        )
        lengths = [len(sequence.ids) for sequence in sequences]
        self._plan = planned_steps(lengths, settings.epochs, settings.batch_tokens, run.seed)
        self._warmup = round(settings.lr_warmup_share * len(self._plan))
        self.steps, self.done = len(self._plan), 0

    def step(self) -> StepResult:
        """One optimizer step.

        Raises:
            NonFiniteError: The loss or the gradient is not finite; no step was taken.
        """
        rows = [self._sequences[row] for row in self._plan[self.done]]
        settings = self._run.warmstart
        cosine = settings.lr_schedule == "cosine"
        lr = settings.rate(self._run.policy.lora) * rate_factor(self.done, self.steps, self._warmup, cosine=cosine)
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        counted = response_tokens(rows)
        total = 0.0
        self._model.train()
        self._optimizer.zero_grad()
        # Dropout draws from the step's number, so that a resumed training draws the same.
        with torch.random.fork_rng():
            torch.manual_seed(Random(f"sdar-gym dropout {self._run.seed} {self.done}").getrandbits(63))
            for batch in self._batches(rows):
                with self._numerics():
                    loss = response_nll(self._model, batch, self._pad) / counted
                loss.backward()
                total += float(loss.detach())
        norm = float(torch.nn.utils.clip_grad_norm_(self._trained, self._run.training.grad_clip))
        if not math.isfinite(total) or not math.isfinite(norm):
            raise NonFiniteError(
                f"Step {self.done + 1} broke off: the loss is {total:g} and the norm of the gradient is {norm:g}. Try "
                "a smaller warmstart.lr, or policy.dtype=float32."
            )
        self._optimizer.step()
        self.done += 1
        return_freed_memory()
        return StepResult(total, lr, norm, sum(len(row.ids) for row in rows), counted)

    @torch.no_grad()
    def loss_of(self, sequences: Sequence[TokenSequence]) -> float:
        """Mean negative log-likelihood of the response tokens, in nats.

        Args:
            sequences: At least one.
        """
        self._model.eval()
        total = 0.0
        for batch in self._batches(sequences):
            with self._numerics():
                total += float(response_nll(self._model, batch, self._pad))
        return total / response_tokens(sequences)

    def weights(self) -> dict[str, torch.Tensor]:
        """The trained weights, on the CPU: the model, or its adapters; `merged_policy` exports them."""
        state = self._model.state_dict()
        names = sorted(state) if self._adapters is None else sorted(self._adapters.names())
        return on_cpu({f"model.{name}": state[name] for name in names}, None)

    def optimizer_state(self) -> dict[str, Any]:
        """Moments of AdamW."""
        return self._optimizer.state_dict()

    def restore(self, done: int, weights: Mapping[str, torch.Tensor], optimizer: dict[str, Any]) -> None:
        """Continues after a step.

        Args:
            done: Number of steps done.
            weights: Result of `weights`.
            optimizer: Result of `optimizer_state`.

        Raises:
            ValueError: They belong to another model.
        """
        load_weights(self._model, {name.removeprefix("model."): tensor for name, tensor in weights.items()})
        self._optimizer.load_state_dict(optimizer)
        self.done = done

    def _numerics(self) -> AbstractContextManager[Any]:
        if self._compute_dtype is None:
            return nullcontext()
        return torch.autocast(self._model.device.type, dtype=self._compute_dtype)

    def _batches(self, sequences: Sequence[TokenSequence]) -> list[list[TokenSequence]]:
        """Sequences of similar length, as many as fit one pass."""
        widths = [len(sequence.ids) for sequence in sequences]
        batches = budget_batches(range(len(sequences)), widths, self._budget)
        return [[sequences[row] for row in rows.tolist()] for rows, _ in batches]

"""Warm start: supervised training of a tiny policy, which then plays well with a privileged text and poorly without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from sdar_gym.policy.load import pad_id
from sdar_gym.policy.saving import save_model
from sdar_gym.policy.tiny_model import TinyShape, build_tiny
from sdar_gym.policy.tiny_tokenizer import TokenStyle, train_tokenizer
from sdar_gym.rollout.trajectory import ResponseSpan, TokenSequence
from sdar_gym.warmstart.supervised import rate_factor, response_nll, response_tokens
from sdar_gym.warmstart.tiny_demonstrations import Demonstration, DemonstrationMix

# Rows are sorted by length within this many batches, to reduce padding.
_BUCKET = 16


class Mixture(Protocol):
    """Demonstrations for one environment."""

    STYLE: ClassVar[TokenStyle]
    """How texts are cut into tokens."""

    def stream(self, seed: int) -> Iterator[Demonstration]:
        """Endless stream of demonstrations; `seed` decides all draws."""
        ...

    def to_json(self) -> dict[str, Any]:
        """The mixture as JSON."""
        ...


@dataclass(frozen=True, slots=True)
class Recipe:
    """Hyperparameters of the warm start; the defaults made the checkpoint for ALFWorld.

    Attributes:
        steps: Optimizer steps.
        tokens_per_step: Tokens per batch, with padding.
        learning_rate: Peak learning rate, after a short warm-up and before a cosine decay to a tenth.
        vocab_size: Largest number of tokens of the tokenizer.
        tokenizer_rows: Demonstrations for training the tokenizer.
        seed: Seed of the demonstrations and the initial weights.
        shape: Sizes of the model.
        mix: The demonstrations.
    """

    steps: int = 3600
    tokens_per_step: int = 6_000
    learning_rate: float = 1.2e-2
    vocab_size: int = 1024
    tokenizer_rows: int = 6_000
    seed: int = 0
    shape: TinyShape = field(default_factory=TinyShape)
    mix: Mixture = field(default_factory=DemonstrationMix)

    def to_json(self) -> dict[str, Any]:
        """The recipe as JSON, saved beside a checkpoint."""
        return {
            **{f.name: getattr(self, f.name) for f in fields(self)},
            "shape": asdict(self.shape),
            "mix": self.mix.to_json(),
        }


def warm_start(
    recipe: Recipe, report: Callable[[int, float], None] = lambda step, loss: None
) -> tuple[Qwen3ForCausalLM, PreTrainedTokenizerFast]:
    """Train a tokenizer and a policy.

    Args:
        recipe: The hyperparameters.
        report: Called after every step with its number and its loss (nats per response token).

    Returns:
        The policy, in evaluation mode, and its tokenizer.
    """
    sample = islice(recipe.mix.stream(recipe.seed), recipe.tokenizer_rows)
    texts = (f"{row.prompt}\n{row.response}" for row in sample)
    tokenizer = train_tokenizer(texts, recipe.vocab_size, recipe.mix.STYLE)
    model = build_tiny(tokenizer, recipe.shape, recipe.seed)
    # After 400 steps the loss was .11 nats per response token with Muon (rate 8e-3), .20 with AdamW (3e-3). Muon is for
    # matrices, so embeddings and norms use AdamW; the adjusted rate lets both share one schedule.
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.dim() != 2 or "embed" in name]
    optimizers = [
        torch.optim.Muon(matrices, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    batches = _batches(tokenizer, recipe)
    warmup = max(1, min(100, recipe.steps // 10))
    model.train()
    for step in range(recipe.steps):
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * rate_factor(step, recipe.steps, warmup)
            optimizer.zero_grad()
        rows = next(batches)
        loss = response_nll(model, rows, pad_id(tokenizer)) / response_tokens(rows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        report(step, float(loss.detach()))
    return model.eval(), tokenizer


def save_policy(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Save atomically in the `transformers` format.

    Raises:
        NonFiniteError: Some weights are not finite.
    """
    save_model(model, tokenizer, folder)


def _batches(tokenizer: Any, recipe: Recipe) -> Iterator[list[TokenSequence]]:
    rows = recipe.mix.stream(recipe.seed + 1)
    order = torch.Generator().manual_seed(recipe.seed)
    while True:
        encoded = sorted((_encode(tokenizer, row) for row in islice(rows, 128 * _BUCKET)), key=lambda row: len(row.ids))
        ready = []
        while encoded:
            size = max(1, recipe.tokens_per_step // len(encoded[-1].ids))
            ready.append(encoded[-size:])
            del encoded[-size:]
        for index in torch.randperm(len(ready), generator=order).tolist():
            yield ready[index]


def _encode(tokenizer: Any, row: Demonstration) -> TokenSequence:
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": row.prompt}], tokenize=False, add_generation_prompt=True
    )
    prompt = tokenizer.encode(text, add_special_tokens=False)
    ids = prompt + tokenizer.encode(row.response, add_special_tokens=False) + [tokenizer.eos_token_id]
    return TokenSequence(ids, [ResponseSpan(0, 1 if row.whole else len(prompt), len(ids))])

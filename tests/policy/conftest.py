"""Tiny random models and a batch to score, as fixtures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

Rows = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@pytest.fixture
def make_model() -> Callable[..., Any]:
    """Builds a Qwen of two layers; the same seed gives the same weights."""

    def make(
        kind: str = "qwen3", *, tied: bool = True, dtype: torch.dtype = torch.float32, seed: int = 0, layers: int = 2
    ) -> Any:
        sizes: dict[str, Any] = {
            "vocab_size": 30,
            "hidden_size": 24,
            "num_hidden_layers": layers,
            "intermediate_size": 32,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "tie_word_embeddings": tied,
            "bos_token_id": None,
            "eos_token_id": 1,
            "pad_token_id": 0,
        }
        torch.manual_seed(seed)
        if kind == "qwen3":
            model: Any = Qwen3ForCausalLM(Qwen3Config(**sizes, head_dim=6))
        else:
            model = Qwen2ForCausalLM(Qwen2Config(**sizes))
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.3)
        return model.to(dtype).eval()

    return make


@pytest.fixture
def rows() -> Rows:
    """Right-padded ids, positions of the answers' tokens, and the mask of the answers."""
    ids = torch.randint(2, 30, (3, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1], [1, 0, 0, 0]], dtype=torch.bool)
    position = torch.tensor([5, 3, 6])[:, None] + torch.arange(4)
    return ids, torch.where(mask, position, 1), mask


@pytest.fixture
def gradient_step(rows: Rows) -> Callable[[Any, torch.optim.Optimizer], None]:
    """One optimizer step that makes the answers likelier."""
    from sdar_gym.policy.logprobs import score_responses

    def step(model: Any, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        (-score_responses(model, *rows).logp_BT.sum()).backward()
        optimizer.step()

    return step

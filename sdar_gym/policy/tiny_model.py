"""The tiny policy: a Qwen3-architecture transformer of a few hundred thousand parameters, from scratch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM


@dataclass(frozen=True, slots=True)
class TinyShape:
    """Size of a tiny policy; field names follow `transformers`."""

    hidden_size: int = 64
    num_hidden_layers: int = 3
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 32
    intermediate_size: int = 128
    max_position_embeddings: int = 4096
    # The usual 0.02 suits widths of thousands; with it the warm start was at .42 nats after 400 steps, with 0.1 at .18.
    initializer_range: float = 0.1


def build_tiny(tokenizer: PreTrainedTokenizerFast, shape: TinyShape, seed: int) -> Qwen3ForCausalLM:
    """A freshly initialised tiny policy for this tokenizer."""
    special: dict[str, Any] = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_hidden_layers,
        num_attention_heads=shape.num_attention_heads,
        num_key_value_heads=shape.num_key_value_heads,
        head_dim=shape.head_dim,
        intermediate_size=shape.intermediate_size,
        max_position_embeddings=shape.max_position_embeddings,
        initializer_range=shape.initializer_range,
        # Long-context bases blur neighbouring positions, which are all a prompt of a hundred tokens has.
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=True,
        bos_token_id=None,
        **special,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Qwen3ForCausalLM(config)

"""Qwen2 models with random weights, by size, for benchmarks: weights change what is sampled, not what it costs."""

from __future__ import annotations

from typing import Any, NamedTuple


class Shape(NamedTuple):
    """Sizes of a Qwen2 model, as in its config.json."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    tied: bool = True


SHAPES = {
    # Of this project: of the architecture of Qwen2.5, at a size for a laptop.
    "6m": Shape(256, 704, 6, 4, 2, 4096),
    "small": Shape(256, 1024, 4, 4, 2, 16_384),
    # 10, 49 and 147 million weights, for memory.
    "10m": Shape(320, 864, 7, 5, 1, 8192),
    "50m": Shape(640, 1728, 9, 10, 2, 16_384),
    "150m": Shape(1024, 2752, 11, 16, 4, 24_576),
    # Source: config.json of Qwen2.5-{0.5B,1.5B,3B,7B}-Instruct.
    "qwen2.5-0.5b": Shape(896, 4864, 24, 14, 2, 151_936),
    "qwen2.5-1.5b": Shape(1536, 8960, 28, 12, 2, 151_936),
    "qwen2.5-3b": Shape(2048, 11_008, 36, 16, 2, 151_936),
    "qwen2.5-7b": Shape(3584, 18_944, 28, 28, 4, 152_064, tied=False),
}


def random_model(shape: Shape, positions: int, device: str = "cpu") -> Any:
    """A `Qwen2ForCausalLM` in single precision, the same one every time.

    Args:
        shape: Its sizes.
        positions: Its context length, in tokens.
        device: Where its weights are made.
    """
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        tie_word_embeddings=shape.tied,
        max_position_embeddings=positions,
    )
    with torch.device(device):
        return Qwen2ForCausalLM(config)

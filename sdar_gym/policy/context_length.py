"""Context length of a model, read from its configuration, with scaled rotary position embeddings (RoPE)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from transformers import PreTrainedConfig

# Names of the context length in configurations.
_LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "seq_length", "n_ctx")
# RoPE types with a fixed scale; the configuration may give the length before scaling.
_SCALED = ("linear", "yarn")
# RoPE types with a scale that follows the longest row of a batch.
_BY_LENGTH = ("dynamic", "longrope", "su")


def context_length(config: PreTrainedConfig) -> int | None:
    """Context length in tokens, prompt and response together; None if the configuration has no limit.

    A fixed RoPE scale extends the length. If the scale follows the longest row of a batch (`dynamic`, `longrope`), the
    original length is the limit: beyond it, a token's logits would depend on the other rows. A tokenizer's
    `model_max_length` is unreliable and not used.
    """
    text = config.get_text_config()
    limit = _number(text, _LENGTHS)
    if limit is None:
        return None
    for rope in rope_settings(text):
        kind, original = _kind(rope), rope.get("original_max_position_embeddings")
        if kind in _BY_LENGTH:
            limit = min(limit, int(original or limit))
        elif kind in _SCALED:
            limit = max(limit, int(float(rope.get("factor") or 1) * int(original or limit)))
    return limit


def scales_by_length(config: PreTrainedConfig) -> str | None:
    """The RoPE type if its scale follows the longest row of a batch, else None."""
    return next((_kind(rope) for rope in rope_settings(config.get_text_config()) if _kind(rope) in _BY_LENGTH), None)


def rope_settings(config: PreTrainedConfig) -> Iterator[Mapping[str, Any]]:
    """RoPE settings of every type of layer."""
    settings = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    if any(isinstance(value, Mapping) for value in settings.values()):
        yield from (value for value in settings.values() if isinstance(value, Mapping))
    else:
        yield settings


def _kind(rope: Mapping[str, Any]) -> str:
    return str(rope.get("rope_type", rope.get("type", "default")))


def _number(config: PreTrainedConfig, names: tuple[str, ...]) -> int | None:
    for name in names:
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return None

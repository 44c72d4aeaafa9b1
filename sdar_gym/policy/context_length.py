"""What a model's configuration says before any weights are read: its layers, and how much it reads at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from transformers import PreTrainedConfig

# Names of the longest sequence where a configuration does not map its own to the usual one.
_LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "seq_length", "n_ctx")
# Kinds of scaled rotary positions whose configuration states the length before scaling.
_SCALED = ("linear", "yarn")
_BY_LENGTH = ("dynamic", "longrope", "su")


def context_length(config: PreTrainedConfig) -> int | None:
    """Tokens that a model reads at once, prompt and response together; None where its configuration has no limit.

    Scaled rotary positions count where the scale is fixed. Where it follows the longest row of a batch (`dynamic`,
    `longrope`), a token's logits beyond the original length would depend on the other rows, so that the original length
    is the limit. A tokenizer's `model_max_length` is no evidence and is not asked.
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
    """The kind of rotary positions if they follow the longest row of a batch, else None."""
    return next((_kind(rope) for rope in rope_settings(config.get_text_config()) if _kind(rope) in _BY_LENGTH), None)


def rope_settings(config: PreTrainedConfig) -> Iterator[Mapping[str, Any]]:
    """The settings of rotary positions, of all kinds of layers."""
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

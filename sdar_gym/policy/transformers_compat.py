"""What differs between the versions of `transformers` that the gym runs on."""

from __future__ import annotations

from functools import cache
from inspect import signature
from typing import Any

from torch import nn


def cache_argument(model: nn.Module, past: Any) -> dict[str, Any]:
    """The key-value cache as a keyword of the model's `forward`.

    `transformers` calls it `cache` since 5.24 and drops `past_key_values` in 5.40; vLLM 0.32 admits 5.19 at the most.

    Args:
        model: The model, or its body.
        past: The cache.
    """
    return {_cache_name(type(model)): past}


@cache
def _cache_name(kind: type[nn.Module]) -> str:
    return "cache" if "cache" in signature(kind.forward).parameters else "past_key_values"

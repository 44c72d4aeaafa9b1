"""Compatibility with several versions of `transformers`."""

from __future__ import annotations

from functools import cache
from inspect import signature
from typing import Any

from torch import nn


def cache_argument(model: nn.Module, past: Any) -> dict[str, Any]:
    """The key-value cache as a keyword argument of the model's `forward`.

    `transformers` renamed it from `past_key_values` to `cache` in 5.24 and drops the old name in 5.40; vLLM 0.32
    supports 5.19 at most.

    Args:
        model: The model, or its body.
        past: The key-value cache.
    """
    return {_cache_name(type(model)): past}


@cache
def _cache_name(kind: type[nn.Module]) -> str:
    return "cache" if "cache" in signature(kind.forward).parameters else "past_key_values"

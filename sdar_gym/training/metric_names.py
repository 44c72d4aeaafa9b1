"""Metric names: the numbers of a line of `metrics.jsonl`, flat, by the names that experiment trackers show."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

# TensorBoard and MLflow refuse other characters in names, each some others.
_REFUSED = re.compile(r"[^\w./-]")
_WORDS = {"@": "_at_", "^": "_hat_", "+": "_plus"}


def tracker_name(name: str) -> str:
    """A metric's name in all trackers: `pass@4` is `pass_at_4`, `pass^4` is `pass_hat_4`, `turn_17+` is `turn_17_plus`.

    Other characters than letters, digits, `_`, `.`, `-` and `/` become `_`.
    """
    return _REFUSED.sub(lambda found: _WORDS.get(found.group(), "_"), name)


def flat_metrics(record: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The finite numbers of a record by `section/name`, as `tracker_name` writes it.

    Args:
        record: A line of `metrics.jsonl`, or a part of it; its `update` is the step and no metric.
        prefix: What precedes the names, with its slash.
    """
    flat: dict[str, float] = {}
    for key, value in record.items():
        if not prefix and key == "update":
            continue
        name = f"{prefix}{tracker_name(str(key))}"
        if isinstance(value, Mapping):
            flat |= flat_metrics(value, f"{name}/")
            continue
        value = value.item() if hasattr(value, "item") else value
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            flat[name] = float(value)
    return flat

"""Search spaces of Ray Tune in the sections of a configuration.

Sections are data classes that check their values, and Tune searches dictionaries only. So the spaces of a section are
stored apart from it until Tune has chosen values, and `to_dict`, which Tune reads, returns a section as a dictionary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from ray.tune.search.sample import Domain


def is_space(value: Any) -> bool:
    """Whether a value is or contains a search space."""
    if isinstance(value, Domain):
        return True
    if isinstance(value, Mapping):
        return "grid_search" in value or any(map(is_space, value.values()))
    return isinstance(value, list | tuple) and any(map(is_space, value))


def split(changes: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Splits settings into plain values and search spaces."""
    spaces = {name: value for name, value in changes.items() if is_space(value)}
    return {name: value for name, value in changes.items() if name not in spaces}, spaces


def as_dict(settings: Any, spaces: Mapping[str, Any]) -> dict[str, Any]:
    """A section as a dictionary for Tune, search spaces included."""
    plain = asdict(settings)
    return {field.name: spaces.get(field.name, plain[field.name]) for field in fields(settings)}

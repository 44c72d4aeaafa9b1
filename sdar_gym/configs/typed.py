"""Types of settings: how they decide the value of a text in YAML or on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from sdar_gym.settings import group_type, hints_of, members


@dataclass(frozen=True, eq=False)
class Free:
    """A group of settings that is checked elsewhere; the types of its known keys decide how text is read.

    Attributes:
        known: Types by key; values of other keys are read by YAML's rules.
        scalar: Type of a single value in place of the group.
    """

    known: Mapping[str, Any]
    scalar: Any = Any


def wants_text(hint: Any) -> bool:
    """Whether a scalar of this type is text, whatever it looks like."""
    kinds = members(hint)
    return any(map(_is_text, kinds)) and not {int, float, bool} & set(kinds)


def takes_list(hint: Any) -> bool:
    """Whether the type allows a list."""
    return any(
        isinstance(origin := get_origin(one) or one, type) and issubclass(origin, Sequence) and not _is_text(one)
        for one in members(hint)
    )


def is_path(hint: Any) -> bool:
    """Whether the type allows a path."""
    return any(hasattr(get_origin(one) or one, "__fspath__") for one in members(hint))


def free(kind: type) -> Free:
    """The types of the keys of a group that parses mappings itself, nested groups included."""
    known: dict[str, Any] = {}
    for name, hint in hints_of(kind).items():
        group = group_type(hint)
        if group is not None:
            parts = getattr(group, "registry", None)
            # A gate or shaper may be a name alone; its settings depend on it.
            known[name] = free(group) if parts is None else Free(_settings_of(parts), str | None)
        elif any(hasattr(one, "parse") for one in members(hint)):  # A schedule: a number or points.
            known[name] = float | Sequence[Any]
        else:
            known[name] = hint
    return Free(known)


def _settings_of(parts: Mapping[str, type]) -> dict[str, Any]:
    """The settings of all registered gates or shapers."""
    known: dict[str, Any] = {"name": str}
    for part in parts.values():
        known |= free(part).known
    return known


def _is_text(kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return all(isinstance(value, str) for value in get_args(kind))
    kind = get_origin(kind) or kind
    return isinstance(kind, type) and (issubclass(kind, str) or hasattr(kind, "__fspath__"))

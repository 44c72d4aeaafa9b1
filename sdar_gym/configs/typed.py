"""What the types of settings say: how a text becomes a value, and whether a value from Python is one."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from math import inf
from numbers import Real
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from sdar_gym.text import shortened
from sdar_gym.validation import flag, text_list, whole_number


@dataclass(frozen=True, eq=False)
class Free:
    """A group of settings that somebody else checks: what is known of its keys says how a text is read.

    Attributes:
        known: Types by key; anything else is read by YAML's rules.
        scalar: Type of a single value that may stand in place of the group.
    """

    known: Mapping[str, Any]
    scalar: Any = Any


@cache
def hints_of(kind: type) -> dict[str, Any]:
    """The types of a data class's fields."""
    return get_type_hints(kind)


def members(hint: Any) -> tuple[Any, ...]:
    """The types of a union, or the one type."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def wants_text(hint: Any) -> bool:
    """Whether a scalar here is text whatever it looks like."""
    kinds = members(hint)
    return any(map(_is_text, kinds)) and not {int, float, bool} & set(kinds)


def takes_list(hint: Any) -> bool:
    """Whether a list may stand here."""
    return any(
        isinstance(origin := get_origin(one) or one, type) and issubclass(origin, Sequence) and not _is_text(one)
        for one in members(hint)
    )


def is_path(hint: Any) -> bool:
    """Whether a path may stand here."""
    return any(hasattr(get_origin(one) or one, "__fspath__") for one in members(hint))


def free(kind: type) -> Free:
    """A data class that reads plain mappings itself, groups within it included."""
    known = {}
    for name, hint in hints_of(kind).items():
        group = next((one for one in members(hint) if isinstance(one, type) and is_dataclass(one)), None)
        if group is not None and hasattr(group, "parse"):  # A schedule: a number, or a kind with its numbers.
            known[name] = Free({key: float for key in ("value", "start", "end")}, float)
        else:
            known[name] = hint if group is None else free(group)
    return Free(known)


def check_types(settings: Any, section: str) -> None:
    """Refuse values of a wrong type, and store those of a related one (NumPy's numbers, lists for tuples) as the type.

    Args:
        settings: A frozen data class that is being made.
        section: What its settings are called where the user wrote them, with the dot; empty at the top.

    Raises:
        ValueError: With the setting's name.
    """
    hints = hints_of(type(settings))
    for field in fields(settings):
        name = f"{section}{field.name}"
        object.__setattr__(settings, field.name, _checked(name, getattr(settings, field.name), hints[field.name]))


def _checked(name: str, value: Any, hint: Any) -> Any:
    kinds = members(hint)
    if value is None and types.NoneType in kinds:
        return None
    kind = next(one for one in kinds if one is not types.NoneType)
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if kind is bool:
        return flag(name, value)
    if kind is int:
        return whole_number(name, value)
    if kind is float:
        return _number(name, value)
    if kind is str:
        return _text(name, value)
    if origin is list:
        return list(text_list(name, value))
    if origin is tuple:
        if not isinstance(value, list | tuple) or len(value) != len(inner):
            raise ValueError(f"{name} must be a list of {len(inner)} numbers, got {shortened(value)}.")
        return tuple(_number(f"{name}.{at}", one) for at, one in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise ValueError(f"{name} must be a group of settings (key: value), got {shortened(value)}.")
        return {key: one if inner[1] is Any else _checked(f"{name}.{key}", one, inner[1]) for key, one in value.items()}
    if isinstance(kind, type) and not isinstance(value, kind):
        example = f", such as {kind.__name__}(), not a {type(value).__name__}" if is_dataclass(kind) else ""
        raise ValueError(f"{name} must be a {kind.__name__}{example}; got {shortened(value)}.")
    return value


def _number(name: str, value: Any) -> float:
    """A number, not yet a sensible one: each setting says itself what is."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise ValueError(f"{name} must be a number, got {shortened(value)}.")
    try:
        return float(value)
    except OverflowError:
        return inf


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a text, got {shortened(value)}.")
    if not value or "\x00" in value:
        raise ValueError(f"{name} must be a text that is not empty, without zero bytes, got {shortened(value)}.")
    return str(value)


def _is_text(kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return all(isinstance(value, str) for value in get_args(kind))
    kind = get_origin(kind) or kind
    return isinstance(kind, type) and (issubclass(kind, str) or hasattr(kind, "__fspath__"))

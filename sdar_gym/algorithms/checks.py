"""Settings arrive from Python, YAML and a command line; here each is refused or accepted with the same words."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, TypeVar

Choice = TypeVar("Choice", bound=StrEnum)


def number(name: str, value: Any, *, at_least: float | None = None, above: float | None = None) -> float:
    """Returns `value` as a finite float inside its bounds.

    Text is refused rather than converted: YAML 1.1 reads `1e-2` as a string, and a setting that silently changes
    type is harder to find than an error that names it.

    Args:
        name: What the setting is called where the user wrote it.
        value: What the user wrote.
        at_least: Smallest value allowed.
        above: Bound that the value must exceed.

    Returns:
        The number as a float.

    Raises:
        ValueError: If `value` is no number, not finite, or out of bounds.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        hint = " (in YAML write 1.0e-2 instead of 1e-2)" if isinstance(value, str) else ""
        raise ValueError(f"{name} must be a number, got {value!r} of type {type(value).__name__}{hint}.")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value!r}.")
    if at_least is not None and value < at_least:
        raise ValueError(f"{name} must be at least {at_least:g}, got {value!r}.")
    if above is not None and value <= above:
        raise ValueError(f"{name} must be greater than {above:g}, got {value!r}.")
    return float(value)


def count(name: str, value: Any, *, at_least: int = 0) -> int:
    """Returns `value` as a whole number of steps, tokens or rows.

    Args:
        name: What the setting is called where the user wrote it.
        value: What the user wrote.
        at_least: Smallest value allowed.

    Returns:
        The number as an int.

    Raises:
        ValueError: If `value` is not a whole number or is too small.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} must be a whole number, got {value!r} of type {type(value).__name__}.")
    if value < at_least:
        raise ValueError(f"{name} must be at least {at_least}, got {value}.")
    return value


def flag(name: str, value: Any) -> bool:
    """Returns `value` if it is a bool; `"false"` is a true string, so nothing else is accepted.

    Raises:
        ValueError: If `value` is not a bool.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, got {value!r} of type {type(value).__name__}.")
    return value


def choice(kind: type[Choice], name: str, value: Any) -> Choice:
    """Returns the member of a closed set that `value` names.

    Args:
        kind: The enum with the allowed values.
        name: What the setting is called where the user wrote it.
        value: A member or its name.

    Returns:
        The enum member.

    Raises:
        ValueError: If `value` names no member; the message lists them.
    """
    try:
        return kind(value)
    except ValueError:
        raise ValueError(f"{name} must be one of {[str(member) for member in kind]}, got {value!r}.") from None


def closest(name: str, known: Iterable[str]) -> str:
    """Returns a hint for an unknown name: the closest known one if there is one, then all of them.

    Args:
        name: What the user wrote.
        known: Every name that would have worked.

    Returns:
        A sentence to append to an error message.
    """
    options = sorted(known)
    near = difflib.get_close_matches(name, options, n=1)
    guess = f"Did you mean {near[0]!r}? " if near else ""
    return f"{guess}Known names: {options}."

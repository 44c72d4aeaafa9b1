"""Argument validation with uniform messages: argument, expected values, and the value given."""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import StrEnum
from numbers import Integral, Real
from typing import Any, TypeVar

from sdar_gym.text import shortened

Member = TypeVar("Member", bound=StrEnum)


def whole_number(name: str, value: Any, low: int | None = None, high: int | None = None) -> int:
    """An integer of any kind (NumPy's too) as an `int`; `True`, `2.0` and `"2"` are refused.

    Args:
        name: The argument's name, for the message.
        value: The value to check.
        low: Smallest value allowed.
        high: Largest value allowed.

    Raises:
        ValueError: It is not a whole number, or out of range.
    """
    wanted = f"a whole number{_range(low, high)}"
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise ValueError(f"{name} must be {wanted}, got {shortened(value)}.")
    number = int(value)
    if (low is not None and number < low) or (high is not None and number > high):
        raise ValueError(f"{name} must be {wanted}, got {shortened(value)}.")
    return number


def finite_number(
    name: str,
    value: Any,
    low: float | None = None,
    high: float | None = None,
    *,
    above: float | None = None,
    below: float | None = None,
) -> float:
    """A finite number of any kind as a `float`; text, `True`, nan and infinities are refused.

    Args:
        name: The argument's name, for the message.
        value: The value to check.
        low: Smallest value allowed.
        high: Largest value allowed.
        above: The value must be larger than this.
        below: The value must be smaller than this.

    Raises:
        ValueError: It is not a finite number, or out of range.
    """
    limits = _range(low, high, above, below)
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    try:
        number = float(value) if is_number else math.nan
    except OverflowError:
        number = math.inf
    if (
        not math.isfinite(number)
        or (low is not None and number < low)
        or (high is not None and number > high)
        or (above is not None and number <= above)
        or (below is not None and number >= below)
    ):
        raise ValueError(f"{name} must be a finite number{limits}, got {shortened(value)}.")
    return number


def flag(name: str, value: Any) -> bool:
    """A Boolean as a `bool`, NumPy's too; 0, 1 and texts are refused.

    Raises:
        ValueError: It is not a Boolean.
    """
    if isinstance(value, bool) or type(value).__name__ == "bool":  # NumPy 2 names its type so.
        return bool(value)
    raise ValueError(f"{name} must be true or false, got {shortened(value)}.")


def one_of(name: str, value: Any, choices: Iterable[str]) -> str:
    """A text that must be one of the choices.

    Raises:
        ValueError: It is not one of them.
    """
    known = tuple(choices)
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {shortened(value)}.")
    return value


def text_list(name: str, value: Any) -> tuple[str, ...]:
    """A list of texts as a tuple; a single text becomes a tuple of one.

    Raises:
        ValueError: It is neither a text nor a list of texts.
    """
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list | tuple | set | frozenset) and all(isinstance(item, str) for item in value):
        return tuple(sorted(value)) if isinstance(value, set | frozenset) else tuple(value)
    raise ValueError(f"{name} must be a list of texts, got {shortened(value)}.")


def choice(kind: type[Member], name: str, value: Any) -> Member:
    """The member of an enum that a value names.

    Args:
        kind: The enum.
        name: The setting's name, for the message.
        value: A member or its text.

    Raises:
        ValueError: It names no member.
    """
    try:
        return kind(value)
    except ValueError:
        raise ValueError(f"{name} must be one of {[str(member) for member in kind]}, got {shortened(value)}.") from None


def _range(low: float | None, high: float | None, above: float | None = None, below: float | None = None) -> str:
    """The allowed range in words, with a space before it."""
    lower = f"above {_short(above)}" if above is not None else f"of at least {_short(low)}" if low is not None else ""
    upper = f"below {_short(below)}" if below is not None else f"at most {_short(high)}" if high is not None else ""
    if low is not None and high is not None and above is None and below is None:
        return f" from {_short(low)} to {_short(high)}"
    if lower and upper:
        return f" {lower} and {upper}"
    return f" {lower}" if lower else f" {'' if below is not None else 'of '}{upper}" if upper else ""


def _short(bound: float) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"

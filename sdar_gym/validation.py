"""Argument validation with uniform messages: argument, expected values, and the value given."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

from sdar_gym.text import shortened


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
    name: str, value: Any, low: float | None = None, high: float | None = None, *, above: float | None = None
) -> float:
    """A finite number of any kind as a `float`; text, `True`, nan and infinities are refused.

    Args:
        name: The argument's name, for the message.
        value: The value to check.
        low: Smallest value allowed.
        high: Largest value allowed.
        above: The value must be larger than this.

    Raises:
        ValueError: It is not a finite number, or out of range.
    """
    limits = f" above {above:g}" if above is not None else _range(low, high)
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


def _range(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}"
    if low is not None:
        return f" of at least {low:g}"
    return f" of at most {high:g}" if high is not None else ""

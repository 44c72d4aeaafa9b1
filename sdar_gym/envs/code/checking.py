"""Comparison of a program's result with the expected one: standard output by lines and numbers, values as JSON."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

TOLERANCE = 1e-6
# Longer words are compared as texts only: converting a hostile number with a million digits takes seconds.
_LONGEST_NUMBER = 400
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")


def stdout_equal(got: str, expected: str) -> bool:
    """Whether an output on standard output is the expected one.

    White space around the output and around each line does not count. Lines are equal as texts, or if both consist of
    decimal numbers that are equal in value, so that `1.50 2` is `1.5 2.0`.

    Args:
        got: What the program wrote.
        expected: What it should have written.

    Source:
        LiveCodeBench (arXiv 2403.07974), the rule of its released checker. There, Python's `Decimal` decides what a
        number is; here only ASCII digits with sign, point and exponent are, so that `1_0` is not 10.
    """
    lines, wanted = _lines(got), _lines(expected)
    return len(lines) == len(wanted) and all(
        line == want or _same_numbers(line, want) for line, want in zip(lines, wanted, strict=True)
    )


def values_equal(got: Any, expected: Any) -> bool:
    """Whether a returned value is the expected one; both are JSON values.

    Tuples are lists. Numbers are equal in value; where the expected number is a float, a relative or absolute
    difference of 1e-6 is allowed. Truth values are not numbers, and nan equals nothing.

    The time is bounded by the size of `expected`: it is walked through without recursion, and a part of another type or
    length ends the comparison.

    Args:
        got: The value that the program returned.
        expected: The value it should have returned.
    """
    pairs = [(got, expected)]
    while pairs:
        value, want = pairs.pop()
        if isinstance(want, list | tuple):
            if not isinstance(value, list | tuple) or len(value) != len(want):
                return False
            pairs += zip(value, want, strict=True)
        elif isinstance(want, dict):
            if not isinstance(value, dict) or value.keys() != want.keys():
                return False
            pairs += ((value[key], want[key]) for key in want)
        elif not _same_scalar(value, want):
            return False
    return True


def _same_scalar(value: Any, want: Any) -> bool:
    if isinstance(want, bool) or isinstance(value, bool):
        return value is want
    if not isinstance(want, int | float):
        return type(value) is type(want) and value == want
    if not isinstance(value, int | float):
        return False
    if isinstance(want, int):
        return value == want
    try:
        return math.isclose(value, want, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    except OverflowError:  # A whole number beyond the range of floats.
        return False


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().split("\n")]


def _same_numbers(line: str, want: str) -> bool:
    words, wanted = line.split(), want.split()
    return len(words) == len(wanted) and all(
        _same_number(word, other) for word, other in zip(words, wanted, strict=True)
    )


def _same_number(word: str, want: str) -> bool:
    if not (_NUMBER.fullmatch(word) and _NUMBER.fullmatch(want)):
        return False
    if max(len(word), len(want)) > _LONGEST_NUMBER:
        return word == want
    return Decimal(word) == Decimal(want)

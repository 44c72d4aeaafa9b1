"""Texts about tests: inputs, results and tracebacks, cut in the middle."""

from __future__ import annotations

import re
from typing import Any

LONGEST_VALUE = 600
LONGEST_ERROR = 1_200
# Addresses of objects differ from run to run.
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{6,16}\b")


def cut(text: str, limit: int) -> str:
    """The text, or its beginning and end with the number of characters left out between."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]} …[{len(text) - 2 * half:,} characters left out]… {text[-half:]}"


def shown_call(entry: str, given: Any) -> str:
    """The input of a test: the call, or the text on standard input."""
    if not entry:
        return cut(given.rstrip("\n"), LONGEST_VALUE)
    name = entry.rpartition(".")[2]
    return cut(f"{name}({', '.join(map(_repr, given))})", LONGEST_VALUE)


def shown_result(entry: str, value: Any) -> str:
    """An expected or actual result: a value, or the text on standard output."""
    return cut(_repr(value) if entry else value.rstrip("\n"), LONGEST_VALUE)


def shown_error(text: str) -> str:
    """A traceback or reason."""
    return cut(_ADDRESS.sub("0x…", text).rstrip(), LONGEST_ERROR)


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except (RecursionError, ValueError):
        return f"a {type(value).__name__} that is too deep or too large to show"

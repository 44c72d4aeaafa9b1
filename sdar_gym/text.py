"""Untrusted text: make it encodable, escape it for terminals, shorten it for messages, find close names."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

# C0 except tab and line feed, DEL, C1, line separators, bidirectional controls, and surrogates.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def well_formed(text: str) -> str:
    r"""The text with lone surrogates replaced by U+FFFD and pairs joined, so that UTF-8 can encode it.

    JSON may hold lone surrogates (`"\ud83d"`), and tokenizers refuse such text.
    """
    if text.isascii() or _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def terminal_safe(text: str) -> str:
    r"""The text with control characters (such as `\x1b`) and bidirectional overrides escaped.

    Tabs and line feeds stay. Apply it to all untrusted text (goals, observations, skills, names, responses, paths,
    messages of servers) before printing or logging it.
    """
    return _UNPRINTABLE.sub(lambda found: _escape(ord(found.group())), text)


def shortened(value: Any, limit: int = 120) -> str:
    """The `repr` of a value for a message: one line, cut in the middle, nested lists abbreviated.

    Args:
        value: Any value.
        limit: Largest number of characters.
    """
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother = 3, limit, limit
    try:
        text = short.repr(value)
    except ValueError:  # Integers with more digits than Python converts.
        text = f"a {type(value).__name__} that is too large to show"
    if len(text) > limit:
        text = f"{text[: limit // 2 - 2]}...{text[-(limit // 2 - 2) :]}"
    return terminal_safe(text)


def closest(name: Any, known: Iterable[str]) -> str | None:
    """The closest known name to a misspelled one, for "Did you mean ...?"; None if none is close.

    Args:
        name: The name that the user wrote.
        known: All valid names.
    """
    near = get_close_matches(str(name)[:200], list(known), n=1)
    return near[0] if near else None


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"

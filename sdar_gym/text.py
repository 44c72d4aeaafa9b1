"""Text from outside: made encodable where it is read, harmless where it is printed, short where it is quoted."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

# C0 but for tab and line feed, DEL and C1, what turns the direction of writing around, and halves of characters.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def well_formed(text: str) -> str:
    r"""The text with lone surrogates replaced by U+FFFD, and pairs of them joined: what UTF-8 can encode.

    JSON may spell half of a character (`"\ud83d"`), and tokenizers refuse such text.
    """
    if text.isascii() or _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def terminal_safe(text: str) -> str:
    r"""The text with what acts on a terminal shown instead: `\x1b` and the other control characters, bidi overrides.

    Tabs and line feeds stay. Apply it to everything foreign (goals, observations, skills, names, responses, paths,
    messages of servers) on its way to a terminal or a log.
    """
    return _UNPRINTABLE.sub(lambda found: _escape(ord(found.group())), text)


def shortened(value: Any, limit: int = 120) -> str:
    """What a message quotes of a value: its `repr`, one line, cut in the middle; nested lists are never written out.

    Args:
        value: Anything.
        limit: Most characters.
    """
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother = 3, limit, limit
    try:
        text = short.repr(value)
    except ValueError:  # Integers of more digits than Python writes out.
        text = f"a {type(value).__name__} that is too large to show"
    if len(text) > limit:
        text = f"{text[: limit // 2 - 2]}...{text[-(limit // 2 - 2) :]}"
    return terminal_safe(text)


def closest(name: Any, known: Iterable[str]) -> str | None:
    """The known name that an unknown one was probably meant to be, for "Did you mean ...?"; None if none is near.

    Args:
        name: What the user wrote.
        known: Every name that would have worked.
    """
    near = get_close_matches(str(name)[:200], list(known), n=1)
    return near[0] if near else None


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"

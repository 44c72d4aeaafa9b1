r"""Answer of a solution: in the last `\boxed{…}`, else in `<answer>` tags, else a single short line."""

from __future__ import annotations

import re

# Answers are at the end; what stands before this many last characters is not read.
_TAIL = 100_000
_LONGEST_LINE = 200
# An escaped brace is a character of the answer, as in `\boxed{\{1,2\}}`.
_BRACES = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
_PREFIX = re.compile(r"(?:the\s+)?(?:final\s+)?answer\s*(?:is\s*:?|:)\s*", re.IGNORECASE)
_TAG = re.compile(r"</?\w+>")
_OPEN, _CLOSE = "<answer>", "</answer>"


def find_answer(action: str) -> str:
    r"""Find the answer in a solution.

    Of several boxes the last one counts, of nested ones the inner one; an empty box is no answer, and neither is one
    that is not closed. Takes time proportional to the length of the text.

    Args:
        action: A whole solution.

    Returns:
        The answer as it is written; empty if there is none.
    """
    tail = action[-_TAIL:]
    if r"\boxed" in tail or r"\fbox" in tail:
        boxed = last_boxed(tail)
        return "" if boxed is None else boxed.strip()
    end = tail.rfind(_CLOSE)
    begin = tail.rfind(_OPEN, 0, end) if end >= 0 else -1
    if begin >= 0:
        return tail[begin + len(_OPEN) : end].strip()
    return _line(action) if len(action) <= 2 * _LONGEST_LINE else ""


def last_boxed(text: str) -> str | None:
    r"""Content of the last `\boxed{…}` that is closed; None if there is none."""
    open_braces: list[int] = []
    found: tuple[int, int] | None = None
    for token in _BRACES.finditer(text):
        kind = token.group()
        if kind == "{":
            open_braces.append(-1)
        elif kind == "}":
            begin = open_braces.pop() if open_braces else -1
            if begin >= 0 and (found is None or begin > found[0]):
                found = begin, token.start()
        elif len(kind) > 2:
            open_braces.append(token.end())
    return None if found is None else text[found[0] : found[1]]


def _line(action: str) -> str:
    line = action.strip()
    if len(line) > _LONGEST_LINE or len(line.splitlines()) != 1 or _TAG.search(line):
        return ""
    line = _PREFIX.sub("", line, count=1) if _PREFIX.match(line) else line
    return line if any(letter.isalnum() for letter in line) else ""

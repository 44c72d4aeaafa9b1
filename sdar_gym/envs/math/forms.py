"""Forms of answers: number, words, choice, tuple, list, set, interval, union, matrix, or another expression."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from sdar_gym.envs.math.latex import TEXT_BEGIN, TEXT_END, bare, plain, squeezed, unmarked
from sdar_gym.envs.math.numbers import Number, read_number
from sdar_gym.envs.math.units import Unit, read_unit


@dataclass(frozen=True, slots=True)
class Words:
    """An answer in words, in lower case."""

    text: str


@dataclass(frozen=True, slots=True)
class Choice:
    """The letter of a multiple choice."""

    letter: str


@dataclass(frozen=True, slots=True)
class Infinite:
    """Plus or minus infinity."""

    negative: bool


@dataclass(frozen=True, slots=True)
class Several:
    """Several answers: a `tuple` (ordered), a `set`, or a `list` without brackets (in any order)."""

    kind: str
    items: tuple[Form, ...]


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval with at least one closed end; an open one is read as a tuple, which is written the same."""

    low: Form
    high: Form
    open_low: bool
    open_high: bool


@dataclass(frozen=True, slots=True)
class Union:
    """A union of sets, in any order."""

    parts: tuple[Form, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """A matrix, row by row."""

    rows: tuple[tuple[Form, ...], ...]


@dataclass(frozen=True, slots=True)
class Named:
    """A value with the name of what it is, as in `x=5`."""

    name: str
    value: Form


@dataclass(frozen=True, slots=True)
class Expression:
    """Anything else, as LaTeX without its unit; it is compared by the verifier library."""

    text: str
    unit: Unit | None = None


Form = Number | Words | Choice | Infinite | Several | Interval | Union | Matrix | Named | Expression

LONGEST = 2000
_DEEPEST = 6
_MOST_ITEMS = 100
_WHOLE_TEXT = re.compile(f"{TEXT_BEGIN}([^{TEXT_BEGIN}{TEXT_END}]*){TEXT_END}")
_LETTER = re.compile(r"\(\s*([A-J])\s*\)(?:\s.*)?|([A-J])(?:[).:](?:\s.*)?)?", re.DOTALL)
_WORD = re.compile(r"[A-Za-z][A-Za-z' -]{3,}")
_SHORT_WORDS = {"yes", "no", "odd", "one", "two", "six", "ten", "all"}
_JOINED = re.compile(rf"\s*[,;]?\s*{TEXT_BEGIN}?\s*(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])\s*{TEXT_END}?\s*")
_INFINITE = re.compile(r"([+-]?)\s*(?:\\infty|infinity|oo)")
_NAMED = re.compile(
    rf"((?:{TEXT_BEGIN}[^{TEXT_END}]*{TEXT_END}|[A-Za-z]+|\\[a-z]+)(?:_(?:\w|\{{\w+\}}))?(?:\([a-z]\))?)\s*"
    r"(?:(?<![<>!:])=(?!=)|\\in(?![a-z]))\s*(.+)",
    re.DOTALL,
)
_MATRIX = re.compile(r"\\begin\{([pbB]?)matrix\}(.*)\\end\{\1matrix\}", re.DOTALL)
_GROUPED = re.compile(r"\d,\d{3}(?!\d)")
_RELATIONS = ("<", ">", r"\le", r"\ge", r"\ne")


def read(text: str) -> Form:
    """Read an answer. Never raises; takes time proportional to the length of the text.

    Args:
        text: The answer as it was written.
    """
    return _read_cached(text) if len(text) <= 200 else _read(plain(text[:LONGEST]), 0)


@lru_cache(maxsize=4096)
def _read_cached(text: str) -> Form:
    return _read(plain(text), 0)


def _read(text: str, depth: int) -> Form:
    text = text.strip().rstrip(",;").rstrip()
    if depth > _DEEPEST or not text:
        return Expression(unmarked(text))
    number = read_number(text)
    if number is not None:
        return number
    return _words(text) or _structure(text, depth) or _expression(text)


def _expression(text: str) -> Expression:
    begin = text.rfind(TEXT_BEGIN)
    known, unit = read_unit(text[begin:]) if begin > 0 else (False, None)
    return Expression(unmarked(text[:begin]).strip(), unit) if known else Expression(unmarked(text))


def _words(text: str) -> Form | None:
    marked = _WHOLE_TEXT.fullmatch(text)
    said = bare(text) if TEXT_BEGIN in text else text
    found = _LETTER.fullmatch(said)
    if found:
        return Choice(found[1] or found[2])
    infinite = _INFINITE.fullmatch(said)
    if infinite:
        return Infinite(infinite[1] == "-")
    if marked:
        return Words(_folded(marked[1])) if marked[1].strip() else None
    if said.lower() in _SHORT_WORDS or (_WORD.fullmatch(said) and not re.search(r"\b(?:and|or)\b", said)):
        return Words(_folded(said))
    return None


def _folded(text: str) -> str:
    return " ".join(text.lower().split()).strip(" .")


def _structure(text: str, depth: int) -> Form | None:
    if text == r"\emptyset" or squeezed(text) == r"\{\}":
        return Several("set", ())
    if r"\cup" in text:
        parts = _split(text, r"\cup")
        if len(parts) > 1:
            return Union(tuple(_read(part, depth + 1) for part in parts))
    matrix = _MATRIX.fullmatch(text)
    if matrix and r"\begin" not in matrix[2]:
        rows = [row.split("&") for row in matrix[2].strip().removesuffix("\\\\").split("\\\\")]
        if sum(map(len, rows)) <= _MOST_ITEMS:
            return Matrix(tuple(tuple(_read(cell, depth + 1) for cell in row) for row in rows))
    joined = _JOINED.sub(",", text)
    items = split_items(joined)
    if len(items) > 1:
        return read_several("list", items, depth)
    named = _NAMED.fullmatch(text)
    if named and not any(sign in named[2] for sign in _RELATIONS):
        # Of a chain such as x = 2+3 = 5 the last value counts.
        return Named(
            squeezed(named[1]).replace("{", "").replace("}", ""), _read(named[2].rpartition("=")[2], depth + 1)
        )
    return _bracketed(text, depth) or _plus_minus(text, depth)


def _bracketed(text: str, depth: int) -> Form | None:
    if text.startswith(r"\{") and text.endswith(r"\}") and _closes_last(text):
        inner = text[2:-2].strip()
        # A set by its property is for the verifier library.
        if any(sign in inner for sign in ("|", r"\mid", ":")):
            return None
        return read_several("set", split_items(inner), depth)
    if text[0] not in "([{" or text[-1] not in ")]}" or not _closes_last(text):
        return None
    items = split_items(text[1:-1])
    if text[0] == "{":
        # A group of TeX, or a set whose braces lost their backslashes.
        return read_several("set", items, depth) if len(items) > 1 else _read(text[1:-1], depth + 1)
    if len(items) == 1:
        return _read(items[0], depth + 1) if text[0] == "(" and text[-1] == ")" else None
    if text[0] == "(" and text[-1] == ")":
        return read_several("tuple", items, depth)
    if len(items) == 2 and all(items):
        low, high = (_read(item, depth + 1) for item in items)
        return Interval(low, high, text[0] == "(", text[-1] == ")")
    return read_several("tuple", items, depth) if text[0] == "[" and text[-1] == "]" else None


def read_several(kind: str, items: list[str], depth: int) -> Several | None:
    """Read the items of a tuple, list or set; None if one is empty or there are too many."""
    if not all(items) or len(items) > _MOST_ITEMS:
        return None
    forms: list[Form] = []
    for item in items:
        form = _read(item, depth + 1)
        # ±1, ±2 are four values.
        forms += form.items if isinstance(form, Several) and form.kind == "list" and kind != "tuple" else (form,)
    return Several(kind, tuple(forms))


def _plus_minus(text: str, depth: int) -> Form | None:
    first, sign, second = text.partition(r"\pm")
    second = second.strip()
    if not sign or not second or r"\pm" in second or any(mark in second for mark in "+-=,"):
        return None
    first, second = unmarked(first).strip(), unmarked(second)
    pair: list[Form] = []
    for way in "+-":
        number = read_number(f"{way if way == '-' or first else ''}{second}") if not first else None
        pair.append(number or _sum(first, way, second))
    return Several("list", tuple(pair))


def _sum(first: str, way: str, second: str) -> Form:
    left, right = read_number(first), read_number(second)
    if left is not None and right is not None:
        value = left.value + right.value if way == "+" else left.value - right.value
        return Number(value, f"{first}{way}{second}")
    return Expression(f"{first}{way}{second}" if first or way == "-" else second)


def split_items(text: str) -> list[str]:
    """The items between commas or semicolons that are not in brackets; thousands stay together before ", "."""
    if ", " in text and _GROUPED.search(text):
        parts = [part.strip() for part in _split(text, ", ")]
        if all(read_number(part) is not None for part in parts):
            return parts
    return [piece.strip() for part in _split(text, ";") for piece in _split(part, ",")]


def _split(text: str, separator: str) -> list[str]:
    """Split at separators that are not in brackets."""
    if separator not in text:
        return [text]
    parts, depth, begin, place = [], 0, 0, 0
    while place < len(text):
        letter = text[place]
        if letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        elif depth == 0 and text.startswith(separator, place):
            parts.append(text[begin:place])
            begin = place = place + len(separator)
            continue
        place += 1
    return [*parts, text[begin:]]


def _closes_last(text: str) -> bool:
    """Whether the first bracket is closed by the last character; kinds of brackets may differ, as in intervals."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        if depth <= 0 and letter in ")]}":
            return place == len(text) - 1
    return False

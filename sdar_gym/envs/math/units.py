"""Units of answers: which quantities they measure, and by which factor."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from sdar_gym.envs.math.latex import TEXT_BEGIN, bare


@dataclass(frozen=True, slots=True)
class Unit:
    """A known unit.

    Attributes:
        quantity: What it measures, such as `length` or `length2/time`.
        factor: In the quantity's base unit.
    """

    quantity: str
    factor: Fraction


# Names of units by quantity, and their factors; plurals are added.
_TABLE: dict[str, tuple[tuple[str, str], ...]] = {
    "length": (
        ("mm millimeter millimetre", "1/1000"), ("cm centimeter centimetre", "1/100"), ("m meter metre", "1"),
        ("km kilometer kilometre", "1000"), ("in inch inches", "127/5000"), ("ft foot feet", "381/1250"),
        ("yd yard", "1143/1250"), ("mi mile", "201168/125"),
    ),
    "time": (
        ("s sec second", "1"), ("min minute", "60"), ("h hr hour", "3600"), ("day", "86400"), ("week", "604800"),
    ),
    "mass": (
        ("mg milligram", "1/1000"), ("g gram", "1"), ("kg kilogram", "1000"), ("lb pound", "45359237/100000"),
    ),
    "volume": (("ml milliliter millilitre", "1/1000"), ("l liter litre", "1")),
    "money": (("dollar", "1"), ("cent", "1/100")),
    "angle": (("deg degree", "1"),),
    "radian": (("rad radian", "1"),),
}  # fmt: skip
_UNITS = {
    name: Unit(quantity, Fraction(factor))
    for quantity, rows in _TABLE.items()
    for names, factor in rows
    for name in (*names.split(), *(f"{name}s" for name in names.split() if len(name) > 1))
}
_UNITS["mph"] = Unit("length/time", Fraction(201168, 125) / 3600)
_POWER = re.compile(r"\s*\^\s*\{?\s*([23])\s*\}?$")
_POWERS = {"square": 2, "squared": 2, "sq": 2, "cubic": 3, "cubed": 3}
_WORD = re.compile(r"[A-Za-z.]+")
# Words that are read as mathematics, never as units.
_MATH_WORDS = {
    "sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "sqrt", "mod", "pi", "gcd", "lcm", "max", "min",
    "and", "or", "frac", "base", "theta", "alpha", "beta", "choose", "plus", "minus", "times", "over", "factorial",
    "infinity", "half", "halves", "third", "thirds", "quarter", "quarters", "fourths", "fifths", "tenths", "hundredths",
    "root", "roots",
}  # fmt: skip


def read_unit(text: str) -> tuple[bool, Unit | None]:
    """Read what follows a number.

    Args:
        text: Normalized LaTeX after the number.

    Returns:
        Whether it is a unit, and which; None for words that are no known unit, such as "apples".
    """
    # A single letter is a unit after a space; without one it is a variable.
    marked = TEXT_BEGIN in text
    letters = marked or text.startswith(" ")
    words = bare(text)
    over, slash, under = words.partition("/")
    if not slash:
        over, slash, under = words.partition(" per ")
    if not slash:
        return _single(words, marked, letters)
    (known, top), (other, bottom) = _single(over, marked, letters), _single(under, marked, letters)
    if not known or not other or top is None or bottom is None:
        return known and other, None
    return True, Unit(f"{top.quantity}/{bottom.quantity}", top.factor / bottom.factor)


def _single(text: str, marked: bool, letters: bool) -> tuple[bool, Unit | None]:
    found = _POWER.search(text)
    power = int(found[1]) if found else 1
    text = text[: found.start()] if found else text
    words = [word.strip(".").lower() if len(word) > 1 else word for word in text.split()]
    if not words or not all(_WORD.fullmatch(word) for word in text.split()):
        return False, None
    if not marked and not all(_like_a_word(word, letters) for word in words):
        return False, None
    for word in words:
        power = _POWERS.get(word, power)
    named = [word for word in words if word not in _POWERS]
    if not named:
        return False, None  # "5 squared" is 25.
    unit = _UNITS.get(named[0]) if len(named) == 1 else None
    if unit is None:
        return True, None
    return True, Unit(f"{unit.quantity}{power if power > 1 else ''}", unit.factor**power)


def _like_a_word(word: str, letters: bool) -> bool:
    if word in _MATH_WORDS:
        return False
    return (word in _UNITS and (letters or len(word) > 1)) or word in _POWERS or len(word) >= 4

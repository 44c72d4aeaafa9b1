r"""Numbers of answers, read exactly: integers, decimals, fractions, mixed numbers, percents, units, bases."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from sdar_gym.envs.math.latex import TEXT_BEGIN, TEXT_END, bare
from sdar_gym.envs.math.units import Unit, read_unit

# Digits of a number, and of a power of ten: longer ones are compared as texts.
_MOST_DIGITS = 1000
_MOST_EXPONENT = 400
# A rounded decimal counts as a number without a finite decimal form from this many significant digits on.
LEAST_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it was read.

    Attributes:
        value: Its value; of a percentage, the number before the sign.
        written: How it was written, normalized.
        places: Digits after the point; -1 for fractions and integers, which are exact.
        digits: Significant digits of a decimal.
        percent: Whether a percent sign follows.
        unit: Its unit, if it is a known one.
        base: The base, if it is given.
    """

    value: Fraction
    written: str
    places: int = -1
    digits: int = 0
    percent: bool = False
    unit: Unit | None = None
    base: int = 0


_UNSIGNED = (
    r"(?P<whole>\d{1,3}(?P<separator>[, ])\d{3}(?:(?P=separator)\d{3})*(?!\d)|\d*)(?P<decimals>\.\d*)?"
    r"(?:(?:[eE]|\s*(?:\\times|\\cdot|\*|x)\s*10\s*\^)\s*(?P<brace>\{)?\s*(?P<exponent>[+-]?\d{1,4})\s*(?(brace)\}))?"
)
_DECIMAL = re.compile(rf"(?P<sign>[+-]?)\s*{_UNSIGNED}")
_POWER_OF_TEN = re.compile(r"(?P<sign>[+-]?)\s*10\s*\^\s*(?P<brace>\{)?\s*(?P<exponent>[+-]?\d{1,3})\s*(?(brace)\})")
_FRACTION = re.compile(
    r"(?P<sign>[+-]?)\s*(?P<mixed>\d{1,30})?\s*\\frac\s*"
    + r"(?:\{(?P<over>[^{}]*)\}|(?P<overdigit>\d))\s*(?:\{(?P<under>[^{}]*)\}|(?P<underdigit>\d))"
)
_SLASH = re.compile(
    r"(?P<sign>[+-]?)\s*(?:(?P<mixed>\d{1,30}) +)?\(?(?P<over>-?\d+(?:\.\d+)?)\)? ?/ ?(?P<under>\d+(?:\.\d+)?)(?!\d)"
)
_BASE = re.compile(
    r"\(?\s*(?P<numeral>[0-9A-Z]+)\s*\)?\s*(?:_\s*\{?\s*|\(?\s*base\s*)(?P<base>\d{1,2}|[a-z]+)\s*\}?\s*\)?", re.ASCII
)
_BASES = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11,
    "twelve": 12, "sixteen": 16,
}  # fmt: skip
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_SCALE = re.compile(rf"[\s{TEXT_BEGIN}]*({'|'.join(_SCALES)})(?![A-Za-z])")
_REPEATING = re.compile(
    r"(?P<sign>[+-]?)\s*(?P<whole>\d{0,30})\.(?P<decimals>\d{0,30})\\(?:overline|bar)\s*\{?(?P<repeated>\d{1,30})\}?"
)
_CURRENCY = "$€£¥"


def read_number(text: str) -> Number | None:
    """Read a normalized text that is a number, with or without percent sign, unit, currency sign or base.

    Returns:
        The number; None if the text is anything else.
    """
    if len(text) > _MOST_DIGITS or not any("0" <= letter <= "9" for letter in text):
        return None
    if text.isascii() and text.isdigit():
        return Number(Fraction(int(text)), text)
    based = _based(text)
    if based is not None:
        return based
    body = text.lstrip(_CURRENCY + " ")
    if body[:1] == "-" and body[1:2] in _CURRENCY:
        body = f"-{body[1:].lstrip(_CURRENCY)}"
    if body[:1] == "(" and body.endswith(")") and "(" not in body[1:] and "," not in body:
        body = body[1:-1].strip()
    number, end = _beginning(body)
    if number is None:
        return None
    scale = _SCALE.match(body, end)
    if scale:
        end = scale.end()
        number = Number(number.value * 10 ** _SCALES[scale[1]], number.written)
    rest = body[end:].strip(f" {TEXT_END}" if scale else None)
    if not rest:
        return number
    if bare(rest).lower() in ("%", "percent", "per cent", "percents"):
        return _with(number, percent=True)
    known, unit = read_unit(body[end:])
    return _with(number, unit=unit) if known else None


def _with(number: Number, percent: bool = False, unit: Unit | None = None) -> Number:
    return Number(number.value, number.written, number.places, number.digits, percent, unit)


def _beginning(text: str) -> tuple[Number | None, int]:
    """The number at the beginning, and where it ends."""
    for pattern, read in (
        (_REPEATING, _repeating),
        (_FRACTION, _fraction),
        (_SLASH, _fraction),
        (_POWER_OF_TEN, _power),
        (_DECIMAL, _decimal),
    ):
        found = pattern.match(text)
        if found:
            number = read(found)
            return number, found.end()
    return None, 0


def _repeating(found: re.Match[str]) -> Number:
    """A decimal with a bar over the digits that repeat."""
    decimals, repeated = found["decimals"], found["repeated"]
    value = Fraction(int(f"{found['whole']}{decimals}" or "0"))
    value += Fraction(int(repeated), 10 ** len(repeated) - 1)
    value /= 10 ** len(decimals)
    return Number(-value if found["sign"] == "-" else value, found.group())


def _power(found: re.Match[str]) -> Number | None:
    exponent = int(found["exponent"])
    if abs(exponent) > _MOST_EXPONENT:
        return None
    sign = -1 if found["sign"] == "-" else 1
    return Number(sign * Fraction(10) ** exponent, found.group())


def _decimal(found: re.Match[str]) -> Number | None:
    whole, decimals = found["whole"], (found["decimals"] or "")[1:]
    if not whole and not decimals:
        return None
    if found["separator"]:
        whole = whole.replace(found["separator"], "")
    exponent = int(found["exponent"] or 0)
    if abs(exponent) > _MOST_EXPONENT or len(whole) + len(decimals) > _MOST_DIGITS:
        return None
    digits = f"{whole}{decimals}"
    value = Fraction(int(digits or "0")) * Fraction(10) ** (exponent - len(decimals))
    value = -value if found["sign"] == "-" else value
    places = max(0, len(decimals) - exponent) if decimals else -1
    return Number(value, found.group(), places, len(digits.lstrip("0")))


def _fraction(found: re.Match[str]) -> Number | None:
    groups = found.groupdict()
    over = _exact(groups.get("over") or groups.get("overdigit") or "")
    under = _exact(groups.get("under") or groups.get("underdigit") or "")
    if over is None or under is None or under == 0:
        return None
    value = over / under
    if found["mixed"]:
        # 1\frac{1}{2} is one and a half; an improper or negative part would make a product of it.
        if not 0 <= over < under:
            return None
        value += int(found["mixed"])
    return Number(-value if found["sign"] == "-" else value, found.group())


def _exact(text: str) -> Fraction | None:
    found = _DECIMAL.fullmatch(text.strip())
    number = _decimal(found) if found else None
    return None if number is None else number.value


def _based(text: str) -> Number | None:
    if "_" not in text and "base" not in text:
        return None
    found = _BASE.fullmatch(bare(text).replace("\x02", "").replace("\x03", "").replace("  ", " "))
    if found is None:
        return None
    named = found["base"]
    base = _BASES.get(named, 0) if named.isalpha() else int(named)
    numeral = found["numeral"]
    try:
        value = int(numeral, base) if 2 <= base <= 36 else None
    except ValueError:
        return None
    return None if value is None else Number(Fraction(value), numeral, base=base)


def numbers_equal(gold: Number, answer: Number) -> bool:
    """Whether two numbers are equal, as answers.

    - Units that measure the same are converted; a missing or unknown one is ignored; others differ.
    - A percent sign may be missing; 50% is also 0.5. Below 1 it may not be missing, since 0.5 and 0.5% are both
      plausible answers.
    - A missing base is that of the other number, so that the numerals are compared.
    - A decimal equals a number without a finite decimal form if it is that number, rounded, with at least six
      significant digits.
    """
    if gold.base or answer.base:
        if gold.base and answer.base:
            return gold.value == answer.value
        return gold.written == answer.written
    if gold.unit is not None and answer.unit is not None:
        if gold.unit.quantity != answer.unit.quantity:
            return False
        factor = answer.unit.factor / gold.unit.factor
        return _close(gold.value, answer.value * factor, gold, answer)
    if gold.percent != answer.percent:
        percent, other = (gold, answer) if gold.percent else (answer, gold)
        if percent.value / 100 == other.value:
            return True
        return abs(percent.value) >= 1 and percent.value == other.value
    return _close(gold.value, answer.value, gold, answer)


def _close(gold: Fraction, answer: Fraction, first: Number, second: Number) -> bool:
    if gold == answer:
        return True
    if answer != second.value:
        return False  # A converted unit: exact only.
    return _rounded(gold, first, second) or _rounded(answer, second, first)


def _rounded(exact: Fraction, of: Number, decimal: Number) -> bool:
    """Whether a decimal is a rounding of a number that has no finite decimal form."""
    if of.places >= 0 or decimal.places < 0 or decimal.digits < LEAST_DIGITS or _finite(exact):
        return False
    return abs(exact - decimal.value) <= Fraction(1, 2) / Fraction(10) ** decimal.places


def _finite(value: Fraction) -> bool:
    under = value.denominator
    for prime in (2, 5):
        while under % prime == 0:
            under //= prime
    return under == 1

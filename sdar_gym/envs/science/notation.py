"""Notation of quantities: parses a number and the factors of its unit, in plain text, Unicode or LaTeX.

A strict grammar over a text of bounded length: nothing is evaluated, nesting and exponents are bounded, and whatever
does not fit is refused. Only a number, names of units and whole exponents leave this module.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

# Longer texts are no quantity.
LONGEST = 200
_DEEPEST = 8
_LARGEST_EXPONENT = 9
Factors = tuple[tuple[str, int], ...]

# Spellings of units by the symbol that they are compared as; plurals and capitals are found by `_symbol`.
_SPELLINGS = {
    **{"meter": "m", "metre": "m", "kilometer": "km", "kilometre": "km", "centimeter": "cm", "centimetre": "cm"},
    **{"millimeter": "mm", "millimetre": "mm", "second": "s", "sec": "s", "minute": "min", "hour": "h", "hr": "h"},
    **{"day": "d", "year": "yr", "gram": "g", "gramme": "g", "kilogram": "kg", "milligram": "mg", "mole": "mol"},
    **{"liter": "L", "litre": "L", "milliliter": "mL", "millilitre": "mL", "l": "L", "ml": "mL", "molar": "M"},
    **{"newton": "N", "joule": "J", "kilojoule": "kJ", "watt": "W", "kilowatt": "kW", "volt": "V", "ampere": "A"},
    **{"amp": "A", "milliampere": "mA", "milliamp": "mA", "kelvin": "K", "celsius": "degC", "fahrenheit": "degF"},
    **{"pascal": "Pa", "kilopascal": "kPa", "atmosphere": "atm", "hertz": "Hz", "percent": "%", "becquerel": "Bq"},
    **{"Ω": "ohm", "ohm": "ohm", "kilohm": "kohm", "kiloohm": "kohm", "torr": "torr", "°": "degree"},
}
_POWERS_BEFORE = {"square": 2, "sq": 2, "cubic": 3}
_POWERS_AFTER = {"squared": 2, "cubed": 3}
_DEGREES = ("°", "deg", "degree", "degrees")
_SCALES = {"c": "degC", "celsius": "degC", "f": "degF", "fahrenheit": "degF", "k": "K", "kelvin": "K"}

_SUPERSCRIPTS = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+")
_LATEX = (
    (re.compile(r"\\Omega(?![a-zA-Z])"), "Ω"),
    (re.compile(r"\\mu(?![a-zA-Z])\s*"), "μ"),
    (re.compile(r"\\[tdc]?frac\{\s*([0-9.]+)\s*\}\{\s*([0-9.]+)\s*\}"), r"\1/\2"),
    (re.compile(r"\\[tdc]?frac(?![a-zA-Z])"), "\x00"),
    (re.compile(r"\^\s*\{?\s*\\circ\s*\}?"), "°"),
    # Without a space in its place: a prefix may stand in a command of its own, as in `\mathrm{k}\Omega`.
    (re.compile(r"\\(?:text|mathrm|textrm|mathit|mathbf|mbox|operatorname)\s*\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\(?:text|mathrm|textrm|mathit|mathbf|mbox|rm|bf|operatorname|left|right)(?![a-zA-Z])"), ""),
    (re.compile(r"\\(?:[,;:! ]|quad(?![a-zA-Z]))|~"), " "),
    (re.compile(r"\\(?:times|cdot|ast)(?![a-zA-Z])"), "*"),
    (re.compile(r"\\(?:degree|circ)(?![a-zA-Z])"), "°"),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"\\[()\[\]]|\$"), " "),
    (re.compile(r"\{,\}"), ","),
)
_SIGNS = str.maketrans("−–‒×✕⨯·⋅•∙÷{}", "---*******/()")
_ABOUT = re.compile(r"(?:about|approximately|approx\.?|roughly|ca\.)(?![a-z])|≈", re.IGNORECASE)
_NUMBER = re.compile(
    r"""\(?\s*(?P<sign>[+-]?)\s*
    (?: (?P<grouped>[0-9]{1,3}(?:(?P<by>[,' ])[0-9]{3})(?:(?P=by)[0-9]{3})*(?:\.[0-9]+)?)(?![0-9])
      | (?P<comma>[0-9]+,[0-9]+)
      | (?P<plain>[0-9]+(?:\.[0-9]*)?|\.[0-9]+) )
    (?: [eE](?P<e>[+-]?[0-9]{1,3})(?![0-9])
      | \s*[*xX]\s*10\s*(?:\^|\*\*)\s*(?P<ten>[+-]?[0-9]{1,3}|\(\s*[+-]?[0-9]{1,3}\s*\))
      | \s*/\s*(?P<below>[0-9]+(?:\.[0-9]+)?) )?""",
    re.VERBOSE,
)
_POWER_OF_TEN = re.compile(r"(?P<sign>[+-]?)10\s*(?:\^|\*\*)\s*(?P<ten>[+-]?[0-9]{1,3}|\(\s*[+-]?[0-9]{1,3}\s*\))")
_TOKEN = re.compile(
    r"(?P<space>\s+)|(?P<name>[^\W\d_]+|[°%])|(?P<power>\^|\*\*)|(?P<times>\*)|(?P<over>/)"
    r"|(?P<open>\()|(?P<close>\))|(?P<whole>[+-]?[0-9]{1,2}(?![0-9.,]))|(?P<fraction>\x00)"
)
Token = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Written:
    """A quantity as it is written.

    Attributes:
        value: Its number.
        units: The factors of its unit, sorted. `J/mol K` has two readings, of which the first takes one factor after a
            slash below it, and the second all.
        unit: The text of its unit, in plain form; empty without one.
    """

    value: float
    units: tuple[Factors, ...]
    unit: str


def read_quantity(text: str) -> Written | None:
    """Parse a quantity such as `3.0 × 10^8 m/s`; None for anything else. Of an equation, the right side counts."""
    if len(text) > LONGEST:
        return None
    text = _plain(text)
    text = max(text.rpartition("="), text.rpartition("≈"), key=lambda parts: len(parts[0]))[2].strip()
    about = _ABOUT.match(text)
    text = text[about.end() :].strip() if about else text
    power = _POWER_OF_TEN.match(text)
    found = power or _NUMBER.match(text)
    if found is None:
        return None
    value = _value_of_power(found) if power else _value(found)
    rest = text[found.end() :].lstrip()
    if not power and found.group().startswith("("):
        # A number in brackets of its own, as in `{3.0} m`.
        rest, closed = (rest[1:], True) if rest.startswith(")") else (rest, False)
        if not closed:
            return None
    rest = rest.strip().rstrip(".,;!").strip()
    units = _readings(rest)
    return None if value is None or units is None else Written(value, units, rest)


def unit_readings(text: str) -> tuple[Factors, ...] | None:
    """Readings of a unit, without its number; None if it is none. An empty text has one reading, without factors."""
    return None if len(text) > LONGEST else _readings(_plain(text))


@lru_cache(maxsize=1024)
def _readings(text: str) -> tuple[Factors, ...] | None:
    """See `unit_readings`, of a text in plain form."""
    tokens = _tokens(text)
    if tokens is None:
        return None
    if not tokens:
        return ((),)
    readings: list[Factors] = []
    for all_below in (False, True):
        factors = _Units(tokens, all_below).read()
        if factors is None:
            return None
        if factors not in readings:
            readings.append(factors)
    return tuple(readings)


def _plain(text: str) -> str:
    """The text without LaTeX, superscripts and typographic signs."""
    text = _SUPERSCRIPTS.sub(lambda found: "^" + unicodedata.normalize("NFKC", found.group()), text)
    text = unicodedata.normalize("NFKC", text)
    text = text.replace("\x00", "?")  # It stands for a fraction below.
    if any(sign in text for sign in "\\${~"):
        for pattern, plain in _LATEX:
            text = pattern.sub(plain, text)
    return text.translate(_SIGNS).strip()


def _value(found: re.Match[str]) -> float | None:
    if found["grouped"] and not (found["by"] == "," and found["grouped"].startswith("0,")):
        digits = found["grouped"].replace(found["by"], "")
    else:
        # `1,5` and `0,125` have a decimal comma: a thousands separator stands between groups of three digits.
        digits = (found["grouped"] or found["comma"] or found["plain"]).replace(",", ".")
    exponent = found["e"] or (found["ten"] or "0").strip("() ")
    try:
        value = float(f"{found['sign']}{digits}e{exponent}") / float(found["below"] or 1)
    except (ValueError, ZeroDivisionError):
        return None
    return value if math.isfinite(value) else None


def _value_of_power(found: re.Match[str]) -> float | None:
    value = float(f"{found['sign']}1e{found['ten'].strip('() ')}")
    return value if math.isfinite(value) else None


def _tokens(text: str) -> list[Token] | None:
    tokens: list[Token] = []
    place = 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            return None
        tokens.append((found.lastgroup or "", found.group()))
        place = found.end()
    return list(_joined(tokens))


def _joined(tokens: list[Token]) -> Iterator[Token]:
    """The tokens with `°` and `C` (`degrees Celsius`) as one name, and `per` as a slash."""
    place = 0
    while place < len(tokens):
        kind, text = tokens[place]
        place += 1
        if kind == "name" and text in _DEGREES:
            after = place + (place < len(tokens) and tokens[place][0] == "space")
            scale = tokens[after][1].lower() if after < len(tokens) else ""
            if scale in _SCALES:
                yield "name", _SCALES[scale]
                place = after + 1
                continue
        if kind == "name" and text == "per":
            kind, text = "over", "/"
        yield kind, text


class _Units:
    """Parser of a product of units; `all_below` puts everything after a slash below it, up to the next one."""

    def __init__(self, tokens: list[Token], all_below: bool):
        self._tokens = tokens
        self._all_below = all_below
        self._place = 0

    def read(self) -> Factors | None:
        try:
            factors = self._product(0)
        except ValueError:
            return None
        if self._place < len(self._tokens) or any(abs(power) > _LARGEST_EXPONENT for power in factors.values()):
            return None
        return tuple(sorted((name, power) for name, power in factors.items() if power))

    def _kind(self) -> str:
        return self._tokens[self._place][0] if self._place < len(self._tokens) else ""

    def _take(self, *kinds: str) -> bool:
        taken = self._kind() in kinds
        self._place += taken
        return taken

    def _product(self, depth: int) -> Counter[str]:
        if depth > _DEEPEST:
            raise ValueError("nested too deeply")
        result: Counter[str] = Counter()
        self._take("space")
        sign = -1 if self._take("over") else 1
        while True:
            self._take("space")
            for name, power in self._factor(depth).items():
                result[name] += sign * power
            self._take("space")
            if self._take("over"):
                sign = -1
            elif self._take("times") or self._kind() in ("name", "open", "fraction"):
                sign = sign if self._all_below else 1
            else:
                return result

    def _factor(self, depth: int) -> Counter[str]:
        kind = self._kind()
        text = self._tokens[self._place][1] if kind else ""
        self._place += 1
        if kind == "open":
            factors = self._product(depth + 1)
            if not self._take("close"):
                raise ValueError("a bracket is not closed")
        elif kind == "fraction":
            factors = self._factor(depth + 1)
            factors.subtract(self._factor(depth + 1))
        elif kind == "name" and text in _POWERS_BEFORE:
            self._take("space")
            factors = _raised(self._factor(depth + 1), _POWERS_BEFORE[text])
        elif kind == "name":
            factors = Counter({_symbol(text): 1})
        elif (kind, text) == ("whole", "1") and self._kind() in ("over", "space"):
            factors = Counter()
        else:
            raise ValueError("no unit")
        return _raised(factors, self._exponent())

    def _exponent(self) -> int:
        after = self._place + (self._kind() == "space")
        if after < len(self._tokens) and self._tokens[after][1] in _POWERS_AFTER:
            self._place = after + 1
            return _POWERS_AFTER[self._tokens[after][1]]
        if self._kind() == "whole":
            self._place += 1
            return int(self._tokens[self._place - 1][1])
        if not self._take("power"):
            return 1
        self._take("space")
        brackets = self._take("open")
        if self._kind() != "whole":
            raise ValueError("an exponent is no whole number")
        power = int(self._tokens[self._place][1])
        self._place += 1
        if brackets and not self._take("close"):
            raise ValueError("a bracket is not closed")
        return power


def _raised(factors: Counter[str], power: int) -> Counter[str]:
    if abs(power) > _LARGEST_EXPONENT:
        raise ValueError("an exponent is too large")
    return Counter({name: exponent * power for name, exponent in factors.items()})


def _symbol(name: str) -> str:
    """The symbol of a unit's name in any spelling; a name that is not known stays."""
    if name in _SPELLINGS:
        return _SPELLINGS[name]
    if len(name) > 2:
        low = name.lower()
        for word in (low, low.removesuffix("s")):
            if word in _SPELLINGS:
                return _SPELLINGS[word]
    return name[:-1] + "ohm" if name.endswith("Ω") else name

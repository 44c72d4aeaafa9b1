"""Quantities: compares an answer with a number, a unit and a tolerance; other units are converted by `pint`."""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

from sdar_gym.envs.science.notation import Factors, read_quantity, unit_readings
from sdar_gym.extras import MissingExtraError, require

_log = logging.getLogger(__name__)
DEFAULT_TOLERANCE = 0.01
_PERCENT: Factors = (("%", 1),)
# The plain case, which needs neither the grammar nor pint.
_NUMBER_AND_UNIT = re.compile(r"([+-]?[0-9]{1,15}(?:\.[0-9]{1,15})?) (\S{1,20})")
# Names that pint writes otherwise.
_PINT_NAMES = {"%": "percent", "degC": "degree_Celsius", "degF": "degree_Fahrenheit"}
_LONGEST_NAME = 32


class Outcome(StrEnum):
    """Result of a comparison."""

    EQUAL = "equal"
    UNREADABLE = "unreadable"
    NO_UNIT = "no unit"
    UNKNOWN_UNIT = "unknown unit"
    OTHER_DIMENSION = "other dimension"
    OUTSIDE = "outside the tolerance"
    UNCHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class Quantity:
    """A quantity with its tolerance.

    Attributes:
        value: Its number.
        unit: Its unit, as it is written; empty without one.
        tolerance: Largest deviation, as a fraction of the value.
    """

    value: float
    unit: str = ""
    tolerance: float = DEFAULT_TOLERANCE

    def admits(self, value: float) -> bool:
        """Whether a number in the same unit is within the tolerance."""
        # A little more than the tolerance, so that its ends count in spite of rounding.
        return abs(value - self.value) <= self.tolerance * abs(self.value) * (1 + 1e-9) + 1e-300


@dataclass(frozen=True, slots=True)
class Scale:
    """A unit in base units: `base = factor * value + offset`.

    Attributes:
        factor: Base units in one.
        offset: Zero point in base units; only temperatures have one.
        dimensions: Exponents of the base dimensions, sorted.
    """

    factor: float
    offset: float
    dimensions: tuple[tuple[str, float], ...]


def compare(answer: str, expected: Quantity) -> Outcome:
    """Compare an answer with a quantity; takes bounded time, and never raises.

    Units that are written otherwise than the expected one are converted by `pint`, which the extra `science` installs;
    without it such an answer is `UNCHECKED`.

    Args:
        answer: Any text.
        expected: What it should be.
    """
    plain = _NUMBER_AND_UNIT.fullmatch(answer)
    if plain is not None and plain[2] == expected.unit:
        return _outcome(expected.admits(float(plain[1])))
    written = read_quantity(answer)
    wanted = unit_readings(expected.unit)
    if written is None or wanted is None:
        return Outcome.UNREADABLE
    if wanted[0] in written.units:
        return _outcome(expected.admits(written.value))
    if not written.units[0]:
        if wanted[0] != _PERCENT:
            return Outcome.NO_UNIT
        return _outcome(expected.admits(written.value * 100))
    try:
        return _converted(written.value, written.units, wanted[0], expected)
    except MissingExtraError as error:
        _say_once(str(error))
        return Outcome.UNCHECKED


def check_unit(unit: str) -> None:
    """Check that a problem's unit can be converted.

    Raises:
        ValueError: It is not a unit, or unknown.
        MissingExtraError: `pint` is not installed.
    """
    readings = unit_readings(unit)
    if readings is None or scale_of(readings[0]) is None:
        raise ValueError(f"{unit!r} is not a unit that is known; write it as m/s^2 or mol/L")


def _converted(value: float, units: tuple[Factors, ...], wanted: Factors, expected: Quantity) -> Outcome:
    target = scale_of(wanted)
    readings = [scale for scale in map(scale_of, units) if scale is not None]
    if target is None or not readings:
        return Outcome.UNKNOWN_UNIT
    for scale in readings:
        if scale.dimensions == target.dimensions:
            number = (value * scale.factor + scale.offset - target.offset) / target.factor
            return _outcome(math.isfinite(number) and expected.admits(number))
    return Outcome.OTHER_DIMENSION


@lru_cache(maxsize=8)
def _say_once(message: str) -> None:
    """Log a warning, once a process: an answer that may be right counts as wrong."""
    _log.warning("An answer in another unit counts as wrong. %s", message)


def _outcome(admitted: bool) -> Outcome:
    return Outcome.EQUAL if admitted else Outcome.OUTSIDE


@lru_cache(maxsize=1024)
def scale_of(factors: Factors) -> Scale | None:
    """The scale of a unit, given as its factors; None if a name in it is unknown.

    Raises:
        MissingExtraError: `pint` is not installed.
    """
    product = 1.0
    offset = 0.0
    dimensions: Counter[str] = Counter()
    for name, power in factors:
        unit = _named(name)
        if unit is None:
            return None
        try:
            product *= unit.factor**power
        except (OverflowError, ZeroDivisionError):
            return None
        # In a product, as in J/(kg °C), a degree is a difference of temperatures.
        offset = unit.offset if factors == ((name, 1),) else 0.0
        for dimension, exponent in unit.dimensions:
            dimensions[dimension] += exponent * power  # pyright: ignore[reportArgumentType]
    if not (math.isfinite(product) and product > 0):
        return None
    return Scale(product, offset, tuple(sorted((name, power) for name, power in dimensions.items() if power)))


@lru_cache(maxsize=4096)
def _named(name: str) -> Scale | None:
    """The scale of one unit by its name, which is the only thing that pint is given."""
    registry = _registry()
    if len(name) > _LONGEST_NAME:
        return None
    found = registry.parse_unit_name(_PINT_NAMES.get(name, name))
    if not found:
        return None
    # `amps` could be attometers per second, too: a name without a prefix comes first.
    prefix, unit, _ = min(found, key=lambda parts: len(parts[0]))
    try:
        at_0, at_1, at_2 = (registry.Quantity(x, prefix + unit).to_base_units().magnitude for x in (0.0, 1.0, 2.0))
        dimensions = registry.get_dimensionality(prefix + unit)
    except Exception:  # pint raises many kinds for units that cannot be converted, such as prefixes of offset units.
        return None
    factor = float(at_1) - float(at_0)
    # Logarithmic units, such as decibels, are none that a tolerance could be compared in.
    if not (math.isfinite(factor) and factor > 0 and math.isclose(float(at_2) - float(at_1), factor, rel_tol=1e-9)):
        return None
    return Scale(factor, float(at_0), tuple(sorted((str(key), float(power)) for key, power in dimensions.items())))


@lru_cache(maxsize=1)
def _registry() -> Any:
    """The registry of units, one a process; opened with the first answer that needs it."""
    require("science", "Comparing quantities in other units than the expected one")
    import pint

    return pint.UnitRegistry()

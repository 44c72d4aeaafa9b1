"""Quantities: disputes about numbers and units are decided rightly, hostile texts in bounded time."""

from __future__ import annotations

import random
import time

import pytest

from sdar_gym.envs.science import quantities
from sdar_gym.envs.science.notation import LONGEST, read_quantity, unit_readings
from sdar_gym.envs.science.quantities import Outcome, Quantity, check_unit, compare
from sdar_gym.extras import MissingExtraError

EQUAL: list[tuple[str, float, str]] = [
    # The number.
    ("3 m/s", 3, "m/s"),
    ("3.0 m/s.", 3, "m/s"),
    ("+3 m/s", 3, "m/s"),
    ("−3 m/s", -3, "m/s"),
    (".5 m", 0.5, "m"),
    ("3.0 × 10^8 m/s", 3e8, "m/s"),
    ("3.0×10⁸ m/s", 3e8, "m/s"),
    ("3.0e8 m/s", 3e8, "m/s"),
    ("3E+8 m/s", 3e8, "m/s"),
    ("3.0 x 10^8 m/s", 3e8, "m/s"),
    ("5 * 10**3 m", 5000, "m"),
    ("10^-3 m", 0.001, "m"),
    ("10^{-3} m", 0.001, "m"),
    ("1,000 m", 1000, "m"),
    ("1,234,567.8 m", 1234567.8, "m"),
    ("1 000 m", 1000, "m"),
    ("1\u202f234\u202f567 m", 1234567, "m"),
    ("1{,}000 m", 1000, "m"),
    ("1,5 m", 1.5, "m"),
    ("0,125 m", 0.125, "m"),
    ("3/4 m", 0.75, "m"),
    (r"\frac{3}{4}\text{ m}", 0.75, "m"),
    ("３ ｍ", 3, "m"),
    ("v = 12/4 = 3 m/s", 3, "m/s"),
    ("about 3 m/s", 3, "m/s"),
    ("≈ 3 m/s", 3, "m/s"),
    # The same unit in other notations.
    ("3 m s⁻¹", 3, "m/s"),
    ("3 m·s^{-1}", 3, "m/s"),
    ("3 m s-1", 3, "m/s"),
    (r"3\text{ m/s}", 3, "m/s"),
    (r"$3\,\mathrm{m\,s^{-1}}$", 3, "m/s"),
    (r"0.5\ \mathrm{mol\,L^{-1}}", 0.5, "mol/L"),
    (r"3\ \frac{m}{s}", 3, "m/s"),
    ("3 meters per second", 3, "m/s"),
    ("3 Meter per second squared", 3, "m/s^2"),
    ("5 square meters", 5, "m^2"),
    ("5 Ω", 5, "ohm"),
    ("5 Ohms", 5, "ohm"),
    ("5 kΩ", 5, "kohm"),
    ("25 °C", 25, "°C"),
    ("25 degrees Celsius", 25, "°C"),
    (r"25^{\circ}\text{C}", 25, "°C"),
    (r"5\,\mathrm{k}\Omega", 5, "kohm"),
    (r"5\,\mu\mathrm{g}", 5, "μg"),
    (r"5\,\mu g", 5, "µg"),
    ("45 %", 45, "%"),
    (r"45\%", 45, "%"),
    ("0.45", 45, "%"),
    ("75.3 J/mol K", 75.3, "J/(mol K)"),
    ("2", 2, ""),
]
CONVERTED: list[tuple[str, float, str]] = [
    ("10.8 km/h", 3, "m/s"),
    ("5 µg", 5e-6, "g"),
    ("5 μg", 5e-6, "g"),
    ("5 ug", 5e-6, "g"),
    ("0.5 M", 0.5, "mol/L"),
    ("500 mmol/dm³", 0.5, "mol/L"),
    ("25 °C", 298.15, "K"),
    ("298.15 K", 25, "°C"),
    ("77 °F", 25, "°C"),
    ("101.325 kPa·L", 101.325, "J"),
    ("1 atm", 101.325, "kPa"),
    ("75.3 J/(mol·°C)", 75.3, "J/(mol K)"),
    ("5 amps", 5000, "mA"),
    ("5 N·m", 5, "J"),
    ("5 cm3", 5, "mL"),
    ("60 1/s", 60, "Hz"),
    ("45%", 0.45, ""),
    ("1.8 kohm", 1800, "Ω"),
]
WRONG: list[tuple[str, float, str, Outcome]] = [
    ("3", 3, "m", Outcome.NO_UNIT),
    ("3 m/s^2", 3, "m/s", Outcome.OTHER_DIMENSION),
    ("3 m", 3, "", Outcome.OTHER_DIMENSION),
    ("3 kg", 3, "m", Outcome.OTHER_DIMENSION),
    ("3 km", 3, "m", Outcome.OUTSIDE),
    ("3.04 m", 3, "m", Outcome.OUTSIDE),
    ("-3 m", 3, "m", Outcome.OUTSIDE),
    ("45", 45, "%", Outcome.OUTSIDE),
    ("25 K", 25, "°C", Outcome.OUTSIDE),
    ("0.1 m", 0, "m", Outcome.OUTSIDE),
    ("3 blorps", 3, "m", Outcome.UNKNOWN_UNIT),
    ("3 dB", 3, "", Outcome.UNKNOWN_UNIT),
    ("3 你好", 3, "m", Outcome.UNKNOWN_UNIT),
    *((text, 3.0, "m", Outcome.UNREADABLE) for text in (
        *("", "m", "three m", "3 m or 4 m", "3 m, 4 m", "3 ± 1 m", "2-3 m", "> 3 m", "1/0 m", "1e999 m", "NaN m"),
        *("9**9**9 m", "3 m^99", "3 m^9^9", "3 m^2.5", "3 m^", "3 m/", "3 (m", "3 m)", "(3 m", "3.0×108 m"),
        *("3 __import__", "__import__('os').system('x')", "3 m; import os", "3 m.__class__", "٣ m", "3\x00m"),
        *("inf m", "1,23,456 m", "3 m\nm 3 m"),
        *("3 " + "(" * 20 + "m" + ")" * 20, "3 m^(1/2)", "3 m-1-1", "lambda: 3", "[3] m", "3 {m} {s"),
    )),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "value", "unit"), EQUAL)
def test_another_notation_is_equal_without_pint(
    answer: str, value: float, unit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantities, "_registry", lambda: pytest.fail("pint was used"))
    assert compare(answer, Quantity(value, unit)) == Outcome.EQUAL


@pytest.mark.parametrize(("answer", "value", "unit"), CONVERTED)
def test_another_unit_is_equal_after_conversion(answer: str, value: float, unit: str) -> None:
    pytest.importorskip("pint")
    assert compare(answer, Quantity(value, unit, 1e-4)) == Outcome.EQUAL


@pytest.mark.parametrize(("answer", "value", "unit", "outcome"), WRONG)
def test_what_is_wrong_has_its_own_reason(answer: str, value: float, unit: str, outcome: Outcome) -> None:
    pytest.importorskip("pint")
    assert compare(answer, Quantity(value, unit)) == outcome


def test_rounding_is_forgiven_within_the_tolerance_and_its_ends() -> None:
    assert compare("2.97 m", Quantity(3, "m")) == compare("3.03 m", Quantity(3, "m")) == Outcome.EQUAL
    assert compare("3.031 m", Quantity(3, "m")) == Outcome.OUTSIDE
    assert compare("3.1 m", Quantity(3, "m", 0.05)) == Outcome.EQUAL
    assert compare("3.0001 m", Quantity(3, "m", 0)) == Outcome.OUTSIDE
    assert compare("0 m", Quantity(0, "m")) == Outcome.EQUAL


def test_a_slash_before_two_units_has_both_readings() -> None:
    below, after = (("J", 1), ("K", -1), ("mol", -1)), (("J", 1), ("K", 1), ("mol", -1))
    assert unit_readings("J/mol K") == (after, below)
    assert unit_readings("J/(mol K)") == unit_readings("J mol⁻¹ K⁻¹") == (below,)
    assert unit_readings("kg m/s") == ((("kg", 1), ("m", 1), ("s", -1)),)
    assert unit_readings("m/m") == unit_readings("") == ((),)


def test_pint_is_given_nothing_but_names(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pint")
    registry, asked = quantities._registry(), []
    parse = type(registry).parse_unit_name

    def listening(self: object, name: str) -> object:
        asked.append(name)
        return parse(registry, name)

    monkeypatch.setattr(type(registry), "parse_unit_name", listening)
    quantities._named.cache_clear()
    quantities.scale_of.cache_clear()
    for answer, _, _, _ in WRONG:
        compare(answer, Quantity(3, "hectare"))
    assert {"blorps", "hectare"} <= set(asked)
    assert all(name.replace("_", "").isalpha() for name in asked), asked


def test_products_of_units_are_those_of_pint_s_own_parser() -> None:
    registry = pytest.importorskip("pint").UnitRegistry()
    rng = random.Random(7)
    names = [
        "m",
        "km",
        "s",
        "ms",
        "min",
        "h",
        "kg",
        "mg",
        "N",
        "kPa",
        "J",
        "V",
        "mA",
        "ohm",
        "mol",
        "L",
        "K",
        "atm",
        "eV",
    ]
    compared = 0
    for _ in range(600):
        parts = [(rng.choice(names), rng.choice((-2, -1, 1, 2))) for _ in range(rng.randrange(1, 5))]
        spellings = (rng.choice((f"{name}^{power}", f"{name}^{{{power}}}", f"{name}{power}")) for name, power in parts)
        ours = rng.choice((" ", "·", "*", r"\cdot ")).join(spellings)
        theirs = registry.Quantity(7.5, "*".join(f"{name}**({power})" for name, power in parts)).to_base_units()
        base = {str(name): int(power) for name, power in theirs.unit_items()}
        if any(abs(power) > 9 for power in base.values()):
            continue
        expected = Quantity(theirs.magnitude, "*".join(f"{name}^{power}" for name, power in base.items()), 1e-9)
        assert compare(f"7.5 {ours}", expected) == Outcome.EQUAL, (ours, expected)
        assert compare(f"7.6 {ours}", expected) == Outcome.OUTSIDE
        compared += 1
    assert compared > 400


HOSTILE = (
    *("9" * 10**6, "(" * 10**6, "m" * 10**6, "\\frac" * 10**5, "1," * 10**5, "⁹" * 10**6, "ﷺ" * 10**6),
    *("\ud800" * 10**5, "3 m " * 10**5, "3 " + " " * 10**6 + "m"),
    *(
        "3 " + piece * (LONGEST // len(piece) - 2)
        for piece in ("m", "(", ")", "m ", "m/", "^", "square ", "per ", "°", "m^9")
    ),
    *(
        piece * (LONGEST // len(piece))
        for piece in ("1 ", "1,111", "10^", "\\frac", "{", "\\text{", "ﷺ", "⁹", "=", "1e9", "\x00")
    ),
)


def test_hostile_texts_take_bounded_time() -> None:
    begun = time.process_time()
    for text in HOSTILE:
        assert compare(text, Quantity(3, "m")) != Outcome.EQUAL
        assert unit_readings(text[:LONGEST]) is None or len(text) > 2
    # A pattern that backtracks, or an evaluated power, would take hours.
    assert time.process_time() - begun < 3


def test_a_factor_that_is_no_finite_number_is_unknown() -> None:
    pytest.importorskip("pint")
    assert compare("3 Qm^9 Qm^9 Qs^9 Qkg^9", Quantity(3, "m")) in (Outcome.UNKNOWN_UNIT, Outcome.UNREADABLE)
    assert compare("3 qm^9 qs^9 qA^9 qK^9", Quantity(3, "m")) == Outcome.UNKNOWN_UNIT


def test_without_pint_another_unit_is_not_checked_and_once_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sdar_gym.extras.missing_modules", lambda extra: ["pint"])
    for cache in (quantities._registry, quantities._named, quantities.scale_of, quantities._say_once):
        cache.cache_clear()
    for _ in range(2):
        assert compare("10.8 km/h", Quantity(3, "m/s")) == Outcome.UNCHECKED
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.endswith('pip install "sdar-gym[science]"')
    assert compare("3 m s^-1", Quantity(3, "m/s")) == Outcome.EQUAL
    assert compare("3", Quantity(3, "m/s")) == Outcome.NO_UNIT
    with pytest.raises(MissingExtraError, match=r'pip install "sdar-gym\[science\]"'):
        check_unit("m/s")


def test_a_problem_with_an_unknown_unit_is_refused() -> None:
    pytest.importorskip("pint")
    check_unit("mol/(L s)")
    for unit in ("blorp", "m^", "3", "m or s"):
        with pytest.raises(ValueError, match="is not a unit that is known; write it as m/s"):
            check_unit(unit)


def test_a_read_quantity_has_its_unit_as_text() -> None:
    written = read_quantity(r"x = 3{,}5\,\mathrm{km/h}")
    assert written is not None and written.unit.strip("()") == "km/h" and written.value == 3.5

"""Gas laws: Boyle, Charles, Gay-Lussac, and the ideal gas."""

from __future__ import annotations

from random import Random

from sdar_gym.envs.draws import pick, whole
from sdar_gym.envs.problems.embedded import Family
from sdar_gym.envs.science.drafting import Law, ScienceDraft, Slip, Worked, drafted, num, proportion, tenths, until

_GASES = ("xenon", "helium", "air", "neon", "nitrogen", "argon")
_LAWS = (
    Law(
        "boyle pressure",
        ("p2", "p1 V1", "V2"),
        "",
        ("atm", "atm", "L"),
        "At a constant temperature p1*V1 is p2*V2.",
        (
            "At constant temperature {who} at {a} goes from {b} to {c}. Find the new pressure.",
            "{who} has a pressure of {a} in {b}. What is it in {c} at the same temperature?",
            "At a fixed temperature {b} of {who} at {a} become {c}. What is the pressure then?",
        ),
        _GASES,
    ),
    Law(
        "boyle volume",
        ("V2", "V1 p1", "p2"),
        "",
        ("L", "L", "atm"),
        "At a constant temperature p1*V1 is p2*V2.",
        (
            "At constant temperature {a} of {who} go from {b} to {c}. Find the new volume.",
            "{who} fills {a} at {b}. What does it fill at {c} and the same temperature?",
            "At a fixed temperature {a} of {who} at {b} come to {c}. What is the volume then?",
        ),
        _GASES,
    ),
)
_ZERO = 273.15
_R = 8.314
# Molar masses in g/mol, rounded. Source: IUPAC standard atomic weights.
_MOLAR = {"He": 4.0, "N2": 28.0, "O2": 32.0, "CO2": 44.0, "CH4": 16.0, "Ar": 39.9}


def _heated(rng: Random, kind: str) -> ScienceDraft | None:
    """Charles's or Gay-Lussac's law: volume or pressure is proportional to the absolute temperature."""
    volume = kind == "charles"
    x, unit = (tenths(rng, 5, 95), "L") if volume else (whole(rng, 80, 400), "kPa")
    symbol = "V" if volume else "p"
    t1, t2 = whole(rng, 5, 60), whole(rng, 5, 160)

    def work(celsius: bool = False, inverse: bool = False) -> Worked:
        zero = 0 if celsius else _ZERO
        first, second = t1 + zero, t2 + zero
        result = x * first / second if inverse else x * second / first
        ratio = f"{symbol}1*T1/T2" if inverse else f"{symbol}1*T2/T1"
        return [
            f"T1={t1}" if celsius else f"T1={t1}+273.15={first:.2f} K",
            f"T2={t2}" if celsius else f"T2={t2}+273.15={second:.2f} K",
            f"{symbol}2={ratio}={num(result)} {unit}",
        ], result

    slips = (
        Slip("celsius", 1, f"The temperature was left in °C; {t1} °C is {t1 + _ZERO:.2f} K."),
        Slip("inverse", 3, f"The ratio is upside down; {symbol}2 is {symbol}1*T2/T1."),
    )
    if volume:
        wordings = (
            "{x} of a gas at {t1} are brought to {t2} at constant pressure. What is the new volume in L?",
            "A gas fills {x} at {t1}. Find its volume in L at {t2} and the same pressure.",
            "At constant pressure a gas goes from {t1} to {t2}. It filled {x}; how many liters does it fill then?",
        )
    else:
        wordings = (
            "A closed bottle of gas at {x} and {t1} is brought to {t2}. What is the new pressure in kPa?",
            "In a rigid tank the pressure is {x} at {t1}. Find it in kPa at {t2}.",
            "At constant volume a gas goes from {t1} to {t2}. Its pressure was {x}; what is it then, in kPa?",
        )
    given = {"x": f"{num(x)} {unit}", "t1": f"{t1} °C", "t2": f"{t2} °C"}
    return drafted(rng, kind, wordings, given, unit, work, slips)


def _ideal_pressure(rng: Random) -> ScienceDraft | None:
    moles, t, liters = tenths(rng, 2, 50), whole(rng, 5, 90), tenths(rng, 10, 300)

    def work(celsius: bool = False, times: bool = False) -> Worked:
        kelvin = t if celsius else t + _ZERO
        product = moles * _R * kelvin
        pressure = product * liters if times else product / liters
        return [
            f"T={t}" if celsius else f"T={t}+273.15={kelvin:.2f} K",
            f"n*R*T={num(moles)}*8.314*{kelvin:g}={num(product)}",
            f"p=n*R*T{'*' if times else '/'}V={num(pressure)} kPa",
        ], pressure

    slips = (
        Slip("celsius", 1, f"The temperature was left in °C; {t} °C is {t + _ZERO:.2f} K."),
        Slip("times", 3, "It was multiplied by the volume; p is n*R*T/V."),
    )
    wordings = (
        "What is the pressure, in kPa, of {n} of an ideal gas in {v} at {t}? Use R = 8.314 kPa L/(mol K).",
        "{n} of an ideal gas are in {v} at {t}. Find the pressure in kPa (R = 8.314 kPa L/(mol K)).",
        "With R = 8.314 kPa L/(mol K), what pressure in kPa do {n} of gas have in {v} at {t}?",
    )
    given = {"n": f"{num(moles)} mol", "v": f"{num(liters)} L", "t": f"{t} °C"}
    return drafted(rng, "ideal gas pressure", wordings, given, "kPa", work, slips)


def _ideal_volume(rng: Random) -> ScienceDraft | None:
    gas = pick(rng, tuple(_MOLAR))
    molar = _MOLAR[gas]
    grams, t, pressure = whole(rng, 2, 90), whole(rng, 5, 90), whole(rng, 80, 300)

    def work(gram: bool = False, celsius: bool = False, inverse: bool = False) -> Worked:
        moles = grams if gram else molar / grams if inverse else grams / molar
        kelvin = t if celsius else t + _ZERO
        volume = moles * _R * kelvin / pressure
        first = f"n={grams}" if gram else f"n=M/m={num(moles)} mol" if inverse else f"n=m/M={num(moles)} mol"
        return [
            first,
            f"T={t}" if celsius else f"T={t}+273.15={kelvin:.2f} K",
            f"V=n*R*T/p={num(volume)} L",
        ], volume

    slips = (
        Slip("celsius", 2, f"The temperature was left in °C; {t} °C is {t + _ZERO:.2f} K."),
        Slip("gram", 1, f"Grams were taken for moles; {grams} g are {num(grams / molar)} mol."),
        Slip("inverse", 1, "The ratio is upside down; n is m/M."),
    )
    wordings = (
        "What volume, in L, do {mass} of {who} ({molar}) fill at {p} and {t}? Use R = 8.314 kPa L/(mol K).",
        "{mass} of {who} ({molar}) are at {t} and {p}. Find the volume in L (R = 8.314 kPa L/(mol K)).",
        "With R = 8.314 kPa L/(mol K), how many liters are {mass} of {who} ({molar}) at {p} and {t}?",
    )
    given = {"mass": f"{grams} g", "molar": f"{num(molar)} g/mol", "p": f"{pressure} kPa", "t": f"{t} °C"}
    return drafted(rng, "ideal gas volume", wordings, given, "L", work, slips, words={"who": gas})


def _draw(rng: Random, level: int) -> ScienceDraft:
    if level == 1:
        return proportion(rng, pick(rng, _LAWS))
    if level == 2:
        kind = pick(rng, ("charles", "gay-lussac"))
        return until(lambda: _heated(rng, kind))
    ideal = pick(rng, (_ideal_pressure, _ideal_volume))
    return until(lambda: ideal(rng))


GAS_LAWS = Family("gas_laws", 3, _draw)

"""Circuits: Ohm's law, resistors in series and in parallel, power and energy."""

from __future__ import annotations

from random import Random

from sdar_gym.envs.draws import pick, whole
from sdar_gym.envs.problems.embedded import Family
from sdar_gym.envs.science.drafting import Law, ScienceDraft, Slip, Worked, drafted, num, one_operation, tenths, until

_PARTS = ("resistor", "lamp", "heater", "wire", "coil", "motor")
_LAWS = (
    Law(
        "voltage",
        ("U", "R", "I"),
        "*",
        ("V", "ohm", "A"),
        "Voltage is resistance times current.",
        (
            "A {who} of {a} carries {b}. Find the voltage.",
            "What voltage drives {b} through a {who} of {a}?",
            "{b} flow through a {who} of {a}. Which voltage is across it?",
        ),
        _PARTS,
    ),
    Law(
        "current",
        ("I", "U", "R"),
        "/",
        ("A", "V", "ohm"),
        "Current is voltage over resistance.",
        (
            "A {who} of {b} is at {a}. Find the current.",
            "What current flows through a {who} of {b} at {a}?",
            "A battery of {a} feeds a {who} of {b}. How large is the current?",
        ),
        _PARTS,
    ),
    Law(
        "resistance",
        ("R", "U", "I"),
        "/",
        ("ohm", "V", "A"),
        "Resistance is voltage over current.",
        (
            "A {who} at {a} carries {b}. Find its resistance.",
            "What is the resistance of a {who} that takes {b} at {a}?",
            "{a} drive {b} through a {who}. How large is its resistance?",
        ),
        _PARTS,
    ),
    Law(
        "series",
        ("R", "R1", "R2"),
        "+",
        ("ohm", "ohm", "ohm"),
        "Resistances in series add up.",
        (
            "A {who} of {a} and one of {b} are in series. Find the total resistance.",
            "What is the resistance of {a} and {b} in series?",
            "In a row: a {who} of {a}, a {who} of {b}. Total resistance?",
        ),
        _PARTS,
    ),
)


def _parallel_whole(rng: Random) -> ScienceDraft | None:
    a, b = whole(rng, 2, 30), whole(rng, 2, 30)

    def work(added: bool = False, undivided: bool = False) -> Worked:
        total, product = a + b, a * b
        if added:
            return ["R=R1+R2", f"{a}+{b}={total}"], total
        if undivided:
            return ["R=R1*R2", f"{a}*{b}={product}"], product
        steps = [
            "R=R1*R2/(R1+R2)",
            f"{a}*{b}={product}",
            f"{a}+{b}={total}",
            f"{product}/{total}={num(product / total)}",
        ]
        return steps, product / total

    if a * b > 400:
        return None
    rule = "In parallel the resistance is R1*R2/(R1+R2)."
    slips = (
        Slip("added", 1, f"The resistances were added. {rule}"),
        Slip("undivided", 1, f"The division by the sum is missing. {rule}"),
    )
    wordings = (
        "A {who} of {a} and one of {b} are in parallel. Find the total resistance.",
        "What is the resistance of {a} and {b} in parallel?",
        "Side by side: a {who} of {a}, a {who} of {b}. Total resistance?",
    )
    given = {"a": f"{a} ohm", "b": f"{b} ohm"}
    return drafted(rng, "parallel", wordings, given, "ohm", work, slips, whole=True, words={"who": pick(rng, _PARTS)})


def _current_in_units(rng: Random) -> ScienceDraft | None:
    volts, kilohms = whole(rng, 3, 48), tenths(rng, 12, 99)

    def work(kilo: bool = False, times: bool = False) -> Worked:
        r = kilohms * (1 if kilo else 1000)
        current = volts * r if times else volts / r
        sign = "*" if times else "/"
        first = f"R={num(r)}" if kilo else f"R={num(kilohms)} kohm={num(r)} ohm"
        return [first, f"I=U{sign}R={num(current)} A", f"I={num(current * 1000)} mA"], current * 1000

    slips = (
        Slip("kilo", 1, f"The resistance was left in kilohms; {num(kilohms)} kohm is {num(kilohms * 1000)} ohm."),
        Slip("times", 2, "Voltage and resistance were multiplied; current is voltage over resistance."),
    )
    wordings = (
        "What current, in mA, flows through {resistance} at {voltage}?",
        "A resistor of {resistance} is connected to {voltage}. Find the current in mA.",
        "{voltage} are put across {resistance}. How many milliamperes flow?",
    )
    given = {"voltage": f"{volts} V", "resistance": f"{num(kilohms)} kohm"}
    return drafted(rng, "current", wordings, given, "mA", work, slips)


def _parallel(rng: Random) -> ScienceDraft | None:
    a, b, c = (whole(rng, 5, 95) for _ in range(3))

    def work(added: bool = False, reciprocal: bool = False, omitted: bool = False) -> Worked:
        if added:
            return [f"R=R1+R2+R3={a}+{b}+{c}={a + b + c} ohm"], a + b + c
        parts = (a, b) if omitted else (a, b, c)
        inverse = sum(1 / part for part in parts)
        terms = "+".join(f"1/{part}" for part in parts)
        result = inverse if reciprocal else 1 / inverse
        return [
            f"1/R={terms}={num(inverse)}",
            f"R={num(inverse)} ohm" if reciprocal else f"R=1/{num(inverse)}={num(result)} ohm",
        ], result

    slips = (
        Slip("added", 1, "The resistances were added, as in series; in parallel their reciprocals add up."),
        Slip("omitted", 1, "One of the three resistors was left out."),
        Slip("reciprocal", 2, "The sum of the reciprocals is 1/R, not R; its reciprocal was not taken."),
    )
    wordings = (
        "Resistors of {a}, {b} and {c} are connected in parallel. Find their total resistance.",
        "What single resistor replaces {a}, {b} and {c} in parallel?",
        "In parallel are three resistors: {a}, {b}, {c}. Give the resistance of all together in ohm.",
    )
    given = {"a": f"{a} ohm", "b": f"{b} ohm", "c": f"{c} ohm"}
    return drafted(rng, "three in parallel", wordings, given, "ohm", work, slips)


def _power(rng: Random) -> ScienceDraft | None:
    volts, ohms = whole(rng, 5, 230), whole(rng, 5, 99)

    def work(unsquared: bool = False, times: bool = False) -> Worked:
        square = volts if unsquared else volts * volts
        power = square * ohms if times else square / ohms
        return [
            f"U^2={square}",
            f"P=U^2{'*' if times else '/'}R={square}{'*' if times else '/'}{ohms}={num(power)} W",
        ], power

    slips = (
        Slip("unsquared", 1, "The voltage was not squared; power is U^2 / R."),
        Slip("times", 2, "It was multiplied by the resistance; power is U^2 / R."),
    )
    wordings = (
        "What power, in W, does a {who} of {resistance} take at {voltage}?",
        "A {who} of {resistance} is connected to {voltage}. Find its power in W.",
        "At {voltage}, how many watts does a {who} of {resistance} turn into heat?",
    )
    given = {"voltage": f"{volts} V", "resistance": f"{ohms} ohm"}
    words = {"who": pick(rng, ("heater", "resistor", "lamp"))}
    return drafted(rng, "power", wordings, given, "W", work, slips, words=words)


def _network(rng: Random) -> ScienceDraft | None:
    volts, r1, r2, r3 = whole(rng, 5, 48), whole(rng, 2, 60), whole(rng, 4, 90), whole(rng, 4, 90)

    def work(added: bool = False, omitted: bool = False, times: bool = False) -> Worked:
        pair = r2 + r3 if added else r2 * r3 / (r2 + r3)
        total = pair if omitted else r1 + pair
        current = volts * total if times else volts / total
        return [
            f"R23=R2+R3={pair} ohm" if added else f"R23=R2*R3/(R2+R3)={num(pair)} ohm",
            f"R=R23={num(total)} ohm" if omitted else f"R=R1+R23={num(total)} ohm",
            f"I=U{'*' if times else '/'}R={num(current)} A",
        ], current

    slips = (
        Slip("added", 1, "The parallel resistors were added as if in series; use R2*R3/(R2+R3)."),
        Slip("omitted", 2, "The resistor in series was left out; it adds to the parallel pair."),
        Slip("times", 3, "Voltage and resistance were multiplied; current is voltage over resistance."),
    )
    wordings = (
        "{r1} is in series with {r2} and {r3} in parallel, at {voltage}. What current, in A, does the source give?",
        "A source of {voltage} feeds {r1}, followed by {r2} and {r3} in parallel. Find the total current in A.",
        "Behind {r1} the current splits into {r2} and {r3}. The source has {voltage}. Find its current in A.",
    )
    given = {"voltage": f"{volts} V", "r1": f"{r1} ohm", "r2": f"{r2} ohm", "r3": f"{r3} ohm"}
    return drafted(rng, "network", wordings, given, "A", work, slips)


def _energy(rng: Random) -> ScienceDraft | None:
    volts, milliamps, minutes = whole(rng, 3, 24), 10 * whole(rng, 5, 95), whole(rng, 4, 90)

    def work(milli: bool = False, minute: bool = False, over: bool = False) -> Worked:
        i, t = milliamps / (1 if milli else 1000), minutes * (1 if minute else 60)
        power = volts / i if over else volts * i
        energy = power * t
        return [
            f"I={num(i)}" if milli else f"I={milliamps} mA={num(i)} A",
            f"P=U{'/' if over else '*'}I={num(power)} W",
            f"E=P*t={num(power)}*{t}={num(energy)} J",
        ], energy

    slips = (
        Slip("milli", 1, f"The current was left in mA; {milliamps} mA is {num(milliamps / 1000)} A."),
        Slip("over", 2, "Voltage was divided by current; power is voltage times current."),
        Slip("minute", 3, f"The time was left in minutes; {minutes} min is {minutes * 60} s."),
    )
    wordings = (
        "A {who} takes {current} at {voltage} for {time}. How much energy, in J, is that?",
        "Find the energy in joules that a {who} uses in {time} at {voltage} and {current}.",
        "For {time} a current of {current} flows through a {who} at {voltage}. What energy in J does it take?",
    )
    given = {"voltage": f"{volts} V", "current": f"{milliamps} mA", "time": f"{minutes} min"}
    words = {"who": pick(rng, ("lamp", "radio", "fan", "sensor"))}
    return drafted(rng, "energy", wordings, given, "J", work, slips, words=words)


_KINDS = {2: (_current_in_units, _parallel, _power), 3: (_network, _energy)}


def _draw(rng: Random, level: int) -> ScienceDraft:
    if level == 1:
        law = pick(rng, (*_LAWS, None))
        return until(lambda: _parallel_whole(rng)) if law is None else one_operation(rng, law)
    kind = pick(rng, _KINDS[level])
    return until(lambda: kind(rng))


CIRCUITS = Family("circuits", 3, _draw)

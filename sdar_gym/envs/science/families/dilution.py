"""Dilution: concentrations, stock solutions and mixtures."""

from __future__ import annotations

from random import Random

from sdar_gym.envs.draws import pick, whole
from sdar_gym.envs.problems.embedded import Family
from sdar_gym.envs.science.drafting import Law, ScienceDraft, Slip, Worked, drafted, num, proportion, tenths, until

_SOLUTES = ("acid", "salt", "sugar", "dye", "base", "soap")
_LAWS = (
    Law(
        "dilution",
        ("c2", "c1 V1", "V2"),
        "",
        ("M", "M", "L"),
        "The amount stays: c1*V1 is c2*V2.",
        (
            "{b} of {a} {who} are filled up to {c}. Find the new concentration.",
            "{b} of {a} {who} become {c}. What is the concentration then?",
            "{who} of {a}: {b} are diluted to {c}. Which concentration results?",
        ),
        _SOLUTES,
        "c",
    ),
    Law(
        "dilution volume",
        ("V2", "V1 c1", "c2"),
        "",
        ("L", "L", "M"),
        "The amount stays: c1*V1 is c2*V2.",
        (
            "To what volume must {a} of {b} {who} be diluted for {c}?",
            "{a} of {b} {who} shall become {c}. Find the final volume.",
            "{who}: {a} of {b} are diluted to {c}. What is the volume then?",
        ),
        _SOLUTES,
        "b",
    ),
)
# Molar masses in g/mol. Source: IUPAC standard atomic weights.
_MOLAR = {"NaCl": 58.4, "KCl": 74.6, "NaOH": 40.0, "glucose": 180.2, "CuSO4": 159.6, "KNO3": 101.1}


def _stock(rng: Random) -> ScienceDraft | None:
    strong, weak, liters = tenths(rng, 20, 120), tenths(rng, 1, 19), tenths(rng, 2, 25)

    def work(liter: bool = False, inverse: bool = False) -> Worked:
        ml = liters * (1 if liter else 1000)
        volume = strong * ml / weak if inverse else weak * ml / strong
        return [
            f"V2={num(ml)}" if liter else f"V2={num(liters)} L={num(ml)} mL",
            f"V1={'c1*V2/c2' if inverse else 'c2*V2/c1'}={num(volume)} mL",
        ], volume

    slips = (
        Slip("inverse", 2, "The ratio is upside down; V1 is c2*V2/c1, less than V2."),
        Slip("liter", 1, f"The volume was left in L; {num(liters)} L is {num(liters * 1000)} mL."),
    )
    wordings = (
        "How many mL of {strong} stock solution are needed for {volume} of {weak}?",
        "{volume} of a solution of {weak} are made from a stock of {strong}. What volume of stock is taken, in mL?",
        "A stock has {strong}. Find the volume of it, in mL, that gives {volume} of {weak}.",
    )
    given = {"strong": f"{num(strong)} mol/L", "weak": f"{num(weak)} mol/L", "volume": f"{num(liters)} L"}
    return drafted(rng, "stock", wordings, given, "mL", work, slips)


def _solute(rng: Random) -> ScienceDraft | None:
    solute = pick(rng, tuple(_MOLAR))
    molar, conc, ml = _MOLAR[solute], tenths(rng, 1, 30), 10 * whole(rng, 5, 90)

    def work(milli: bool = False, over: bool = False) -> Worked:
        liters = ml / (1 if milli else 1000)
        moles = conc * liters
        mass = moles / molar if over else moles * molar
        return [
            f"V={ml}" if milli else f"V={ml} mL={num(liters)} L",
            f"n=c*V={num(conc)}*{num(liters)}={num(moles)} mol",
            f"m=n{'/' if over else '*'}M={num(mass)} g",
        ], mass

    slips = (
        Slip("milli", 1, f"The volume was left in mL; {ml} mL is {num(ml / 1000)} L."),
        Slip("over", 3, "The amount was divided by the molar mass; the mass is n*M."),
    )
    wordings = (
        "What mass of {who} ({molar}), in g, is in {volume} of a solution of {conc}?",
        "How many grams of {who} (molar mass {molar}) make {volume} of a solution of {conc}?",
        "{volume} of a {who} solution of {conc} are wanted. Find the mass of {who} ({molar}) in g.",
    )
    given = {"molar": f"{num(molar)} g/mol", "conc": f"{num(conc)} mol/L", "volume": f"{ml} mL"}
    return drafted(rng, "solute", wordings, given, "g", work, slips, words={"who": solute})


def _water_added(rng: Random) -> ScienceDraft | None:
    conc, ml, added = tenths(rng, 2, 60), 5 * whole(rng, 2, 60), 5 * whole(rng, 4, 90)

    def work(alone: bool = False, inverse: bool = False) -> Worked:
        total = added if alone else ml + added
        result = conc * total / ml if inverse else conc * ml / total
        return [
            f"V2=Va={added} mL" if alone else f"V2=V1+Va={ml}+{added}={total} mL",
            f"c2={'c1*V2/V1' if inverse else 'c1*V1/V2'}={num(result)} mol/L",
        ], result

    slips = (
        Slip("alone", 1, f"The added water was taken for the whole volume; that is {ml + added} mL."),
        Slip("inverse", 2, "The ratio is upside down; c2 is c1*V1/V2, less than c1."),
    )
    wordings = (
        "{added} of water are added to {volume} of a solution of {conc}. What is its concentration then, in mol/L?",
        "To {volume} of {conc} one adds {added} of water. Find the new concentration in mol/L.",
        "A solution ({volume}, {conc}) gets {added} of water. Which concentration in mol/L results?",
    )
    given = {"conc": f"{num(conc)} mol/L", "volume": f"{ml} mL", "added": f"{added} mL"}
    return drafted(rng, "water added", wordings, given, "mol/L", work, slips)


def _mixture(rng: Random) -> ScienceDraft | None:
    c1, c2, v1, v2 = tenths(rng, 2, 60), tenths(rng, 2, 60), 5 * whole(rng, 2, 60), 5 * whole(rng, 2, 60)

    def work(average: bool = False, added: bool = False, first: bool = False) -> Worked:
        if average:
            result = (c1 + c2) / 2
            return [f"c=(c1+c2)/2={num(result)} mol/L"], result
        amount = c1 * v1 + c2 * v2
        total = v1 if first else v1 + v2
        result = c1 + c2 if added else amount / total
        return [
            f"n=c1*V1+c2*V2={num(amount)} mmol",
            f"V={'V1' if first else 'V1+V2'}={total} mL",
            f"c={'c1+c2' if added else 'n/V'}={num(result)} mol/L",
        ], result

    slips = (
        Slip("average", 1, "The concentrations were averaged without their volumes."),
        Slip("added", 3, "The concentrations were added; the concentration is n/V."),
        Slip("first", 2, f"The second volume is missing; together it is {v1 + v2} mL."),
    )
    wordings = (
        "{v1} of a solution of {c1} and {v2} of {c2} of the same salt are mixed. Find the concentration in mol/L.",
        "What is the concentration, in mol/L, of a mixture of {v1} of {c1} and {v2} of {c2} of one solute?",
        "One mixes {v1} ({c1}) with {v2} ({c2}) of the same acid. Which concentration in mol/L results?",
    )
    given = {"c1": f"{num(c1)} mol/L", "v1": f"{v1} mL", "c2": f"{num(c2)} mol/L", "v2": f"{v2} mL"}
    return drafted(rng, "mixture", wordings, given, "mol/L", work, slips)


_KINDS = {2: (_stock, _solute), 3: (_water_added, _mixture)}


def _draw(rng: Random, level: int) -> ScienceDraft:
    if level == 1:
        return proportion(rng, pick(rng, _LAWS))
    kind = pick(rng, _KINDS[level])
    return until(lambda: kind(rng))


DILUTION = Family("dilution", 3, _draw)

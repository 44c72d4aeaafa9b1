"""Stoichiometry: ratios of moles, masses of substances, limiting reactants."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from sdar_gym.envs.draws import pick, whole
from sdar_gym.envs.problems.embedded import Family
from sdar_gym.envs.science.drafting import ScienceDraft, Slip, Worked, drafted, num, tenths, until


@dataclass(frozen=True, slots=True)
class Reaction:
    """A balanced reaction: coefficient and formula of each substance."""

    reactants: tuple[tuple[int, str], ...]
    products: tuple[tuple[int, str], ...]

    def __str__(self) -> str:
        return f"{_side(self.reactants)} -> {_side(self.products)}"


def _side(substances: tuple[tuple[int, str], ...]) -> str:
    return " + ".join(f"{count if count > 1 else ''}{formula}" for count, formula in substances)


REACTIONS = (
    Reaction(((1, "N2"), (3, "H2")), ((2, "NH3"),)),
    Reaction(((2, "H2"), (1, "O2")), ((2, "H2O"),)),
    Reaction(((1, "CH4"), (2, "O2")), ((1, "CO2"), (2, "H2O"))),
    Reaction(((1, "C3H8"), (5, "O2")), ((3, "CO2"), (4, "H2O"))),
    Reaction(((1, "C2H4"), (3, "O2")), ((2, "CO2"), (2, "H2O"))),
    Reaction(((4, "Al"), (3, "O2")), ((2, "Al2O3"),)),
    Reaction(((4, "Fe"), (3, "O2")), ((2, "Fe2O3"),)),
    Reaction(((2, "Al"), (3, "Cl2")), ((2, "AlCl3"),)),
    Reaction(((2, "Na"), (1, "Cl2")), ((2, "NaCl"),)),
    Reaction(((2, "Mg"), (1, "O2")), ((2, "MgO"),)),
    Reaction(((2, "CO"), (1, "O2")), ((2, "CO2"),)),
    Reaction(((2, "SO2"), (1, "O2")), ((2, "SO3"),)),
    Reaction(((4, "NH3"), (5, "O2")), ((4, "NO"), (6, "H2O"))),
    Reaction(((1, "Fe2O3"), (3, "CO")), ((2, "Fe"), (3, "CO2"))),
    Reaction(((2, "KClO3"),), ((2, "KCl"), (3, "O2"))),
    Reaction(((2, "H2O2"),), ((2, "H2O"), (1, "O2"))),
)
# Molar masses in g/mol to one decimal; problems state them. Source: IUPAC standard atomic weights.
MOLAR = {
    **{
        "N2": 28.0,
        "H2": 2.0,
        "NH3": 17.0,
        "O2": 32.0,
        "H2O": 18.0,
        "CH4": 16.0,
        "CO2": 44.0,
        "C3H8": 44.1,
        "C2H4": 28.1,
    },
    **{"Al": 27.0, "Al2O3": 102.0, "Fe": 55.8, "Fe2O3": 159.7, "Cl2": 70.9, "AlCl3": 133.3, "Na": 23.0, "NaCl": 58.4},
    **{"Mg": 24.3, "MgO": 40.3, "CO": 28.0, "SO2": 64.1, "SO3": 80.1, "NO": 30.0, "KClO3": 122.5, "KCl": 74.5},
    **{"H2O2": 34.0},
}


def _pair(rng: Random, alike: bool) -> tuple[Reaction, tuple[int, str], tuple[int, str]]:
    """A reaction with a reactant and another of its substances; with equal coefficients only if `alike`."""
    while True:
        reaction = pick(rng, REACTIONS)
        first = pick(rng, reaction.reactants)
        second = pick(rng, reaction.products)
        if alike or first[0] != second[0]:
            return (reaction, first, second) if rng.random() < 0.5 else (reaction, second, first)


def _ratio(rng: Random) -> ScienceDraft | None:
    reaction, (under, known), (over, wanted) = _pair(rng, alike=False)
    moles = whole(rng, 2, 24)

    def work(inverse: bool = False, equal: bool = False) -> Worked:
        if equal:
            return [f"n={moles}"], moles
        a, b = (under, over) if inverse else (over, under)
        steps = [f"n={moles}*{a}/{b}", f"{moles}*{a}={moles * a}", f"{moles * a}/{b}={num(moles * a / b)}"]
        return steps, moles * a / b

    if moles * over > 99:
        return None
    rule = f"{under} mol {known} go with {over} mol {wanted}."
    slips = (
        Slip("inverse", 1, f"The ratio is upside down. {rule}"),
        Slip("equal", 1, f"The ratio is missing. {rule}"),
    )
    wordings = (
        "{reaction}. How many mol of {wanted} go with {n} of {known}?",
        "{n} of {known} take part in {reaction}. Find the amount of {wanted}.",
        "In {reaction}, what amount of {wanted} belongs to {n} of {known}?",
    )
    words = {"reaction": str(reaction), "known": known, "wanted": wanted}
    given = {"n": f"{moles} mol"}
    draft = drafted(rng, f"ratio {over}/{under}", wordings, given, "mol", work, slips, whole=True, words=words)
    return draft


def _mass(rng: Random) -> ScienceDraft | None:
    reaction, (under, known), (over, wanted) = _pair(rng, alike=False)
    grams, m1, m2 = whole(rng, 5, 95), MOLAR[known], MOLAR[wanted]

    def work(equal: bool = False, inverse: bool = False, molar: bool = False) -> Worked:
        n1 = grams / m1
        a, b = (under, over) if inverse else (over, under)
        n2 = n1 if equal else n1 * a / b
        mass = n2 * (m1 if molar else m2)
        return [
            f"n({known})={grams}/{num(m1)}={num(n1)} mol",
            f"n({wanted})={num(n1)}{'' if equal else f'*{a}/{b}'}={num(n2)} mol",
            f"m({wanted})={num(n2)}*{num(m1 if molar else m2)}={num(mass)} g",
        ], mass

    rule = f"{under} mol {known} go with {over} mol {wanted}."
    slips = (
        Slip("equal", 2, f"The ratio of the moles is missing; {rule}"),
        Slip("inverse", 2, f"The ratio of the moles is upside down; {rule}"),
        Slip("molar", 3, f"The molar mass of {known} was used; that of {wanted} is {num(m2)} g/mol."),
    )
    wordings = (
        "{reaction}. What mass of {wanted} ({m2}), in g, goes with {mass} of {known} ({m1})?",
        "{mass} of {known} (molar mass {m1}) take part in {reaction}. Find the mass of {wanted} ({m2}) in g.",
        "In {reaction}, how many grams of {wanted} (molar mass {m2}) belong to {mass} of {known} ({m1})?",
    )
    words = {"reaction": str(reaction), "known": known, "wanted": wanted}
    given = {"mass": f"{grams} g", "m1": f"{num(m1)} g/mol", "m2": f"{num(m2)} g/mol"}
    return drafted(rng, f"mass {over}/{under}", wordings, given, "g", work, slips, words=words)


def _limiting(rng: Random) -> ScienceDraft | None:
    reaction = pick(rng, tuple(reaction for reaction in REACTIONS if len(reaction.reactants) == 2))
    (count1, first), (count2, second) = reaction.reactants
    over, wanted = pick(rng, reaction.products)
    n1, n2, molar = tenths(rng, 5, 90), tenths(rng, 5, 90), MOLAR[wanted]

    def work(excess: bool = False, equal: bool = False, fewer: bool = False) -> Worked:
        share1, share2 = n1 / count1, n2 / count2
        by_first = (n1 < n2) if fewer else (share1 < share2) != excess
        share = share1 if by_first else share2
        moles = (n1 if by_first else n2) if equal else share * over
        mass = moles * molar
        return [
            f"{first}: {num(n1)}/{count1}={num(share1)}; {second}: {num(n2)}/{count2}={num(share2)}",
            f"limiting: {first if by_first else second}",
            f"n({wanted})={num(moles)} mol" if equal else f"n({wanted})={num(share)}*{over}={num(moles)} mol",
            f"m({wanted})={num(moles)}*{num(molar)}={num(mass)} g",
        ], mass

    slips = (
        Slip("fewer", 2, "The reactant with fewer moles was taken; compare moles over coefficient."),
        Slip("excess", 2, "The reactant in excess was taken; the smaller of moles over coefficient limits."),
        Slip("equal", 3, "The coefficients were left out."),
    )
    wordings = (
        "{reaction}. {n1} of {first} meet {n2} of {second}. What mass of {wanted} ({molar}), in g, can form?",
        "From {n1} of {first} and {n2} of {second}, how many grams of {wanted} ({molar}) form by {reaction}?",
        "{n1} of {first} and {n2} of {second} react: {reaction}. Find the largest mass of {wanted} ({molar}) in g.",
    )
    words = {"reaction": str(reaction), "first": first, "second": second, "wanted": wanted}
    given = {"n1": f"{num(n1)} mol", "n2": f"{num(n2)} mol", "molar": f"{num(molar)} g/mol"}
    return drafted(rng, f"limiting {count1}:{count2}:{over}", wordings, given, "g", work, slips, words=words)


_KINDS = {1: _ratio, 2: _mass, 3: _limiting}


def _draw(rng: Random, level: int) -> ScienceDraft:
    return until(lambda: _KINDS[level](rng))


STOICHIOMETRY = Family("stoichiometry", 3, _draw)

"""Generated problems: each answer is recomputed by pint, mistakes are wrong and possible, level 1 is small."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from sdar_gym.envs.problems.embedded import Family
from sdar_gym.envs.science.drafting import ScienceDraft, num
from sdar_gym.envs.science.families.stoichiometry import MOLAR, REACTIONS
from sdar_gym.envs.science.generator import FAMILIES, LEVELS, embedded_problems
from sdar_gym.envs.science.quantities import Outcome, Quantity, compare

pint = pytest.importorskip("pint")
CASES = [(family, level) for family in FAMILIES for level in range(1, family.levels + 1)]
NAMES = [f"{family.name}-{level}" for family, level in CASES]
UNITS: Any = pint.UnitRegistry()
DRAWS = 400
Given = Callable[[str], Any]


def ratio(kind: str) -> float:
    over, under = kind.split()[1].split("/")
    return int(over) / int(under)


def limited(kind: str, q: Given) -> Any:
    first, second, product = map(int, kind.split()[1].split(":"))
    return min(q("n1") / first, q("n2") / second) * product * q("molar")


def mixture(q: Given) -> Any:
    return (q("c1") * q("v1") + q("c2") * q("v2")) / (q("v1") + q("v2"))


def network(q: Given) -> Any:
    return q("voltage") / (q("r1") + 1 / (1 / q("r2") + 1 / q("r3")))


R = UNITS.Quantity(8.314, "kPa*L/(mol*K)")
# Each law, written independently of the generator.
LAWS: dict[str, Callable[[str, Given], Any]] = {
    **{"speed": lambda k, q: q("a") / q("b"), "distance": lambda k, q: q("a") * q("b")},
    **{"time": lambda k, q: q("a") / q("b"), "force": lambda k, q: q("a") * q("b")},
    **{"acceleration": lambda k, q: q("a") / q("b"), "average speed": lambda k, q: q("distance") / q("time")},
    **{"weight": lambda k, q: q("mass") * q("g"), "work": lambda k, q: q("force") * q("distance")},
    "kinetic energy": lambda k, q: q("mass") * q("speed") ** 2 / 2,
    "centripetal force": lambda k, q: 2 * q("mass") * q("speed") ** 2 / q("diameter"),
    "braking distance": lambda k, q: q("speed") ** 2 / (2 * q("slowing")),
    **{"boyle pressure": lambda k, q: q("a") * q("b") / q("c"), "boyle volume": lambda k, q: q("a") * q("b") / q("c")},
    **{"charles": lambda k, q: q("x") * q("t2") / q("t1"), "gay-lussac": lambda k, q: q("x") * q("t2") / q("t1")},
    "ideal gas pressure": lambda k, q: q("n") * R * q("t") / q("v"),
    "ideal gas volume": lambda k, q: q("mass") / q("molar") * R * q("t") / q("p"),
    "ratio": lambda k, q: q("n") * ratio(k),
    "mass": lambda k, q: q("mass") / q("m1") * ratio(k) * q("m2"),
    "limiting": limited,
    **{"dilution": lambda k, q: q("a") * q("b") / q("c"), "dilution volume": lambda k, q: q("a") * q("b") / q("c")},
    "stock": lambda k, q: q("weak") * q("volume") / q("strong"),
    "solute": lambda k, q: q("conc") * q("volume") * q("molar"),
    "water added": lambda k, q: q("conc") * q("volume") / (q("volume") + q("added")),
    "mixture": lambda k, q: mixture(q),
    **{"halvings": lambda k, q: left(q, "start"), "remaining": lambda k, q: left(q, "start")},
    "age": lambda k, q: q("half") * -math.log2(q("left").to("").magnitude),
    "half-life": lambda k, q: q("time") / math.log2((q("start") / q("end")).to("").magnitude),
    **{"voltage": lambda k, q: q("a") * q("b"), "current": lambda k, q: current(q)},
    **{"resistance": lambda k, q: q("a") / q("b"), "series": lambda k, q: q("a") + q("b")},
    "parallel": lambda k, q: 1 / (1 / q("a") + 1 / q("b")),
    "three in parallel": lambda k, q: 1 / (1 / q("a") + 1 / q("b") + 1 / q("c")),
    "power": lambda k, q: q("voltage") ** 2 / q("resistance"),
    "network": lambda k, q: network(q),
    "energy": lambda k, q: q("voltage") * q("current") * q("time"),
}


def left(q: Given, start: str) -> Any:
    return q(start) * 0.5 ** (q("time") / q("half")).to("").magnitude


def current(q: Given) -> Any:
    try:
        return q("voltage") / q("resistance")
    except KeyError:
        return q("a") / q("b")


def recomputed(draft: ScienceDraft) -> Any:
    """The answer by the law of its kind, from the quantities of the text alone."""

    def quantity(name: str) -> Any:
        number, _, unit = draft.given[name].partition(" ")
        names = {"°C": "degree_Celsius", "%": "percent"}
        return UNITS.Quantity(float(number), names.get(unit, unit)).to_base_units()

    law = LAWS.get(draft.kind) or LAWS[draft.kind.split()[0]]
    return law(draft.kind, quantity)


def drafts(family: Family[ScienceDraft], level: int, count: int) -> list[ScienceDraft]:
    rng = Random(f"test {family.name} {level}")
    return [family.draw(rng, level) for _ in range(count)]


@pytest.mark.parametrize(("family", "level"), CASES, ids=NAMES)
def test_every_answer_is_what_pint_computes_from_the_text(family: Family[ScienceDraft], level: int) -> None:
    for draft in drafts(family, level, DRAWS):
        assert all(written in draft.text for written in draft.given.values()), draft
        number, _, unit = draft.answer.partition(" ")
        expected = recomputed(draft).to(unit).magnitude
        assert float(number) == pytest.approx(expected, rel=6e-4), draft
        assert draft.steps[-1].split("=")[-1].split()[0] == number, draft


@pytest.mark.parametrize(("family", "level"), CASES, ids=NAMES)
def test_mistakes_are_other_procedures_with_results_that_can_be_told_apart(
    family: Family[ScienceDraft], level: int
) -> None:
    for draft in drafts(family, level, DRAWS):
        number, _, unit = draft.answer.partition(" ")
        right = Quantity(float(number), unit)
        assert draft.mistakes
        assert len({slip.answer for slip in draft.mistakes}) == len(draft.mistakes)
        for slip in draft.mistakes:
            assert compare(slip.answer, right) == Outcome.OUTSIDE, draft
            assert 1 <= slip.step <= len(draft.steps)
            assert slip.steps != draft.steps and slip.steps
            assert slip.reason.endswith(".") and float(slip.answer.split()[0]) > 0
            # Up to the step that fails the solution is the right one.
            assert slip.steps[: slip.step - 1] == draft.steps[: slip.step - 1], draft
            assert slip.steps[-1].split("=")[-1].split()[0] == slip.answer.split()[0], draft


@pytest.mark.parametrize(("family", "level"), CASES, ids=NAMES)
def test_values_are_possible(family: Family[ScienceDraft], level: int) -> None:
    for draft in drafts(family, level, DRAWS):
        for written in (*draft.given.values(), draft.answer):
            number, _, unit = written.partition(" ")
            assert float(number) > (-273.15 if unit == "°C" else 0)
            assert "e" not in number and len(number) <= 9
        if draft.kind == "dilution":
            assert float(draft.answer.split()[0]) < float(draft.given["a"].split()[0]), draft.text
        if draft.kind in ("dilution volume", "stock"):
            taken, made = draft.given.get("a", draft.answer), draft.given.get("volume", draft.answer)
            assert UNITS.Quantity(taken) < UNITS.Quantity(made), draft.text
        assert not re.search(r"(?<![0-9] )\b[Aa] [aeiou]", draft.text)
        for line in draft.steps:
            kelvin = re.search(r"=([0-9.]+) K$", line)
            assert kelvin is None or 273 < float(kelvin[1]) < 500


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_level_1_is_small(family: Family[ScienceDraft]) -> None:
    operation = re.compile(r"(\d+)([-+*/])(\d+)=(\d+)")
    for draft in drafts(family, 1, DRAWS):
        assert len(draft.text.split()) <= 20 and len(draft.text) <= 100 and draft.text.isascii(), draft.text
        assert all(re.fullmatch(r"\d{1,2} \S+", written) for written in draft.given.values()), draft.given
        assert 2 <= len(draft.steps) <= 4
        assert re.fullmatch(r"\d{1,3} \S+", draft.answer)
        for steps in (draft.steps, *(slip.steps for slip in draft.mistakes)):
            for line in steps:
                found = operation.fullmatch(line)
                if found:
                    a, sign, b, result = found.groups()
                    assert (
                        num(
                            {"-": int(a) - int(b), "+": int(a) + int(b), "*": int(a) * int(b), "/": int(a) / int(b)}[
                                sign
                            ]
                        )
                        == result
                    )
                else:
                    # A formula, or a value that is taken as it is.
                    assert re.fullmatch(r"\w+=[\w*/+()-]+", line), line


@pytest.mark.parametrize(("family", "level"), CASES, ids=NAMES)
def test_each_problem_has_at_least_three_wordings(family: Family[ScienceDraft], level: int) -> None:
    words: dict[str, set[str]] = {}
    for draft in drafts(family, level, DRAWS):
        kind = draft.kind.split()[0] if family.name == "stoichiometry" else draft.kind
        text = draft.text
        for written in sorted(draft.given.values(), key=len, reverse=True):
            text = text.replace(written, "#")
        words.setdefault(kind, set()).add(re.sub(r"[^#?.:,() ]+", "w", text))
    assert all(len(found) >= 3 for found in words.values()), words


def test_a_task_id_is_the_same_problem_in_every_process() -> None:
    problems = embedded_problems()
    problem = problems.load("train/mechanics/1/000000")
    assert problem.text == problems.load("train/mechanics/1/000000").text
    assert problem.solution == "\n".join((*problem.steps, f"<answer>{problem.answer}</answer>"))
    assert len(problems.task_ids("train")) == 400 * len(FAMILIES) * len(LEVELS)
    kinds = {problems.load(task_id).task_type for task_id in problems.task_ids("dev")}
    assert kinds == {"mechanics", "gas_laws", "stoichiometry", "dilution", "decay", "circuits"}


def test_reactions_are_balanced_and_their_molar_masses_agree() -> None:
    def atoms(side: tuple[tuple[int, str], ...]) -> dict[str, int]:
        total: dict[str, int] = {}
        for count, formula in side:
            for element, number in re.findall(r"([A-Z][a-z]?)(\d*)", formula):
                total[element] = total.get(element, 0) + count * int(number or 1)
        return total

    for reaction in REACTIONS:
        assert atoms(reaction.reactants) == atoms(reaction.products), str(reaction)
        masses = [
            sum(count * MOLAR[formula] for count, formula in side) for side in (reaction.reactants, reaction.products)
        ]
        assert masses[0] == pytest.approx(masses[1], rel=5e-3), str(reaction)


@pytest.mark.parametrize(
    ("value", "written"),
    [(3.0, "3"), (12.5, "12.5"), (8.33333, "8.333"), (74613.0, "74613"), (0.0123456, "0.01235"), (74613.4, "74610")],
)
def test_numbers_are_written_with_four_digits(value: float, written: str) -> None:
    assert num(value) == written

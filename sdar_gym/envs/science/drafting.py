"""Drafts of generated problems: one calculation gives the worked solution and, with a slip, each known mistake."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random

from sdar_gym.envs.draws import pick
from sdar_gym.envs.problems.embedded import Draft, Mistake

# A mistake whose result is closer to the answer than this (as a fraction) is none that can be told.
_FARTHER = 0.03
# Two mistakes with results closer than this are one.
_APART = 0.01
# A result that is off by more than this factor is left out.
_ABSURD = 1e4
Worked = tuple[list[str], float]


@dataclass(frozen=True, slots=True)
class Slip:
    """A wrong procedure.

    Attributes:
        name: The switch of the calculation that makes it.
        step: Number of the step in which it happens, from 1.
        reason: What went wrong, a sentence.
    """

    name: str
    step: int
    reason: str


@dataclass(frozen=True, slots=True)
class ScienceDraft(Draft):
    """A generated problem, with what is given in it.

    Attributes:
        kind: The law that it is about.
        given: Its quantities by name, as the text writes them.
    """

    kind: str = ""
    given: Mapping[str, str] = field(default_factory=dict)


def drafted(
    rng: Random,
    kind: str,
    wordings: Sequence[str],
    given: Mapping[str, str],
    unit: str,
    work: Callable[..., Worked],
    slips: Sequence[Slip],
    *,
    whole: bool = False,
    words: Mapping[str, str] | None = None,
) -> ScienceDraft | None:
    """Make a draft; None if its answer, or all of its mistakes, cannot be used.

    Args:
        rng: Draws the wording.
        kind: The law.
        wordings: Texts with the names of `given` and `words` in braces.
        given: Quantities of the problem.
        unit: Unit of the answer.
        work: The calculation: its steps and result. A switch that is named by a slip makes that mistake.
        slips: Wrong procedures; those with the right result, an impossible one or that of another slip are left out.
        whole: Whether all results must be whole numbers.
        words: Further words of the text.
    """
    steps, value = work()
    if value <= 0 or (whole and value != int(value)):
        return None
    mistakes: list[Mistake] = []
    results = [value]
    for slip in slips:
        wrong_steps, wrong = work(**{slip.name: True})
        apart = all(abs(wrong - other) > max(_APART, _FARTHER * (other == value)) * other for other in results)
        plausible = value / _ABSURD <= wrong <= value * _ABSURD
        if plausible and apart and not (whole and wrong != int(wrong)):
            results.append(wrong)
            mistakes.append(Mistake(slip.step, slip.reason, f"{num(wrong)} {unit}", tuple(wrong_steps)))
    if not mistakes:
        return None
    text = pick(rng, wordings).format(**given, **(words or {}))
    text = text[0].upper() + text[1:]
    return ScienceDraft(text, tuple(steps), f"{num(value)} {unit}", tuple(mistakes), kind, dict(given))


def until(draw: Callable[[], ScienceDraft | None]) -> ScienceDraft:
    """Draw until there is a draft."""
    while True:
        draft = draw()
        if draft is not None:
            return draft


def num(value: float) -> str:
    """A number with at most four significant digits, without an exponent; whole numbers in full."""
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return format(Decimal(f"{value:.4g}"), "f")


def tenths(rng: Random, low: int, high: int) -> float:
    """A number with one decimal from `low` to `high`, both in tenths."""
    return (low + int(rng.random() * (high - low + 1))) / 10


_SIGNS: dict[str, tuple[str, Callable[[float, float], float]]] = {
    "/": ("divided", lambda a, b: a / b),
    "*": ("multiplied", lambda a, b: a * b),
    "+": ("added", lambda a, b: a + b),
    "-": ("subtracted", lambda a, b: a - b),
}
# Operations that are taken instead of the right one.
_INSTEAD = {"/": "*-", "*": "+/", "+": "*-"}


@dataclass(frozen=True, slots=True)
class Law:
    """A law of level 1 with one operation, such as `v=d/t`.

    Attributes:
        kind: Its name.
        symbols: Result, left and right operand.
        sign: The operation: `/`, `*` or `+`.
        units: Units of the same.
        rule: The law in words, a sentence.
        wordings: Texts with `{a}`, `{b}` and, if there are some, `{who}`.
        who: Words for the thing that it is about.
        order: Of a proportion `x=a*b/c`, `b` or `c`, whichever has to be the larger one; empty if either can.
    """

    kind: str
    symbols: tuple[str, str, str]
    sign: str
    units: tuple[str, str, str]
    rule: str
    wordings: tuple[str, ...]
    who: tuple[str, ...] = ("thing",)
    order: str = ""


def one_operation(rng: Random, law: Law) -> ScienceDraft:
    """A problem of level 1: one operation with whole numbers of one or two digits."""
    result, left, right = law.symbols

    def draw() -> ScienceDraft | None:
        b, other = 2 + int(rng.random() * 8), 2 + int(rng.random() * 8)
        a = b * other if law.sign == "/" else other

        def work(**slip: bool) -> Worked:
            sign = next((name for name in slip if slip[name]), law.sign)
            value = _SIGNS[sign][1](a, b)
            return [f"{result}={left}{sign}{right}", f"{a}{sign}{b}={num(value)}"], value

        slips = [Slip(sign, 1, f"{left} and {right} were {_SIGNS[sign][0]}. {law.rule}") for sign in _INSTEAD[law.sign]]
        given = {"a": f"{a} {law.units[1]}", "b": f"{b} {law.units[2]}"}
        return drafted(
            rng,
            law.kind,
            law.wordings,
            given,
            law.units[0],
            work,
            slips,
            whole=True,
            words={"who": pick(rng, law.who)},
        )

    return until(draw)


def proportion(rng: Random, law: Law) -> ScienceDraft:
    """A problem of level 1 about `x=a*b/c`, with whole numbers; `symbols` are those of x, a, b, c, joined by spaces."""
    result, first, second, below = law.symbols[0], *law.symbols[1].split(), law.symbols[2]

    def draw() -> ScienceDraft | None:
        a, b, c = (2 + int(rng.random() * most) for most in (23, 8, 8))

        def work(inverse: bool = False, undivided: bool = False) -> Worked:
            over, under = (c, b) if inverse else (b, c)
            names = (below, second) if inverse else (second, below)
            product = a * over
            steps = [f"{result}={first}*{names[0]}" + ("" if undivided else f"/{names[1]}"), f"{a}*{over}={product}"]
            if undivided:
                return steps, product
            return [*steps, f"{product}/{under}={num(product / under)}"], product / under

        # Also upside down it has a whole result, so that the mistake can be told from the right answer.
        if a in (b, c) or b == c or max(a * b, a * c) > 99 or a * c % b or law.order == "bc"[b > c]:
            return None
        slips = [
            Slip("inverse", 1, f"The ratio is upside down. {law.rule}"),
            Slip("undivided", 1, f"The division by {below} is missing. {law.rule}"),
        ]
        given = {"a": f"{a} {law.units[1]}", "b": f"{b} {law.units[2]}", "c": f"{c} {law.units[2]}"}
        return drafted(
            rng,
            law.kind,
            law.wordings,
            given,
            law.units[0],
            work,
            slips,
            whole=True,
            words={"who": pick(rng, law.who)},
        )

    return until(draw)

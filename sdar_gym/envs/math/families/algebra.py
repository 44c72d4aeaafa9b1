"""Algebra: linear equations, systems of two equations, quadratic equations with integer roots."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from random import Random

from sdar_gym.envs.draws import pick, whole
from sdar_gym.envs.math.problems import MathDraft, drafted, draw_from
from sdar_gym.envs.problems.embedded import Family

_SOLVE = ("Solve {e}.", "Solve for x: {e}.", "Find x if {e}.", "What is x if {e}?")
_PAIR = (
    "Solve {e} and {f}. Give (x, y).",
    "Find the pair (x, y) with {e} and {f}.",
    "Which (x, y) satisfies {e} and {f}?",
    "{e} and {f}. What is (x, y)?",
)
_BOTH = (
    "Find all solutions of {e}.",
    "Solve {e}. Give both solutions.",
    "For which x is {e}? Give both values.",
    "What are the two roots of {e}?",
)
_LARGER = (
    "What is the larger solution of {e}?",
    "Find the larger root of {e}.",
    "Solve {e} and give the larger solution.",
    "Which is the larger x with {e}?",
)


def _plus(rng: Random) -> MathDraft | None:
    a, x, b = whole(rng, 2, 9), whole(rng, 1, 9), whole(rng, 1, 15)
    c = a * x + b
    d = c - b
    steps = f"{c}-{b}={d}", f"{d}/{a}={x}"
    taken = f"{c}-{b}={d}", f"{d}-{a}={d - a}"
    mistakes = [(2, f"Subtracted {a}, but x is multiplied by it, so divide.", taken)]
    return drafted(rng, f"plus {a} {b} {c}", _SOLVE, steps, mistakes, e=f"{a}x + {b} = {c}")


def _minus(rng: Random) -> MathDraft | None:
    a, x = whole(rng, 2, 9), whole(rng, 2, 9)
    b = whole(rng, 1, min(15, a * x - 1))
    c = a * x - b
    d = c + b
    steps = f"{c}+{b}={d}", f"{d}/{a}={x}"
    taken = f"{c}+{b}={d}", f"{d}-{a}={d - a}"
    mistakes = [(2, f"Subtracted {a}, but x is multiplied by it, so divide.", taken)]
    return drafted(rng, f"minus {a} {b} {c}", _SOLVE, steps, mistakes, e=f"{a}x - {b} = {c}")


def _quotient(rng: Random) -> MathDraft | None:
    a, d, b = whole(rng, 2, 9), whole(rng, 1, 9), whole(rng, 1, 9)
    c = d + b
    steps = f"{c}-{b}={d}", f"{d}*{a}={d * a}"
    first = f"{c}*{a}={c * a}", f"{c * a}-{b}={c * a - b}"
    mistakes = [(1, f"Multiplied by {a} first and left {b} as it was; subtract it first.", first)]
    return drafted(rng, f"quotient {a} {b} {c}", _SOLVE, steps, mistakes, e=f"x/{a} + {b} = {c}")


def _factor(rng: Random) -> MathDraft | None:
    a, x, b = whole(rng, 2, 9), whole(rng, 1, 9), whole(rng, 1, 9)
    d = x + b
    c = a * d
    if c > 99:
        return None
    steps = f"{c}/{a}={d}", f"{d}-{b}={x}"
    added = f"{c}/{a}={d}", f"{d}+{b}={d + b}"
    mistakes = [(2, f"Added {b}, but it is added to x, so subtract it.", added)]
    return drafted(rng, f"factor {a} {b} {c}", _SOLVE, steps, mistakes, e=f"{a}(x + {b}) = {c}")


def _sum_and_difference(rng: Random) -> MathDraft | None:
    y, x = whole(rng, 1, 30), whole(rng, 2, 40)
    if x <= y:
        return None
    s, d = x + y, x - y
    steps = f"{s}+{d}={s + d}", f"{s + d}/2={x}", f"{s}-{x}={y}"
    taken = f"{s}-{d}={s - d}", f"{s - d}/2={y}", f"{s}-{y}={x}"
    whole_sum = f"{s}+{d}={s + d}", f"{s}-{s + d}={-d}"

    def answer(lines: Sequence[str]) -> str:
        if len(lines) == 2:
            return f"({s + d}, {-d})"
        return f"({lines[1].rpartition('=')[2]}, {lines[2].rpartition('=')[2]})"

    mistakes = [
        (1, "Subtracted the equations, which gives 2y; adding them gives 2x.", taken),
        (2, "Adding the equations gives 2x, which has to be halved.", whole_sum),
    ]
    words = {"e": f"x + y = {s}", "f": f"x - y = {d}"}
    return drafted(rng, f"sum_and_difference {s} {d}", _PAIR, steps, mistakes, answer=answer, **words)


def _two_equations(rng: Random) -> MathDraft | None:
    a, b, x, y = whole(rng, 3, 9), whole(rng, 2, 8), whole(rng, 1, 12), whole(rng, 1, 12)
    if a <= b or x == y:
        return None
    c, s = a * x + b * y, x + y
    e, g = b * s, a - b
    f = c - e
    steps = f"{b}*{s}={e}", f"{c}-{e}={f}", f"{a}-{b}={g}", f"{f}/{g}={x}", f"{s}-{x}={y}"
    swapped = f"{b}*{s}={e}", f"{c}-{e}={f}", f"{a}-{b}={g}", f"{f}/{g}={x}", f"{s}-{x}={y}", f"x={y}"

    def answer(lines: Sequence[str]) -> str:
        return f"({y}, {x})" if len(lines) == 6 else f"({x}, {y})"

    mistakes = [(5, f"What is left after subtracting {b} times the second equation is x, not y.", swapped)]
    words = {"e": f"{a}x + {b}y = {c}", "f": f"x + y = {s}"}
    return drafted(rng, f"two_equations {a} {b} {c} {s}", _PAIR, steps, mistakes, answer=answer, **words)


def _both_sides(rng: Random) -> MathDraft | None:
    a, c, x, b = whole(rng, 3, 12), whole(rng, 2, 9), whole(rng, 1, 12), whole(rng, 1, 20)
    if a <= c:
        return None
    d = (a - c) * x + b
    e, f = a - c, d - b
    steps = f"{a}-{c}={e}", f"{d}-{b}={f}", f"{f}/{e}={x}"
    added = f"{a}+{c}={a + c}", f"{d}-{b}={f}", f"{f}/{a + c}={Fraction(f, a + c)}"
    mistakes = [(1, f"Added the multiples of x; {c}x has to be subtracted on both sides.", added)]
    key = f"both_sides {a} {b} {c} {d}"
    return drafted(rng, key, _SOLVE, steps, mistakes, e=f"{a}x + {b} = {c}x + {d}")


def _roots(rng: Random) -> MathDraft | None:
    s, p, high, low = _vieta(rng)
    if high == low or s <= 0:
        return None
    answer = _both if rng.random() < 0.5 else _first
    q = high - low
    steps = (
        *(f"{s}*{s}={s * s}", f"4*({p})={4 * p}", f"{s * s}-({4 * p})={q * q}", f"sqrt({q * q})={q}"),
        *(f"({s}+{q})/2={high}", f"({s}-{q})/2={low}"),
    )
    signs = *steps[:4], f"(-{s}+{q})/2={-low}", f"(-{s}-{q})/2={-high}"
    halved = *steps[:4], f"{s}+{q}={s + q}", f"{s}-{q}={s - q}"
    mistakes = [
        (5, f"Took {-s} for its opposite: the solutions add up to {s}.", signs),
        (5, "Forgot to divide by 2.", halved),
    ]
    kind, wordings = ("roots", _BOTH) if answer is _both else ("larger", _LARGER)
    e = f"x^2 - {s}x {'+' if p >= 0 else '-'} {abs(p)} = 0"
    return drafted(rng, f"{kind} {s} {p}", wordings, steps, mistakes, answer=answer, e=e)


def _vieta(rng: Random) -> tuple[int, int, int, int]:
    first, second = whole(rng, -30, 40), whole(rng, 1, 40)
    low, high = min(first, second), max(first, second)
    if low == 0:
        low = -1
    return low + high, low * high, high, low


def _both(lines: Sequence[str]) -> str:
    high, low = (line.rpartition("=")[2] for line in lines[-2:])
    return f"{low}, {high}"


def _first(lines: Sequence[str]) -> str:
    return lines[-2].rpartition("=")[2]


_TICKETS = (
    "{n} tickets cost {t} in all. Adults pay {a} each, children {b}. How many of them are for adults?",
    "Adults pay {a} and children {b}. {n} tickets cost {t} together. How many adults are there?",
    "A group buys {n} tickets for {t}: {a} for an adult, {b} for a child. How many adults are in it?",
    "Tickets are {a} for adults and {b} for children. {n} of them cost {t}. How many are adult tickets?",
)


def _tickets(rng: Random) -> MathDraft | None:
    a, b, x, y = whole(rng, 5, 15), whole(rng, 2, 9), whole(rng, 2, 20), whole(rng, 2, 20)
    if a <= b or x == y:
        return None
    n, t = x + y, a * x + b * y
    e, g = b * n, a - b
    steps = f"{b}*{n}={e}", f"{t}-{e}={t - e}", f"{a}-{b}={g}", f"{t - e}/{g}={x}"
    other = f"{a}*{n}={a * n}", f"{a * n}-{t}={a * n - t}", f"{a}-{b}={g}", f"{a * n - t}/{g}={y}"
    summed = f"{a}+{b}={a + b}", f"{t}/{a + b}={Fraction(t, a + b)}"
    mistakes = [
        (1, "Counted the children: what is missing when all pay as adults is due to them.", other),
        (3, "Divided by the sum of the prices, but there are not as many adults as children.", summed),
    ]
    return drafted(rng, f"tickets {n} {t} {a} {b}", _TICKETS, steps, mistakes, n=n, t=t, a=a, b=b)


def _squares(rng: Random) -> MathDraft | None:
    a, b, x = whole(rng, 2, 9), whole(rng, 1, 40), whole(rng, 2, 15)
    c = a * x * x + b
    sign = pick(rng, ("positive", "negative"))
    result = x if sign == "positive" else -x
    steps = f"{c}-{b}={a * x * x}", f"{a * x * x}/{a}={x * x}", f"sqrt({x * x})={x}"
    steps = steps if result > 0 else (*steps, f"-1*{x}={result}")
    halved = *steps[:2], f"{x * x}/2={Fraction(x * x, 2)}"
    halved = halved if result > 0 else (*halved, f"-1*{Fraction(x * x, 2)}={Fraction(-x * x, 2)}")
    mistakes = [(3, "Halved the square; take its square root.", halved)]
    wordings = (
        "What is the {s} solution of {e}?",
        "Find the {s} x with {e}.",
        "Solve {e} and give the {s} solution.",
        "Which {s} number x satisfies {e}?",
    )
    key = f"squares_{sign} {a} {b} {c}"
    return drafted(rng, key, wordings, steps, mistakes, e=f"{a}x^2 + {b} = {c}", s=sign)


ALGEBRA: Family[MathDraft] = Family(
    "algebra",
    3,
    draw_from(
        (
            (_plus, _minus, _quotient, _factor),
            (_sum_and_difference, _two_equations, _both_sides),
            (_roots, _roots, _tickets, _squares),
        )
    ),
)

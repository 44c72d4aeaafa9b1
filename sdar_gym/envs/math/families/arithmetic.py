"""Arithmetic: order of operations, brackets, remainders, squares, sums of fractions."""

from __future__ import annotations

from fractions import Fraction
from random import Random

from sdar_gym.envs.draws import whole
from sdar_gym.envs.math.problems import MathDraft, drafted, draw_from
from sdar_gym.envs.problems.embedded import Family

_VALUE = ("Compute {e}.", "What is {e}?", "Find the value of {e}.", "Work out {e}.")
_REMAINDER = (
    "What is the remainder when {e} is divided by {m}?",
    "Find the remainder of {e} after division by {m}.",
    "Divide {e} by {m}. What is the remainder?",
    "{e} is divided by {m}. Give the remainder.",
)
_LEFT = "Worked from left to right, but multiplication comes before addition and subtraction."
_BRACKETS = "Ignored the brackets, but they come first."


def _plus_times(rng: Random) -> MathDraft | None:
    a, b, c = whole(rng, 1, 20), whole(rng, 2, 9), whole(rng, 2, 9)
    steps = f"{b}*{c}={b * c}", f"{a}+{b * c}={a + b * c}"
    left = f"{a}+{b}={a + b}", f"{a + b}*{c}={(a + b) * c}"
    return drafted(rng, f"plus_times {a} {b} {c}", _VALUE, steps, [(1, _LEFT, left)], e=f"{a} + {b} * {c}")


def _minus_times(rng: Random) -> MathDraft | None:
    b, c = whole(rng, 2, 9), whole(rng, 2, 9)
    a = b * c + whole(rng, 1, 18)
    steps = f"{b}*{c}={b * c}", f"{a}-{b * c}={a - b * c}"
    left = f"{a}-{b}={a - b}", f"{a - b}*{c}={(a - b) * c}"
    return drafted(rng, f"minus_times {a} {b} {c}", _VALUE, steps, [(1, _LEFT, left)], e=f"{a} - {b} * {c}")


def _times_bracket(rng: Random) -> MathDraft | None:
    a, b, c = whole(rng, 2, 9), whole(rng, 1, 9), whole(rng, 1, 9)
    steps = f"{b}+{c}={b + c}", f"{a}*{b + c}={a * (b + c)}"
    ignored = f"{a}*{b}={a * b}", f"{a * b}+{c}={a * b + c}"
    return drafted(rng, f"times_bracket {a} {b} {c}", _VALUE, steps, [(1, _BRACKETS, ignored)], e=f"{a} * ({b} + {c})")


def _minus_bracket(rng: Random) -> MathDraft | None:
    b = whole(rng, 3, 20)
    c = whole(rng, 1, b - 1)
    a = b + c + whole(rng, 0, 20)
    steps = f"{b}-{c}={b - c}", f"{a}-{b - c}={a - b + c}"
    ignored = f"{a}-{b}={a - b}", f"{a - b}-{c}={a - b - c}"
    return drafted(rng, f"minus_bracket {a} {b} {c}", _VALUE, steps, [(1, _BRACKETS, ignored)], e=f"{a} - ({b} - {c})")


def _two_products(rng: Random) -> MathDraft | None:
    a, b, c, d = (whole(rng, 2, 12) for _ in range(4))
    p, q = a * b, c * d
    steps = f"{a}*{b}={p}", f"{c}*{d}={q}", f"{p}+{q}={p + q}"
    left = f"{a}*{b}={p}", f"{p}+{c}={p + c}", f"{p + c}*{d}={(p + c) * d}"
    return drafted(rng, f"two_products {a} {b} {c} {d}", _VALUE, steps, [(2, _LEFT, left)], e=f"{a} * {b} + {c} * {d}")


def _bracket_times_minus(rng: Random) -> MathDraft | None:
    a, b, c = whole(rng, 2, 20), whole(rng, 2, 20), whole(rng, 2, 9)
    d = whole(rng, 1, 30)
    s = a + b
    steps = f"{a}+{b}={s}", f"{s}*{c}={s * c}", f"{s * c}-{d}={s * c - d}"
    ignored = f"{b}*{c}={b * c}", f"{a}+{b * c}={a + b * c}", f"{a + b * c}-{d}={a + b * c - d}"
    e = f"({a} + {b}) * {c} - {d}"
    return drafted(rng, f"bracket_times_minus {a} {b} {c} {d}", _VALUE, steps, [(1, _BRACKETS, ignored)], e=e)


def _divide_then_times(rng: Random) -> MathDraft | None:
    c, d, k = whole(rng, 2, 9), whole(rng, 2, 9), whole(rng, 1, 5)
    b, q = c * d * k, d * k
    a = q * d + whole(rng, 1, 30)
    steps = f"{b}/{c}={q}", f"{q}*{d}={q * d}", f"{a}-{q * d}={a - q * d}"
    first = f"{c}*{d}={c * d}", f"{b}/{c * d}={k}", f"{a}-{k}={a - k}"
    reason = "Multiplied before dividing, but of these two the left one comes first."
    e = f"{a} - {b} / {c} * {d}"
    return drafted(rng, f"divide_then_times {a} {b} {c} {d}", _VALUE, steps, [(1, reason, first)], e=e)


def _remainder(rng: Random) -> MathDraft | None:
    a, b, c, m = whole(rng, 11, 40), whole(rng, 3, 12), whole(rng, 1, 30), whole(rng, 6, 13)
    n = a * b + c
    q, r = divmod(n, m)
    steps = f"{a}*{b}={a * b}", f"{a * b}+{c}={n}", f"{m}*{q}={m * q}", f"{n}-{m * q}={r}"
    quotient = f"{a}*{b}={a * b}", f"{a * b}+{c}={n}", f"({n}-{r})/{m}={q}"
    left = f"{b}+{c}={b + c}", f"{a}*{b + c}={a * (b + c)}", _mod(a * (b + c), m)
    mistakes = [
        (3, "Gave the quotient, but the remainder is asked for.", quotient),
        (1, "Added first, but multiplication comes before addition.", left),
    ]
    key = f"remainder {a} {b} {c} {m}"
    return drafted(rng, key, _REMAINDER, steps, mistakes, e=f"{a} * {b} + {c}", m=m)


def _mod(n: int, m: int) -> str:
    return f"{n}-{m}*{n // m}={n % m}"


def _minus_product(rng: Random) -> MathDraft | None:
    a, b, c = whole(rng, 5, 60), whole(rng, 2, 12), whole(rng, 4, 20)
    d, e = whole(rng, 1, c - 1), whole(rng, 2, 40)
    p = b * (c - d)
    steps = f"{c}-{d}={c - d}", f"{b}*{c - d}={p}", f"{a}-{p}={a - p}", f"{a - p}+{e}={a - p + e}"
    added = f"{c}-{d}={c - d}", f"{b}*{c - d}={p}", f"{p}+{e}={p + e}", f"{a}-{p + e}={a - p - e}"
    spread = f"{b}*{c}={b * c}", f"{a}-{b * c}={a - b * c}", f"{a - b * c}-{d}={a - b * c - d}"
    spread = *spread, f"{a - b * c - d}+{e}={a - b * c - d + e}"
    mistakes = [
        (3, "Added before subtracting, but of these two the left one comes first.", added),
        (1, _BRACKETS, spread),
    ]
    text = f"{a} - {b} * ({c} - {d}) + {e}"
    return drafted(rng, f"minus_product {a} {b} {c} {d} {e}", _VALUE, steps, mistakes, e=text)


def _square_of_sum(rng: Random) -> MathDraft | None:
    a, b, c, d = whole(rng, 2, 12), whole(rng, 2, 12), whole(rng, 2, 12), whole(rng, 2, 12)
    s, p = a + b, c * d
    steps = f"{a}+{b}={s}", f"{s}*{s}={s * s}", f"{c}*{d}={p}", f"{s * s}-{p}={s * s - p}"
    sums = a * a + b * b
    each = f"{a}*{a}={a * a}", f"{b}*{b}={b * b}", f"{a * a}+{b * b}={sums}", f"{c}*{d}={p}", f"{sums}-{p}={sums - p}"
    twice = f"{a}+{b}={s}", f"2*{s}={2 * s}", f"{c}*{d}={p}", f"{2 * s}-{p}={2 * s - p}"
    mistakes = [
        (2, "Squared each number, but the square is of their sum.", each),
        (2, "Doubled the sum, but it has to be multiplied by itself.", twice),
    ]
    key = f"square_of_sum {a} {b} {c} {d}"
    return drafted(rng, key, _VALUE, steps, mistakes, e=f"({a} + {b})^2 - {c} * {d}")


def _fractions(rng: Random) -> MathDraft | None:
    b, d = whole(rng, 2, 12), whole(rng, 2, 12)
    a, c = whole(rng, 1, b - 1), whole(rng, 1, d - 1)
    if b == d:
        return None
    x, y, z = a * d, c * b, b * d
    steps = f"{a}*{d}={x}", f"{c}*{b}={y}", f"{x}+{y}={x + y}", f"{b}*{d}={z}", f"{x + y}/{z}={Fraction(x + y, z)}"
    tops = f"{a}+{c}={a + c}", f"{b}+{d}={b + d}", f"({a + c})/({b + d})={Fraction(a + c, b + d)}"
    reason = "Added numerators and denominators, but fractions need a common denominator first."
    key = f"fractions {a} {b} {c} {d}"
    return drafted(rng, key, _VALUE, steps, [(1, reason, tops)], e=f"{a}/{b} + {c}/{d}")


ARITHMETIC: Family[MathDraft] = Family(
    "arithmetic",
    3,
    draw_from(
        (
            (_plus_times, _minus_times, _times_bracket, _minus_bracket),
            (_two_products, _bracket_times_minus, _divide_then_times, _remainder),
            (_minus_product, _square_of_sum, _fractions),
        )
    ),
)

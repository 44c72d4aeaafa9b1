"""Number theory: remainders, greatest common divisors, least common multiples, divisors, powers modulo a number."""

from __future__ import annotations

from math import gcd
from random import Random

from sdar_gym.envs.draws import pick, whole
from sdar_gym.envs.math.problems import MathDraft, drafted, draw_from
from sdar_gym.envs.problems.embedded import Family

_REMAINDER = (
    "What is the remainder when {e} is divided by {m}?",
    "Find the remainder of {e} after division by {m}.",
    "Divide {e} by {m}. What is the remainder?",
    "What remains when {e} is divided by {m}?",
)
_GCD = (
    "What is the greatest common divisor of {a} and {b}?",
    "Find the gcd of {a} and {b}.",
    "What is the largest number that divides both {a} and {b}?",
    "Compute gcd({a}, {b}).",
)
_LCM = (
    "What is the least common multiple of {a} and {b}?",
    "Find the lcm of {a} and {b}.",
    "What is the smallest positive number divisible by both {a} and {b}?",
    "Compute lcm({a}, {b}).",
)
_QUOTIENT = "Gave the quotient, but the remainder is asked for."


def _product_remainder(rng: Random) -> MathDraft | None:
    a, b, m = whole(rng, 2, 9), whole(rng, 2, 9), whole(rng, 3, 9)
    q, r = divmod(a * b, m)
    if r == 0 or q == 0:
        return None
    steps = f"{a}*{b}={a * b}", f"{m}*{q}={m * q}", f"{a * b}-{m * q}={r}"
    quotient = *steps[:2], f"{m * q}/{m}={q}"
    key = f"product_remainder {a} {b} {m}"
    return drafted(rng, key, _REMAINDER, steps, [(3, _QUOTIENT, quotient)], e=f"{a} * {b}", m=m)


def _sum_remainder(rng: Random) -> MathDraft | None:
    a, b, m = whole(rng, 5, 30), whole(rng, 5, 30), whole(rng, 3, 9)
    s = a + b
    q, r = divmod(s, m)
    if r == 0 or q == 0:
        return None
    steps = f"{a}+{b}={s}", f"{m}*{q}={m * q}", f"{s}-{m * q}={r}"
    quotient = *steps[:2], f"{m * q}/{m}={q}"
    return drafted(
        rng, f"sum_remainder {a} {b} {m}", _REMAINDER, steps, [(3, _QUOTIENT, quotient)], e=f"{a} + {b}", m=m
    )


def _gcd_by_subtraction(rng: Random) -> MathDraft | None:
    g = whole(rng, 1, 12)
    a, b = g * whole(rng, 2, 7), g * whole(rng, 2, 7)
    if a <= b or a > 99:
        return None
    steps = []
    x, y = a, b
    while x != y and len(steps) < 4:
        steps.append(f"{max(x, y)}-{min(x, y)}={abs(x - y)}")
        x, y = min(x, y), abs(x - y)
    if not 2 <= len(steps) <= 3:
        return None
    reason = "Stopped after one subtraction; go on until both numbers are equal."
    return drafted(rng, f"gcd {a} {b}", _GCD, steps, [(2, reason, steps[:1])], a=a, b=b)


def _lcm(rng: Random) -> MathDraft | None:
    a, b = whole(rng, 2, 24), whole(rng, 2, 24)
    g, p = gcd(a, b), a * b
    if g == 1 or a == b or p > 150:
        return None
    steps = f"gcd({a},{b})={g}", f"{a}*{b}={p}", f"{p}/{g}={p // g}"
    product = (f"{a}*{b}={p}",)
    reason = "Gave the product; divide it by the greatest common divisor."
    return drafted(rng, f"lcm {a} {b}", _LCM, steps, [(3, reason, product)], a=a, b=b)


def _gcd_by_division(rng: Random) -> MathDraft | None:
    g = whole(rng, 2, 30)
    a, b = g * whole(rng, 5, 40), g * whole(rng, 3, 30)
    if a <= b:
        return None
    steps = []
    x, y = a, b
    while y:
        steps.append(f"{x}-{x // y}*{y}={x % y}")
        x, y = y, x % y
    if not 3 <= len(steps) <= 6:
        return None
    early = steps[:-2]
    mistakes = [(len(steps) - 1, "Stopped one division too early: the last remainder that is not 0 counts.", early)]

    def answer(lines: object) -> str:
        return str(x) if lines is steps else early[-1].rpartition("=")[2]

    return drafted(rng, f"gcd {a} {b}", _GCD, steps, mistakes, answer=answer, a=a, b=b)


_DIVISORS = (
    "How many positive divisors does {n} have?",
    "Find the number of positive divisors of {n}.",
    "By how many positive whole numbers can {n} be divided without remainder?",
    "Count the positive divisors of {n}, with 1 and {n}.",
)
_DIVISOR_SUM = (
    "What is the sum of all positive divisors of {n}?",
    "Find the sum of the positive divisors of {n}, with 1 and {n}.",
    "Add up all positive divisors of {n}, including 1 and {n}. What is the sum?",
    "Compute the sum of all positive whole numbers that divide {n}.",
)


def _divisors(rng: Random) -> MathDraft | None:
    p, q = pick(rng, (2, 3, 5)), pick(rng, (3, 5, 7, 11, 13, 17, 19, 23))
    i, j = whole(rng, 1, 6), whole(rng, 1, 3)
    n = p**i * q**j
    if p >= q or n > 3000:
        return None
    steps = f"{p}^{i}*{q}^{j}={n}", f"{i}+1={i + 1}", f"{j}+1={j + 1}", f"{i + 1}*{j + 1}={(i + 1) * (j + 1)}"
    bare = f"{p}^{i}*{q}^{j}={n}", f"{i}*{j}={i * j}"
    added = *steps[:3], f"{i + 1}+{j + 1}={i + j + 2}"
    mistakes = [
        (2, "Multiplied the exponents; each has to be one more, since a prime may also be left out.", bare),
        (4, "Added the choices of the primes; they are independent, so multiply.", added),
    ]
    return drafted(rng, f"divisors {n}", _DIVISORS, steps, mistakes, n=n)


def _two_products_remainder(rng: Random) -> MathDraft | None:
    a, b, c, d, m = whole(rng, 5, 20), whole(rng, 5, 20), whole(rng, 5, 20), whole(rng, 5, 20), whole(rng, 5, 13)
    p, q = a * b, c * d
    x, y = p % m, q % m
    steps = (
        *(f"{a}*{b}={p}", f"{p}-{m}*{p // m}={x}", f"{c}*{d}={q}", f"{q}-{m}*{q // m}={y}", f"{x}+{y}={x + y}"),
        f"{x + y}-{m}*{(x + y) // m}={(x + y) % m}",
    )
    mistakes = [
        (6, f"Added the remainders and stopped; the sum may still be divided by {m}.", steps[:5]),
        (3, "Took only the first product.", steps[:2]),
    ]
    key = f"two_products_remainder {a} {b} {c} {d} {m}"
    return drafted(rng, key, _REMAINDER, steps, mistakes, e=f"{a} * {b} + {c} * {d}", m=m)


def _power(rng: Random) -> MathDraft | None:
    a, n, m = whole(rng, 2, 19), whole(rng, 4, 20), whole(rng, 5, 23)
    if a % m in (0, 1):
        return None
    steps: list[str] = []
    value, done = a % m, 1
    for bit in bin(n)[3:]:
        square = value * value
        steps += [f"{value}*{value}={square}", f"{square}-{m}*{square // m}={square % m}"]
        value, done = square % m, done * 2
        if bit == "1":
            product = value * (a % m)
            steps += [f"{value}*{a % m}={product}", f"{product}-{m}*{product // m}={product % m}"]
            value, done = product % m, done + 1
    times = f"{a}*{n}={a * n}", f"{a * n}-{m}*{a * n // m}={a * n % m}"
    mistakes = [(1, f"Multiplied {a} by {n}; a power multiplies {a} by itself.", times)]
    return drafted(rng, f"power {a} {n} {m}", _REMAINDER, steps, mistakes, e=f"{a}^{n}", m=m)


def _divisor_sum(rng: Random) -> MathDraft | None:
    p, q = pick(rng, (2, 3, 5)), pick(rng, (3, 5, 7, 11, 13, 17, 19, 23, 29, 31))
    i, j = whole(rng, 1, 5), whole(rng, 1, 2)
    n = p**i * q**j
    if p >= q or n > 5000:
        return None
    first, second = [p**k for k in range(i + 1)], [q**k for k in range(j + 1)]
    s, t = sum(first), sum(second)
    steps = (
        *(f"{p}^{i}*{q}^{j}={n}", f"{'+'.join(map(str, first))}={s}", f"{'+'.join(map(str, second))}={t}"),
        f"{s}*{t}={s * t}",
    )
    counted = steps[0], f"{i}+1={i + 1}", f"{j}+1={j + 1}", f"{i + 1}*{j + 1}={(i + 1) * (j + 1)}"
    proper = *steps, f"{s * t}-{n}={s * t - n}"
    mistakes = [
        (2, "Counted the divisors, but their sum is asked for.", counted),
        (4, f"Left out {n} itself, which is one of its divisors.", proper),
    ]
    return drafted(rng, f"divisor_sum {n}", _DIVISOR_SUM, steps, mistakes, n=n)


_TWO_REMAINDERS = (
    "What is the smallest positive number with remainder {r} after division by {m} and {s} after division by {n}?",
    "Divided by {m} a number leaves {r}, divided by {n} it leaves {s}. What is the smallest such positive number?",
    "Find the smallest positive x that leaves remainder {r} when divided by {m} and {s} when divided by {n}.",
    "The smallest positive number that leaves {r} when divided by {m}, and {s} when divided by {n}: which is it?",
)


def _two_remainders(rng: Random) -> MathDraft | None:
    m, n = whole(rng, 3, 13), whole(rng, 3, 13)
    r, s = whole(rng, 1, m - 1), whole(rng, 1, n - 1)
    if gcd(m, n) != 1 or m <= n:
        return None
    steps: list[str] = []
    value = r
    while value % n != s:
        steps.append(f"{value}-{n}*{value // n}={value % n}")
        value += m
    steps.append(f"{value}-{n}*{value // n}={s}")
    if not 3 <= len(steps) <= 9:
        return None
    count = len(steps) - 1
    steps.append(f"{r}+{count}*{m}={value}")
    first = f"{r}+{m}={r + m}", f"{r + m}-{m}={r}"
    product = f"{m}*{n}={m * n}", f"{r}*{s}={r * s}", f"{m * n}+{r * s}={m * n + r * s}"
    mistakes = [
        (1, f"Looked at the division by {m} only.", first),
        (1, "Put the numbers together without trying: go through the numbers with the first remainder.", product),
    ]
    key = f"two_remainders {m} {r} {n} {s}"
    return drafted(rng, key, _TWO_REMAINDERS, steps, mistakes, m=m, r=r, n=n, s=s)


NUMBER_THEORY: Family[MathDraft] = Family(
    "number_theory",
    3,
    draw_from(
        (
            (_product_remainder, _sum_remainder, _gcd_by_subtraction, _lcm),
            (_gcd_by_division, _divisors, _two_products_remainder),
            (_power, _divisor_sum, _two_remainders),
        )
    ),
)

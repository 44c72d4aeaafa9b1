"""Tasks on whole numbers."""

from __future__ import annotations

from random import Random

from sdar_gym.envs.code.drafts import Recipe
from sdar_gym.envs.code.families.parts import family
from sdar_gym.envs.draws import pick, whole


def _number(rng: Random) -> tuple[int]:
    return (whole(rng, -9, 20),)


def _two(rng: Random) -> tuple[int, int]:
    return whole(rng, -9, 12), whole(rng, -9, 12)


def _natural(rng: Random) -> tuple[int]:
    return (whole(rng, 2, 200),)


def _linear(rng: Random) -> Recipe:
    a, b = whole(rng, 2, 9), whole(rng, 1, 9)
    text, right, wrongs = pick(
        rng,
        (
            (
                f"x times {a}, plus {b}.",
                f"x*{a}+{b}",
                (("It adds first.", f"(x+{b})*{a}"), ("They are exchanged.", f"x*{b}+{a}")),
            ),
            (
                f"x times {a}, minus {b}.",
                f"x*{a}-{b}",
                (("It subtracts first.", f"(x-{b})*{a}"), ("They are exchanged.", f"{b}-x*{a}")),
            ),
            (
                f"x plus {b}, the sum times {a}.",
                f"(x+{b})*{a}",
                (("It multiplies first.", f"x+{b}*{a}"), ("It adds last.", f"x*{a}+{b}")),
            ),
            (
                f"{b} minus x, the difference times {a}.",
                f"({b}-x)*{a}",
                (("It multiplies first.", f"{b}-x*{a}"), ("They are exchanged.", f"(x-{b})*{a}")),
            ),
        ),
    )
    return Recipe((text,), "x", f"def f(x): return {right}", _returned("x", wrongs), _number, ((0,), (1,)))


def _whole_part(rng: Random) -> Recipe:
    a, b = whole(rng, 2, 9), whole(rng, 0, 9)
    text, right, wrongs = pick(
        rng,
        (
            (
                f"x divided by {a}, rounded down, plus {b}.",
                f"x//{a}+{b}",
                (("It gives the rest.", f"x%{a}+{b}"), ("It adds first.", f"(x+{b})//{a}")),
            ),
            (
                f"the rest of x divided by {a}, plus {b}.",
                f"x%{a}+{b}",
                (("It divides.", f"x//{a}+{b}"), ("It adds first.", f"(x+{b})%{a}")),
            ),
            (
                f"the larger one of x and {a}, plus {b}.",
                f"max(x,{a})+{b}",
                (("It takes the smaller.", f"min(x,{a})+{b}"), ("It adds first.", f"max(x+{b},{a})")),
            ),
            (
                f"the distance of x from {a}, plus {b}.",
                f"abs(x-{a})+{b}",
                (("It can be negative.", f"x-{a}+{b}"), ("It forgets to subtract.", f"abs(x)+{b}")),
            ),
            (
                f"True if x is from {-b} to {a}, both included.",
                f"{-b}<=x<={a}",
                (("It leaves out the ends.", f"{-b}<x<{a}"), ("It has no lower end.", f"x<={a}")),
            ),
        ),
    )
    return Recipe((text,), "x", f"def f(x): return {right}", _returned("x", wrongs), _number, ((a,), (-b,), (a + 1,)))


def _of_two(rng: Random) -> Recipe:
    a, b = whole(rng, 2, 9), whole(rng, 2, 9)
    text, right, wrongs = pick(
        rng,
        (
            (
                f"{a} times x plus {b} times y.",
                f"{a}*x+{b}*y",
                (("They are exchanged.", f"{b}*x+{a}*y"), ("It subtracts.", f"{a}*x-{b}*y")),
            ),
            (
                f"{a} times the larger one of x and y, minus {b}.",
                f"{a}*max(x,y)-{b}",
                (("It takes the smaller.", f"{a}*min(x,y)-{b}"), ("It takes x.", f"{a}*x-{b}")),
            ),
            (
                f"the distance of x and y, times {a}, plus {b}.",
                f"abs(x-y)*{a}+{b}",
                (("It can be negative.", f"(x-y)*{a}+{b}"), ("It adds them.", f"abs(x+y)*{a}+{b}")),
            ),
        ),
    )
    return Recipe((text,), "x, y", f"def f(x,y): return {right}", _returned("x,y", wrongs), _two, ((0, 0), (3, 3)))


def _digits(rng: Random) -> Recipe:
    n, (what, code, wrong) = (
        whole(rng, 2, 9),
        pick(rng, (("sum", "sum", "max"), ("largest", "max", "min"), ("smallest", "min", "max"))),
    )
    plus = whole(rng, 0, 4)
    body = (
        "def f(n):\n    digits = []\n    while n{test}:\n        digits.append(n % {base})\n"
        "        n {step}= {base}\n    return {code}(digits or [0]) + {plus}"
    )
    noun = "sum of the digits" if what == "sum" else f"{what} digit"
    right = {"test": " > 0", "base": n, "step": "//", "code": code, "plus": plus}
    return Recipe(
        (f"the {noun} of n (at least 0) written in base {n}, plus {plus}.",),
        "n",
        body.format(**right),
        (
            ("It uses base 10.", body.format(**{**right, "base": 10})),
            ("It forgets the first digit.", body.format(**{**right, "test": f" >= {n}"})),
            ("It takes another property of the digits.", body.format(**{**right, "code": wrong})),
        ),
        _natural,
        ((0,), (1,), (n,), (n * n - 1,)),
    )


def _divisors(rng: Random) -> Recipe:
    least, name = whole(rng, 1, 6), pick(rng, ("sum", "len"))
    step = whole(rng, 1, 3)
    body = "def f(n):\n    return {name}([d for d in range({least}, n{end}{step}) if n % d == 0])"
    extra = "" if step == 1 else f", looking only at {least}, {least + step}, {least + 2 * step} and so on"
    what = "sum" if name == "sum" else "number"
    right = {"name": name, "least": least, "end": " + 1", "step": "" if step == 1 else f", {step}"}
    return Recipe(
        (f"the {what} of the divisors of n that are at least {least}, n itself included{extra}.",),
        "n",
        body.format(**right),
        (
            ("It forgets n itself.", body.format(**{**right, "end": ""})),
            ("It starts too late.", body.format(**{**right, "least": least + 1})),
            ("It gives another property.", body.format(**{**right, "name": "len" if name == "sum" else "sum"})),
        ),
        lambda rng: (pick(rng, (6, 12, 18, 20, 24, 28, 30, 36, 40, 48, 60, 72, 84, 90, 96, 100)),),
        ((1,), (2,), (13,), (least,)),
    )


def _collatz(rng: Random) -> Recipe:
    a, b, limit = pick(rng, (3, 5, 7)), pick(rng, (1, 3, 5)), whole(rng, 5, 20)
    body = (
        "def f(n):\n    steps = 0\n    while n {test} 1 and steps < {limit}:\n"
        "        n = {even} if n % 2 == 0 else {odd}\n        steps += 1\n    return {result}"
    )
    right = {"test": ">", "limit": limit, "even": "n // 2", "odd": f"{a} * n + {b}", "result": "steps"}
    return Recipe(
        (
            f"halve an even n, replace an odd n by {a} times n plus {b}; the number of steps until it is 1, at "
            f"most {limit}.",
        ),
        "n",
        body.format(**right),
        (
            ("It returns the number, not the steps.", body.format(**{**right, "result": "n"})),
            ("It makes one step too few.", body.format(**{**right, "limit": limit - 1})),
            (
                "It treats even and odd numbers the wrong way.",
                body.format(**{**right, "even": right["odd"], "odd": "n // 2"}),
            ),
        ),
        lambda rng: (whole(rng, 2, 40),),
        ((1,), (2,), (16,), (27,)),
    )


def _gcd(rng: Random) -> Recipe:
    n, least = whole(rng, 1, 9), whole(rng, 0, 1)
    body = "def f(a, b):\n    x, y = a, b\n    while y:\n        x, y = y, x % y\n    return {result}"
    text, right, wrong = (
        (f"least common multiple of a and b, plus {n}", f"a * b // x + {n}", f"a * b + {n}")
        if least
        else (f"greatest common divisor of a and b, times {n}", f"x * {n}", f"min(a, b) * {n}")
    )
    return Recipe(
        (f"the {text} (both at least 1).",),
        "a, b",
        body.format(result=right),
        (
            ("It is right only for special pairs.", body.format(result=wrong)),
            ("It mixes up divisor and multiple.", body.format(result=f"x * {n}" if least else f"a * b // x * {n}")),
        ),
        lambda rng: (whole(rng, 1, 9) * whole(rng, 2, 6), whole(rng, 1, 9) * whole(rng, 2, 6)),
        ((1, 1), (12, 12), (7, 3), (4, 12)),
    )


def _powers(rng: Random) -> Recipe:
    a, b, m = whole(rng, 2, 9), whole(rng, 0, 4), whole(rng, 7, 40)
    body = "def f(n):\n    x = {start}\n    for _ in range({times}):\n        x = {code}\n    return x"
    right = {"start": b + 1, "times": "n", "code": f"(x * {a} + {b}) % {m}"}
    return Recipe(
        (f"start with {b + 1}; n times: multiply by {a}, add {b}, take the rest of the division by {m}.",),
        "n",
        body.format(**right),
        (
            ("It makes a step too many.", body.format(**{**right, "times": "n + 1"})),
            ("It adds before it multiplies.", body.format(**{**right, "code": f"(x + {b or 1}) * {a} % {m}"})),
            ("It starts with 0.", body.format(**{**right, "start": 0})),
        ),
        lambda rng: (whole(rng, 1, 30),),
        ((0,), (1,)),
    )


def _returned(parameters: str, wrongs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple((reason, f"def f({parameters}): return {code}") for reason, code in wrongs)


NUMBERS = family("numbers", (_linear, _whole_part, _of_two), (_digits, _divisors, _collatz, _gcd, _powers))

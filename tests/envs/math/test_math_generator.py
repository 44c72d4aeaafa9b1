"""Embedded problems: every answer is computed again by other means, and mistakes are wrong by procedure."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from itertools import combinations, permutations, product
from math import comb, factorial, gcd, isqrt

import pytest

from sdar_gym.envs.math.checking import check_answer
from sdar_gym.envs.math.generator import FAMILIES, LEVELS, SIZES, embedded_problems
from sdar_gym.envs.math.problems import MathDraft, MathProblem

NUMBERS = range(-1000, 1001)


@cache
def grid(x: int, y: int, without: tuple[int, int] | None = None) -> int:
    """Paths from (0, 0) to (x, y), step by step."""
    if (x, y) == without or x < 0 or y < 0:
        return 0
    return 1 if (x, y) == (0, 0) else grid(x - 1, y, without) + grid(x, y - 1, without)


@cache
def arrangements(a: int, b: int, c: int) -> int:
    """Rows of three kinds of things, by the kind of the last one."""
    if min(a, b, c) < 0:
        return 0
    return 1 if a == b == c == 0 else arrangements(a - 1, b, c) + arrangements(a, b - 1, c) + arrangements(a, b, c - 1)


def only(solutions: list[int]) -> str:
    (solution,) = solutions
    return str(solution)


def only_pair(holds: Callable[[int, int], bool]) -> str:
    ((x, y),) = [(x, y) for x in range(-5, 80) for y in range(-5, 80) if holds(x, y)]
    return f"({x}, {y})"


def divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


def tickets(n: int, t: int, a: int, b: int) -> str:
    return only([x for x in range(n + 1) if a * x + b * (n - x) == t])


def roots(s: int, p: int) -> list[int]:
    return [x for x in range(-100, 101) if x * x - s * x + p == 0]


SOLVERS: dict[str, Callable[..., object]] = {
    "plus_times": lambda a, b, c: a + b * c,
    "minus_times": lambda a, b, c: a - b * c,
    "times_bracket": lambda a, b, c: a * (b + c),
    "minus_bracket": lambda a, b, c: a - (b - c),
    "two_products": lambda a, b, c, d: a * b + c * d,
    "bracket_times_minus": lambda a, b, c, d: (a + b) * c - d,
    "divide_then_times": lambda a, b, c, d: a - Fraction(b, c) * d,
    "remainder": lambda a, b, c, m: (a * b + c) % m,
    "minus_product": lambda a, b, c, d, e: a - b * (c - d) + e,
    "square_of_sum": lambda a, b, c, d: (a + b) ** 2 - c * d,
    "fractions": lambda a, b, c, d: Fraction(a, b) + Fraction(c, d),
    "plus": lambda a, b, c: only([x for x in NUMBERS if a * x + b == c]),
    "minus": lambda a, b, c: only([x for x in NUMBERS if a * x - b == c]),
    "quotient": lambda a, b, c: only([x for x in NUMBERS if Fraction(x, a) + b == c]),
    "factor": lambda a, b, c: only([x for x in NUMBERS if a * (x + b) == c]),
    "sum_and_difference": lambda s, d: only_pair(lambda x, y: x + y == s and x - y == d),
    "two_equations": lambda a, b, c, s: only_pair(lambda x, y: a * x + b * y == c and x + y == s),
    "both_sides": lambda a, b, c, d: only([x for x in NUMBERS if a * x + b == c * x + d]),
    "roots": lambda s, p: "{}, {}".format(*roots(s, p)),
    "larger": lambda s, p: max(roots(s, p)),
    "tickets": tickets,
    "squares_positive": lambda a, b, c: only([x for x in NUMBERS if a * x * x + b == c and x > 0]),
    "squares_negative": lambda a, b, c: only([x for x in NUMBERS if a * x * x + b == c and x < 0]),
    "product_remainder": lambda a, b, m: a * b % m,
    "sum_remainder": lambda a, b, m: (a + b) % m,
    "gcd": lambda a, b: max(d for d in divisors(a) if b % d == 0),
    "lcm": lambda a, b: next(n for n in range(max(a, b), a * b + 1) if n % a == 0 and n % b == 0),
    "divisors": lambda n: len(divisors(n)),
    "two_products_remainder": lambda a, b, c, d, m: (a * b + c * d) % m,
    "power": lambda a, n, m: pow(a, n, m),
    "divisor_sum": lambda n: sum(divisors(n)),
    "two_remainders": lambda m, r, n, s: next(x for x in range(1, 1000) if x % m == r and x % n == s),
    "menu": lambda a, b, c: len(list(product(range(a), range(b), range(c)))),
    "either": lambda a, b, c: len([*product(range(a), range(c)), *product(range(b), range(c))]),
    "clash": lambda a, b, c: len(list(product(range(a), range(b)))[c:]),
    "orders": lambda k, n: len(list(permutations(range(n), k))),
    "pairs": lambda n: len(list(combinations(range(n), 2))),
    "groups": lambda n, k, m, j: len(list(combinations(range(n), k))) * len(list(combinations(range(m), j))),
    "neither": lambda n, a, b, c: len(set(range(n)) - set(range(a)) - set(range(a - c, a - c + b))),
    "multiples": lambda n, p, q: sum(x % p == 0 or x % q == 0 for x in range(1, n + 1)),
    "through": lambda x, y, a, b: grid(x, y) - grid(x, y, (a, b)),
    "avoid": lambda x, y, a, b: grid(x, y, (a, b)),
    "rows": arrangements,
}
CASES = [(family.name, level) for family in FAMILIES for level in range(1, LEVELS + 1)]
FUNCTIONS = {"gcd": gcd, "choose": comb, "sqrt": isqrt, "factorial": factorial, "Fraction": Fraction, "floor": int}


def drafts(name: str, level: int) -> list[MathDraft]:
    return [
        embedded_problems().draft(f"{split}/{name}/{level}/{n:06d}") for split in SIZES for n in range(SIZES[split])
    ]


def value(text: str) -> object:
    text = re.sub(r"(\d+)!", r"factorial(\1)", text).replace("^", "**")
    # Whole numbers only as arguments: they are no fractions in gcd(4,6).
    text = re.sub(r"\d+(?=/)", r"Fraction(\g<0>)", text)
    text = re.sub(r"\)/", ")*Fraction(1)/", text)
    return eval(text, {"__builtins__": {}}, FUNCTIONS)


@pytest.mark.parametrize(("name", "level"), CASES)
def test_every_answer_is_right(name: str, level: int) -> None:
    found = drafts(name, level)
    kinds = set()
    for draft in found:
        kind, *numbers = draft.key.split()
        kinds.add(kind)
        assert draft.answer == str(SOLVERS[kind](*map(int, numbers))), draft
        # The problem is about the numbers of its key, and about no others but those of its form.
        said = re.findall(r"\d+", draft.text)
        assert set(number.lstrip("-") for number in numbers if number != "0") <= set(said), draft
        assert set(said) - set(n.lstrip("-") for n in numbers) <= {"0", "1", "2"}, draft
    assert len(kinds) >= 3
    assert len({draft.key for draft in found}) == len(found)
    assert len({draft.text for draft in found}) == len(found)


@pytest.mark.parametrize(("name", "level"), CASES)
def test_every_step_is_true_and_every_mistake_is_a_procedure(name: str, level: int) -> None:
    for draft in drafts(name, level):
        assert draft.steps and draft.mistakes, draft
        for line in [*draft.steps, *(line for mistake in draft.mistakes for line in mistake.steps)]:
            left, _, right = line.partition("=")
            assert left in "xy" or value(left) == value(right), (draft, line)
        assert len({mistake.answer for mistake in draft.mistakes}) == len(draft.mistakes)
        for mistake in draft.mistakes:
            assert not check_answer(draft.answer, mistake.answer).equal, draft
            assert 1 <= mistake.step <= len(draft.steps), (draft, mistake)
            assert mistake.steps != draft.steps
            assert mistake.reason.endswith("."), mistake
            # What an answer consists of stands in the steps.
            said = " ".join(mistake.steps)
            assert all(number in said for number in re.findall(r"\d+", mistake.answer)), (draft, mistake)


@pytest.mark.parametrize("name", [family.name for family in FAMILIES])
def test_level_1_is_small(name: str) -> None:
    for draft in drafts(name, 1):
        assert len(draft.text.split()) <= 16 and len(draft.text) <= 90, draft.text
        assert all(len(number) <= 2 for number in re.findall(r"\d+", draft.text)), draft.text
        assert 2 <= len(draft.steps) <= 3 and 1 <= len(draft.mistakes) <= 2, draft
        assert all(len(line) <= 13 for line in draft.steps), draft
        assert draft.answer.isdigit() and len(draft.answer) <= 3, draft
        assert draft.text.isascii()


@pytest.mark.parametrize(("name", "level"), CASES)
def test_each_kind_has_four_wordings(name: str, level: int) -> None:
    forms: dict[str, set[str]] = {}
    for draft in drafts(name, level):
        words = re.sub(r"[-+*/^() \d=x]+", " ", draft.text)
        forms.setdefault(draft.key.split()[0], set()).add(words)
    # Rare kinds, such as orders of three of a few people, need not have been drawn in all of them.
    assert max(map(len, forms.values())) >= 4
    assert sum(len(form) >= 4 for form in forms.values()) >= len(forms) - 1


def test_a_problem_is_in_one_split_whatever_its_wording() -> None:
    seen: dict[str, str] = {}
    for split in SIZES:
        for task_id in embedded_problems().task_ids(split):
            problem = embedded_problems().load(task_id)
            assert isinstance(problem, MathProblem)
            assert seen.setdefault(problem.group, split) == split


def test_the_solution_is_the_steps_and_the_box() -> None:
    problem = embedded_problems().load("train/arithmetic/1/000000")
    assert problem.solution == "\n".join(problem.steps) + "\n\\boxed{" + problem.answer + "}"
    assert (problem.level, problem.task_type, problem.source) == (1, "arithmetic", "embedded")

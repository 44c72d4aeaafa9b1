"""Generated tasks: reference programs, known mistakes, tests, texts, splits; and independent solutions of some."""

from __future__ import annotations

import contextlib
import io
import math
import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from itertools import combinations
from random import Random
from typing import Any

import pytest

from sdar_gym.envs.code.checking import stdout_equal, values_equal
from sdar_gym.envs.code.drafts import HIDDEN_TESTS, PUBLIC_TESTS, CodeDraft, Recipe, draft_of
from sdar_gym.envs.code.families import lists, numbers, recursion, strings
from sdar_gym.envs.code.generator import FAMILIES, LEVELS, check_levels, embedded_problems
from sdar_gym.envs.code.problem import TestCase
from sdar_gym.envs.code.programs import has_program
from sdar_gym.envs.problems.embedded import Family
from sdar_gym.envs.text_env import TaskNotFoundError

CASES = [(family, level) for family in FAMILIES for level in range(1, family.levels + 1)]
each_level = pytest.mark.parametrize(("family", "level"), CASES, ids=[f"{family.name}-{n}" for family, n in CASES])


def outcome(program: str, entry: str, test: TestCase) -> bool:
    """Whether a program of the generator passes a test, run here as a program is: with its own input and output."""
    try:
        if entry:
            names: dict[str, Any] = {}
            exec(program, names)
            return values_equal(names[entry](*eval(repr(test.given))), test.accepted[0])
        printed = io.StringIO()
        lines = iter(test.given.split("\n")[:-1])
        with contextlib.redirect_stdout(printed):
            exec(program, {"input": lambda: next(lines)})
        return stdout_equal(printed.getvalue(), test.accepted[0])
    except Exception:
        return False


@cache
def drafts(family: Family[Recipe], level: int) -> list[CodeDraft]:
    rng = Random(f"{family.name} {level}")
    return [draft_of(family.draw(rng, level)) for _ in range(60)]


@each_level
def test_the_reference_passes_and_every_mistake_fails_a_hidden_test(family: Family[Recipe], level: int) -> None:
    for draft in drafts(family, level):
        tests = (*draft.public, *draft.hidden)
        assert all(outcome(draft.program, draft.entry, test) for test in tests), draft.text
        assert draft.mistakes
        for mistake in draft.mistakes:
            assert not all(outcome(mistake.program, draft.entry, test) for test in draft.hidden), (draft.text, mistake)
            assert mistake.program != draft.program and re.fullmatch(r"[A-Z].*\.", mistake.reason)
            assert has_program(mistake.program)


@each_level
def test_drafts_have_their_tests_and_an_example(family: Family[Recipe], level: int) -> None:
    for draft in drafts(family, level):
        assert (len(draft.public), len(draft.hidden)) == (PUBLIC_TESTS, HIDDEN_TESTS)
        assert len({repr(test.given) for test in (*draft.public, *draft.hidden)}) == PUBLIC_TESTS + HIDDEN_TESTS
        example = draft.public[0]
        if draft.entry:
            arguments = ", ".join(map(repr, example.given))
            assert draft.text.endswith(f" f({arguments}) == {example.accepted[0]!r}")
            assert draft.text.startswith("f(")
        else:
            assert example.given in draft.text and str(example.accepted[0]).rstrip() in draft.text
        assert has_program(draft.program) and not re.search(r"\{[a-z]+\}", draft.program + draft.text)


def test_tasks_of_the_first_level_are_short() -> None:
    for family in FAMILIES:
        for draft in drafts(family, 1):
            assert len(draft.program.split("\n")) == 1
            assert len(re.findall(r"\w+|[^\w\s]", draft.program)) <= 35, draft.program
            told = draft.text.rpartition(" f(" if draft.entry else "Example input")[0]
            assert len(told.split()) <= 17, told
            assert len(draft.text.split()) <= 36, draft.text
            assert 1 <= len(draft.mistakes) <= 5


def test_most_examples_tell_the_right_program_from_a_wrong_one() -> None:
    # The example is chosen for that; for a few tasks no random input shows a mistake.
    shown = [
        any(not outcome(mistake.program, draft.entry, draft.public[0]) for mistake in draft.mistakes)
        for family, level in CASES
        for draft in drafts(family, level)
    ]
    assert sum(shown) / len(shown) > 0.95


def test_a_recipe_without_a_mistake_that_shows_is_no_task() -> None:
    def numbers_of(rng: Random) -> tuple[int]:
        return (int(rng.random() * 1000),)

    same = (("It is written differently.", "def f(x): return x + x"),)
    wrong = (("It is one off.", "def f(x): return 2 * x + 1"),)
    right = "def f(x): return 2 * x"
    for recipe in (
        Recipe(("double x.",), "x", right, same, numbers_of),
        Recipe(("double x.",), "x", right, wrong, lambda rng: (1,)),
    ):
        with pytest.raises(ValueError, match="No tests tell the program"):
            draft_of(recipe)
    draft = draft_of(Recipe(("double x.",), "x", right, same + wrong, numbers_of))
    assert [mistake.reason for mistake in draft.mistakes] == ["It is one off."]


def test_programs_that_change_their_arguments_do_not_change_the_tests() -> None:
    recipe = Recipe(
        ("the last number.",),
        "xs",
        "def f(xs): return xs.pop()",
        (("It takes the first.", "def f(xs): return xs[0]"),),
        lambda rng: ([int(rng.random() * 9) for _ in range(4)],),
    )
    draft = draft_of(recipe)
    assert all(len(test.given[0]) == 4 for test in draft.public + draft.hidden)


def test_ids_decide_the_tasks_and_splits_share_no_program() -> None:
    problems = embedded_problems()
    assert problems is embedded_problems()
    programs: dict[str, set[str]] = {}
    kinds: Counter[str] = Counter()
    for split in problems.splits:
        ids = problems.task_ids(split)
        assert len(set(ids)) == len(ids)
        loaded = [problems.load(task_id) for task_id in ids]
        programs[split] = {problem.program for problem in loaded}
        assert len(programs[split]) == len(ids), "a program occurs twice"
        kinds.update(problem.task_type for problem in loaded)
    assert set(kinds) == {family.name for family in FAMILIES} and len(FAMILIES) >= 6
    assert not programs["train"] & programs["dev"] | programs["train"] & programs["test"]
    assert not programs["dev"] & programs["test"]
    for task_id in ("train/lists/4/000000", "train/lists/1/0", "train/lists/1/000096", "x", "", "train/none/1/000000"):
        with pytest.raises(TaskNotFoundError):
            problems.load(task_id)


@pytest.mark.parametrize("levels", [[], [0], [4], [True], ["1"], "1", 0, True, {1: 2}, [1, 1.0]])
def test_levels_that_do_not_exist_are_refused(levels: Any) -> None:
    with pytest.raises(ValueError, match="levels must be a list of levels from 1 to 3"):
        check_levels(levels)


def test_levels_are_sorted() -> None:
    assert (check_levels(None), check_levels([2, 1, 2]), check_levels(3)) == (LEVELS, (1, 2), (3,))


# Second implementations, by another method, of tasks whose text names them; each reads its parameters from the text.


def coins(text: str) -> Callable[..., Any]:
    most = "largest number" in text
    a, b, c, none = map(int, re.findall(r"of (\d+), (\d+) and (\d+) with the sum n; (-\d+)", text)[0])

    def solve(n: int) -> int:
        counts = [
            i + j + (n - a * i - b * j) // c
            for i in range(n // a + 1)
            for j in range((n - a * i) // b + 1)
            if (n - a * i - b * j) % c == 0
        ]
        return (max if most else min)(counts, default=none)

    return solve


def subsets(text: str) -> Callable[..., Any]:
    least, goal = map(int, re.findall(r"at least (\d+) positions .* add up to (\d+)\.", text)[0])
    return lambda xs: sum(
        sum(chosen) == goal for size in range(least, len(xs) + 1) for chosen in combinations(xs, size)
    )


def distance(text: str) -> Callable[..., Any]:
    insert, delete, change = map(int, re.findall(r"costs (\d+), deleting (\d+), changing (\d+)", text)[0])

    def solve(a: str, b: str) -> int:
        if not a or not b:
            return len(a) * delete + len(b) * insert
        return min(
            solve(a[1:], b[1:]) + (change if a[0] != b[0] else 0),
            solve(a[1:], b) + delete,
            solve(a, b[1:]) + insert,
        )

    return solve


def multiple(text: str) -> Callable[..., Any]:
    number = int(re.findall(r"(?:plus|times) (\d+) \(both", text)[0])
    if "least common" in text:
        return lambda a, b: math.lcm(a, b) + number
    return lambda a, b: math.gcd(a, b) * number


def divisors(text: str) -> Callable[..., Any]:
    least = int(re.findall(r"at least (\d+), n itself", text)[0])
    step = int(found[0][1]) - int(found[0][0]) if (found := re.findall(r"only at (\d+), (\d+)", text)) else 1
    total = text.partition(": ")[2].startswith("the sum")

    def solve(n: int) -> int:
        small = {d for d in range(1, math.isqrt(n) + 1) if n % d == 0}
        chosen = [d for d in small | {n // d for d in small} if d >= least and (d - least) % step == 0]
        return sum(chosen) if total else len(chosen)

    return solve


def stairs(text: str) -> Callable[..., Any]:
    steps = [int(step) for step in re.findall(r"\d+", re.findall(r"steps of ([\d or]+), where", text)[0])]
    plus = int(found[0]) if (found := re.findall(r"counts, plus (\d+)", text)) else 0

    @cache
    def ways(n: int) -> int:
        return 1 if n == 0 else sum(ways(n - step) for step in steps if step <= n)

    return lambda n: ways(n) + plus


def pairs(text: str) -> Callable[..., Any]:
    number = int(re.findall(r"(?:add up to|differ by exactly) (\d+)\.", text)[0])
    if "add up" in text:
        return lambda xs: sum(a + b == number for a, b in combinations(xs, 2))
    return lambda xs: sum(abs(a - b) == number for a, b in combinations(xs, 2))


def rotation(text: str) -> Callable[..., Any]:
    times = int(re.findall(r"(\d+) times\.", text)[0])

    def solve(xs: list[int]) -> list[int]:
        for _ in range(times if xs else 0):
            xs = [*xs[1:], xs[0]] if "first number" in text else [xs[-1], *xs[:-1]]
        return xs

    return solve


def merged(text: str) -> Callable[..., Any]:
    gap, least = map(int, re.findall(r"at most (\d+) apart; those of length (\d+)", text)[0])

    def solve(spans: list[list[int]]) -> list[list[int]]:
        # Points and gaps on a line of half steps, colored one by one.
        inside = {point for a, b in spans for point in range(2 * a, 2 * (b + gap) + 1)}
        result = []
        for point in sorted(inside):
            if point - 1 not in inside:
                end = point
                while end + 1 in inside:
                    end += 1
                result.append([point // 2, end // 2 - gap])
        return [span for span in result if span[1] - span[0] >= least]

    return solve


def caesar(text: str) -> Callable[..., Any]:
    places = int(re.findall(r"letter (\d+) place", text)[0])
    small = "abcdefghijklmnopqrstuvwxyz"
    return lambda s: s.translate(str.maketrans(small, small[places:] + small[:places]))


SECOND: list[tuple[Callable[[Random], Recipe], Callable[[str], Callable[..., Any]]]] = [
    (recursion._coins, coins),
    (recursion._subsets, subsets),
    (recursion._distance, distance),
    (recursion._stairs, stairs),
    (numbers._gcd, multiple),
    (numbers._divisors, divisors),
    (lists._pairs, pairs),
    (lists._rotate, rotation),
    (lists._intervals, merged),
    (strings._caesar, caesar),
]


@pytest.mark.parametrize(("maker", "second"), SECOND, ids=[second.__name__ for _, second in SECOND])
def test_another_method_gives_the_same_results(
    maker: Callable[[Random], Recipe], second: Callable[[str], Callable[..., Any]]
) -> None:
    rng = Random(second.__name__)
    checked = 0
    for _ in range(40):
        draft = draft_of(maker(rng))
        solve = second(draft.text)
        for test in (*draft.public, *draft.hidden):
            assert values_equal(solve(*test.given), test.accepted[0]), (draft.text, test)
            checked += 1
    assert checked > 200

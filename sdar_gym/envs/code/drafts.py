"""`Recipe` and `CodeDraft`: a generated task as it is written down, and with its tests."""

from __future__ import annotations

import builtins
import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from types import CodeType
from typing import Any

from sdar_gym.envs.code.checking import stdout_equal, values_equal
from sdar_gym.envs.code.problem import TestCase, WrongProgram
from sdar_gym.envs.draws import pick

ENTRY = "f"
PUBLIC_TESTS = 2
HIDDEN_TESTS = 8
# Draws for one test with an input that is new.
_MOST_DRAWS = 20
# Sets of tests that are tried for one on which a mistake shows.
_MOST_ATTEMPTS = 50


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """A task as a family writes it down; tests are made by `draft_of`. Two are equal if they are the same object.

    Attributes:
        wordings: Sentences that say what to do.
        parameters: Names of the function's parameters; empty for a program that reads standard input.
        program: The reference program.
        mistakes: Reasons and wrong programs.
        draw: Draws a random input: the arguments; or the lines on standard input.
        edges: Inputs that are always tests.
    """

    wordings: tuple[str, ...]
    parameters: str
    program: str
    mistakes: tuple[tuple[str, str], ...]
    draw: Callable[[Random], tuple[Any, ...]]
    edges: tuple[tuple[Any, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class CodeDraft:
    """A generated task before it has an id.

    Attributes:
        text: The task, with its signature and an example.
        entry: The function to write; empty for a program that reads standard input.
        program: The reference program.
        public: Tests that the agent may see.
        hidden: Further tests, the edge cases among them.
        mistakes: Wrong programs; each fails a hidden test.
    """

    text: str
    entry: str
    program: str
    public: tuple[TestCase, ...]
    hidden: tuple[TestCase, ...]
    mistakes: tuple[WrongProgram, ...]


@lru_cache(maxsize=4096)
def draft_of(recipe: Recipe) -> CodeDraft:
    """Make the tests of a recipe, the same ones for the same recipe.

    The example in the text is the random input on which most mistakes show, so that it tells readings of the text
    apart.

    Args:
        recipe: The task.

    Raises:
        ValueError: No known mistake fails the tests, or there are too few different inputs.
    """
    for attempt in range(_MOST_ATTEMPTS):
        draft = _attempt(Random(f"{attempt} {recipe.program}"), recipe)
        if draft is not None:
            return draft
    raise ValueError(f"No tests tell the program from its known mistakes: {recipe.program!r}.")


def _attempt(rng: Random, recipe: Recipe) -> CodeDraft | None:
    stdin = not recipe.parameters
    reference = _OwnProgram(recipe.program, stdin)
    inputs, edges = _inputs(rng, recipe)
    if len(inputs) < PUBLIC_TESTS + HIDDEN_TESTS:
        return None
    tests = [TestCase(_given(given, stdin), (_json(reference.run(given)),)) for given in inputs]
    wrong = [(WrongProgram(reason, program), _OwnProgram(program, stdin)) for reason, program in recipe.mistakes]
    fails = [
        [not _passes(program, given, test) for given, test in zip(inputs, tests, strict=True)] for _, program in wrong
    ]
    free = range(edges, len(inputs))
    shown = sorted(free, key=lambda number: (-sum(row[number] for row in fails), len(repr(inputs[number])), number))[
        :PUBLIC_TESTS
    ]
    hidden = [number for number in range(len(inputs)) if number not in shown]
    mistakes = tuple(
        mistake for (mistake, _), row in zip(wrong, fails, strict=True) if any(row[number] for number in hidden)
    )
    if not mistakes:
        return None
    example = _example(recipe, inputs[shown[0]], tests[shown[0]])
    head = "" if stdin else f"{ENTRY}({recipe.parameters}): "
    return CodeDraft(
        text=f"{head}{pick(rng, recipe.wordings)} {example}",
        entry="" if stdin else ENTRY,
        program=recipe.program,
        public=tuple(tests[number] for number in shown),
        hidden=tuple(tests[number] for number in hidden),
        mistakes=mistakes,
    )


class _OwnProgram:
    """A program of the generator, which is trusted and run in this process.

    Those that read standard input use `input()` and `print(...)` alone.
    """

    def __init__(self, program: str, stdin: bool):
        self._stdin = stdin
        self._code = _compiled(program)
        self._names: dict[str, Any] = {}
        if not stdin:
            exec(self._code, self._names)

    def run(self, given: tuple[Any, ...]) -> Any:
        """The value returned, or the text printed."""
        if not self._stdin:
            return self._names[ENTRY](*copy.deepcopy(given))
        lines, printed = iter(given), []
        names = {
            "input": lambda: next(lines),
            "print": lambda *values, sep=" ", end="\n": printed.append(sep.join(map(str, values)) + end),
        }
        exec(self._code, {"__builtins__": {**vars(builtins), **names}})
        return "".join(printed)


def _compiled(program: str) -> CodeType:
    return compile(program, "<task>", "exec")


def _inputs(rng: Random, recipe: Recipe) -> tuple[list[tuple[Any, ...]], int]:
    """Different inputs, the edge cases first, and the number of these."""
    inputs = {repr(given): given for given in recipe.edges}
    edges = len(inputs)
    for _ in range(_MOST_DRAWS * (PUBLIC_TESTS + HIDDEN_TESTS)):
        if len(inputs) >= PUBLIC_TESTS + HIDDEN_TESTS:
            break
        given = recipe.draw(rng)
        inputs.setdefault(repr(given), given)
    return list(inputs.values()), edges


def _passes(program: _OwnProgram, given: tuple[Any, ...], test: TestCase) -> bool:
    try:
        got = _json(program.run(given))
    except Exception:  # Any failure of a wrong program is a failed test.
        return False
    same = stdout_equal if isinstance(test.given, str) else values_equal
    return same(got, test.accepted[0])


def _given(given: tuple[Any, ...], stdin: bool) -> Any:
    return "".join(f"{line}\n" for line in given) if stdin else list(given)


def _json(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_json(part) for part in value]
    return {key: _json(part) for key, part in value.items()} if isinstance(value, dict) else value


def _example(recipe: Recipe, given: tuple[Any, ...], test: TestCase) -> str:
    if recipe.parameters:
        return f"{ENTRY}({', '.join(map(repr, given))}) == {test.accepted[0]!r}"
    return f"Example input:\n{test.given}Example output:\n{str(test.accepted[0]).rstrip()}"

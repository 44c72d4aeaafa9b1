"""`CodeProblem`, a programming task: its tests, how a program is called, and known wrong programs."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sdar_gym.envs.problems.problem import Problem

# Tests whose JSON is longer are kept compressed: those of LiveCodeBench fill gigabytes as Python's objects.
_LARGE = 50_000


@dataclass(frozen=True, slots=True)
class TestCase:
    """One test.

    Attributes:
        given: The arguments of the call, a list of JSON values; or the text on standard input.
        accepted: The expected values, or texts on standard output; a result that equals one of them passes.
    """

    # Not a test class of pytest, in whichever module it is imported.
    __test__ = False

    given: Any
    accepted: tuple[Any, ...]


class TestCases:
    """An immutable sequence of tests; large ones are kept compressed.

    Args:
        tests: The tests; arguments and values are JSON.
    """

    __test__ = False

    def __init__(self, tests: Sequence[TestCase]):
        self._count = len(tests)
        content = json.dumps([[test.given, test.accepted] for test in tests])
        self._tests = tuple(tests) if len(content) <= _LARGE else ()
        self._packed = b"" if self._tests else zlib.compress(content.encode(), 1)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[TestCase]:
        if len(self._tests) == self._count:
            yield from self._tests
        else:
            for given, accepted in json.loads(zlib.decompress(self._packed)):
                yield TestCase(given, tuple(accepted))


@dataclass(frozen=True, slots=True)
class WrongProgram:
    """A program that a task is often answered with, and that fails a hidden test.

    Attributes:
        reason: What is wrong with it, one sentence.
        program: The program.
    """

    reason: str
    program: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeProblem(Problem):
    """A programming task.

    Attributes:
        entry: Name of the function that is called, `Class.method` for a method of an object made without arguments;
            empty for a program that reads standard input.
        starter: Code to be completed; empty if there is none.
        public: Tests of which the agent is told input and expected output.
        hidden: Further tests.
        program: The reference program; empty if there is none.
        mistakes: Known wrong programs.
        standard_names: Whether programs may use names of the standard library without importing them, as on
            LeetCode.
        date: Day on which the task was published, `YYYY-MM-DD`; empty if unknown.
    """

    entry: str
    starter: str = ""
    public: TestCases
    hidden: TestCases
    program: str = ""
    mistakes: tuple[WrongProgram, ...] = ()
    standard_names: bool = False
    date: str = ""

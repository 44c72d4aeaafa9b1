"""Judgement of a program: it is run on all tests in the pool, and its results are compared in this process."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sdar_gym.envs.code.checking import stdout_equal, values_equal
from sdar_gym.envs.code.execution import Call, CodePool, FunctionCall, Job, Status, StdinCall, TestResult
from sdar_gym.envs.code.problem import CodeProblem, TestCase
from sdar_gym.envs.code.show import shown_call, shown_result

WRONG = "wrong answer"
# What programs on LeetCode and in LiveCodeBench's checker may use without importing it. The wording is ours.
STANDARD_NAMES = """\
import array, bisect, collections, copy, datetime, decimal, fractions, functools, heapq, io, itertools, json, math
import operator, os, queue, random, re, statistics, string, sys, time, typing
from string import *
from re import *
from datetime import *
from collections import *
from heapq import *
from bisect import *
from copy import *
from math import *
from random import *
from statistics import *
from itertools import *
from functools import *
from operator import *
from io import *
from sys import *
from json import *
from builtins import *
from typing import *
sys.setrecursionlimit(50000)
"""
_KINDS = {
    Status.TIMEOUT: "time limit",
    Status.MEMORY: "memory limit",
    Status.OUTPUT_LIMIT: "output limit",
    Status.EXITED: "exited early",
    Status.CRASHED: "crashed",
    Status.NO_RESULT: "no result",
    Status.SYNTAX_ERROR: "syntax error",
    Status.MISSING_ENTRY: "missing function",
}
# With one of these in a public test, the hidden tests would fail too, or cost their whole time limit.
_HOPELESS = (Status.TIMEOUT, Status.SYNTAX_ERROR, Status.MISSING_ENTRY)
# Ends that the machine has a part in.
_OF_THE_MACHINE = (Status.TIMEOUT, Status.MEMORY, Status.CRASHED, Status.NO_RESULT)
_EXCEPTION_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


@dataclass(frozen=True, slots=True)
class Failure:
    """A test that failed.

    Attributes:
        public: Whether it is a public test.
        number: Its number among those, from 1.
        kind: Why it failed: `wrong answer`, `time limit`, the type of an exception, …
        given: The input, as text.
        expected: The expected result, as text.
        got: The result, as text; empty if there was none.
        error: Traceback or reason; empty if the program ended by itself.
    """

    public: bool
    number: int
    kind: str
    given: str
    expected: str
    got: str
    error: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What came of a program's tests.

    Attributes:
        public_passed: Number of public tests that it passed.
        public: Number of public tests.
        hidden_passed: Number of hidden tests that it passed.
        hidden: Number of hidden tests.
        kinds: Why hidden tests failed, each kind once, in their order.
        first_public: The first public test that failed.
        first_hidden: The first hidden test that failed.
        hidden_run: Whether the hidden tests were run.
        repeatable: Whether no test ended for reasons that depend on how busy the machine is.
    """

    public_passed: int
    public: int
    hidden_passed: int
    hidden: int
    kinds: tuple[str, ...] = ()
    first_public: Failure | None = None
    first_hidden: Failure | None = None
    hidden_run: bool = True
    repeatable: bool = True

    @property
    def won(self) -> bool:
        """Whether all tests passed."""
        return self.public_passed == self.public and self.hidden_passed == self.hidden

    @property
    def score(self) -> float:
        """Share of all tests that passed."""
        return (self.public_passed + self.hidden_passed) / (self.public + self.hidden)


def judge(problem: CodeProblem, program: str, pool: CodePool) -> Judgement:
    """Run a program on all tests of a problem.

    The hidden tests are left out, and count as failed, where a public one shows that they would fail as well (no such
    function) or that they could take their whole time limit each.

    Args:
        problem: The problem; its expected results stay in this process.
        program: The program.
        pool: Runs it.

    Raises:
        CodePoolError: The pool failed; nothing is known about the program.
    """
    public, hidden = tuple(problem.public), tuple(problem.hidden)
    results = _run(problem, program, public, pool)
    failures = _failures(problem, public, results, public=True)
    hopeless = any(result.status in _HOPELESS for result in results)
    hidden_failures: list[Failure | str] = ["not run"] * len(hidden)
    if not hopeless:
        hidden_results = _run(problem, program, hidden, pool)
        hidden_failures = _failures(problem, hidden, hidden_results, public=False)
        results += hidden_results
    kinds = () if hopeless else tuple(dict.fromkeys(f if isinstance(f, str) else f.kind for f in hidden_failures))
    return Judgement(
        public_passed=len(public) - len(failures),
        public=len(public),
        hidden_passed=len(hidden) - len(hidden_failures),
        hidden=len(hidden),
        kinds=kinds,
        first_public=_first(failures),
        first_hidden=_first(hidden_failures),
        hidden_run=not hopeless,
        repeatable=all(result.status not in _OF_THE_MACHINE for result in results),
    )


def _first(failures: Sequence[Failure | str]) -> Failure | None:
    return failures[0] if failures and isinstance(failures[0], Failure) else None


def _run(problem: CodeProblem, program: str, tests: Sequence[TestCase], pool: CodePool) -> tuple[TestResult, ...]:
    if not tests:
        return ()
    calls = tuple(_call(problem, test) for test in tests)
    prelude = STANDARD_NAMES if problem.standard_names else ""
    return pool.run(Job(program, calls, prelude=prelude)).tests


def _call(problem: CodeProblem, test: TestCase) -> Call:
    return FunctionCall(problem.entry, tuple(test.given)) if problem.entry else StdinCall(test.given)


def _failures(
    problem: CodeProblem, tests: Sequence[TestCase], results: Sequence[TestResult], public: bool
) -> list[Failure | str]:
    """The first failed test in full, and the kinds of the others."""
    failures: list[Failure | str] = []
    for number, (test, result) in enumerate(zip(tests, results, strict=True), start=1):
        kind = _kind(problem, test, result)
        if not kind:
            continue
        if failures:
            failures.append(kind)
            continue
        failures.append(
            Failure(
                public,
                number,
                kind,
                shown_call(problem.entry, test.given),
                shown_result(problem.entry, test.accepted[0]),
                shown_result(problem.entry, result.value if problem.entry else result.stdout)
                if result.status is Status.OK
                else "",
                result.error,
            )
        )
    return failures


def _kind(problem: CodeProblem, test: TestCase, result: TestResult) -> str:
    """Why a test failed; empty if it passed."""
    if result.status is Status.OK:
        if problem.entry:
            passed = any(values_equal(result.value, value) for value in test.accepted)
        else:
            passed = any(stdout_equal(result.stdout, text) for text in test.accepted)
        return "" if passed else WRONG
    if result.status is Status.EXCEPTION:
        name = _EXCEPTION_NAME.match(result.error.rpartition("\n")[2])
        return name.group() if name and result.error.startswith("Traceback") else "no JSON value"
    return _KINDS[result.status]

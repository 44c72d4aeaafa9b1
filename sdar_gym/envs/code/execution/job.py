"""Job for untrusted code: a program, the calls it is tested with, their limits, and what came of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from sdar_gym.text import shortened
from sdar_gym.validation import finite_number, flag, whole_number

MEBIBYTE = 1024 * 1024
LARGEST_TEXT = 64 * MEBIBYTE


@dataclass(frozen=True)
class Limits:
    """What a test may use; a test that uses more ends, and only it.

    Attributes:
        cpu_seconds: Processor time of the test's process, its ended children included.
        wall_seconds: Time from its start to its end.
        job_seconds: Time of all tests of a job; what is left then is not run and counts as timed out.
        memory_bytes: Memory beyond the interpreter's own: address space of each process, and resident memory of all
            together.
        file_bytes: Size of a file; at level `namespace` of the whole private folder, which is in memory.
        processes: Processes and threads at the same time, the first included.
        output_bytes: Standard output, and the returned value as JSON, each.
    """

    cpu_seconds: float = 5.0
    wall_seconds: float = 10.0
    job_seconds: float = 60.0
    memory_bytes: int = 512 * MEBIBYTE
    file_bytes: int = 16 * MEBIBYTE
    processes: int = 32
    output_bytes: int = MEBIBYTE

    def __post_init__(self) -> None:
        lowest = {"memory_bytes": 16 * MEBIBYTE, "file_bytes": 65536, "processes": 1, "output_bytes": 1024}
        highest = {"output_bytes": LARGEST_TEXT, "processes": 4096}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in lowest:
                whole_number(field.name, value, lowest[field.name], highest.get(field.name))
            else:
                finite_number(field.name, value, above=0, high=86_400)


@dataclass(frozen=True)
class StdinCall:
    """The program runs as `__main__` and reads this; what it prints is its answer."""

    stdin: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.stdin, str):
            raise ValueError(f"stdin must be a text, got {shortened(self.stdin)}.")
        _bounded("stdin", self.stdin)


@dataclass(frozen=True)
class FunctionCall:
    """A function of the program is called; the value it returns is its answer.

    Attributes:
        entry: A function's name, or `Class.method`: of an object made without arguments.
        arguments: Positional arguments, JSON values.
    """

    entry: str
    arguments: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        parts = self.entry.split(".") if isinstance(self.entry, str) else []
        if not 1 <= len(parts) <= 2 or not all(part.isidentifier() for part in parts):
            raise ValueError(f"entry must be a name, or Class.method, got {shortened(self.entry)}.")
        object.__setattr__(self, "arguments", tuple(self.arguments))
        _bounded("arguments", self.encoded_arguments())

    def encoded_arguments(self) -> str:
        """The arguments as JSON.

        Raises:
            ValueError: They are no JSON values.
        """
        try:
            return json.dumps(self.arguments, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"arguments must be JSON values, got {shortened(self.arguments)}: {error}.") from error


Call = StdinCall | FunctionCall


@dataclass(frozen=True)
class Job:
    """A program and its tests. Expected outputs are no part of it: they stay with whoever compares.

    Attributes:
        program: Source text.
        tests: The calls, each run in a process of its own, in this order.
        stop_at_first_failure: Whether tests after one that failed are left out.
        prelude: Trusted source text that runs before the program in the same namespace, such as the imports that a
            collection of tasks takes for granted. It does not shift the program's line numbers.
    """

    program: str
    tests: tuple[Call, ...]
    stop_at_first_failure: bool = False
    prelude: str = ""

    def __post_init__(self) -> None:
        for name in ("program", "prelude"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise ValueError(f"{name} must be a text, got {shortened(value)}.")
            _bounded(name, value)
        tests: Any = self.tests
        if not isinstance(tests, Iterable):
            raise ValueError(f"tests must be a sequence of StdinCall and FunctionCall, got {shortened(tests)}.")
        object.__setattr__(self, "tests", tuple(tests))
        for test in self.tests:
            if not isinstance(test, StdinCall | FunctionCall):
                raise ValueError(f"tests must be StdinCall and FunctionCall, got {shortened(test)}.")
        flag("stop_at_first_failure", self.stop_at_first_failure)


class Status(StrEnum):
    """How a test ended."""

    OK = "ok"  # It ended by itself, with an answer.
    EXCEPTION = "exception"  # An exception, or a returned value that is no JSON.
    TIMEOUT = "timeout"
    MEMORY = "memory"
    OUTPUT_LIMIT = "output_limit"
    EXITED = "exited"  # It left with an exit code other than 0, or before it returned a value.
    CRASHED = "crashed"  # A signal ended it, or it had too many processes.
    NO_RESULT = "no_result"  # What it wrote in place of a result cannot be read.
    SYNTAX_ERROR = "syntax_error"
    MISSING_ENTRY = "missing_entry"


@dataclass(frozen=True)
class TestResult:
    """What came of a test.

    Attributes:
        status: How it ended.
        stdout: What it printed, cut to the limit.
        value: The value a function returned: a JSON value.
        error: A traceback of the program's own frames, or a sentence that says why there is no answer.
        seconds: From the start of its process to its end.
        cpu_seconds: Processor time.
    """

    __test__ = False  # Not a class of tests, whatever pytest thinks.

    status: Status
    stdout: str = ""
    value: Any = None
    error: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0


@dataclass(frozen=True)
class JobResult:
    """What came of a job.

    Attributes:
        tests: A result for each test that was asked for, in order; fewer where the job stopped at a failure.
        seconds: Of all of it, without waiting for a free worker.
    """

    tests: tuple[TestResult, ...]
    seconds: float

    @property
    def all_ok(self) -> bool:
        """Whether every test ran to its end; says nothing about right or wrong."""
        return all(test.status is Status.OK for test in self.tests)


def _bounded(name: str, text: str) -> None:
    if len(text) > LARGEST_TEXT:
        raise ValueError(f"{name} must have at most {LARGEST_TEXT} characters, got {len(text)}.")

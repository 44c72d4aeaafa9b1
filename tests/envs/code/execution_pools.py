"""Pools for the tests of the execution of code: one a backend and kind of limits, and what they leave behind."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import time
from typing import Any

import pytest

from sdar_gym.envs.code.execution import (
    CodePool,
    FunctionCall,
    Job,
    Limits,
    StdinCall,
    TestResult,
    probe_isolation,
    shared_pool,
)
from sdar_gym.envs.code.execution.sandbox import processes

MEBIBYTE = 1024 * 1024
BACKENDS = ("namespace", "bubblewrap", "process")
LIMITS = Limits(
    cpu_seconds=4,
    wall_seconds=8,
    job_seconds=60,
    memory_bytes=128 * MEBIBYTE,
    file_bytes=MEBIBYTE,
    processes=16,
    output_bytes=65536,
)
# For programs that would run for ever.
SHORT = Limits(
    cpu_seconds=0.2,
    wall_seconds=0.35,
    job_seconds=60,
    memory_bytes=128 * MEBIBYTE,
    file_bytes=MEBIBYTE,
    processes=16,
    output_bytes=65536,
)


@functools.cache
def pool_of(backend: str, limits: Limits = LIMITS) -> CodePool:
    """The pool of a backend, which works here; skips the test where it does not."""
    need(backend)
    return shared_pool(2, backend, limits)


def need(backend: str) -> None:
    """Skips the test where a backend does not work."""
    report = probe_isolation(backend)
    if report.level is None:
        pytest.skip(report.line())


def is_namespace(backend: str) -> bool:
    """Whether a backend gives the level `namespace`."""
    return backend != "process"


def stdin_test(backend: str, program: str, stdin: str = "", limits: Limits = LIMITS) -> TestResult:
    """The result of a program that reads and prints."""
    return pool_of(backend, limits).run(Job(program, (StdinCall(stdin),))).tests[0]


def call_test(backend: str, program: str, *arguments: Any, entry: str = "solve", limits: Limits = LIMITS) -> TestResult:
    """The result of a function of a program."""
    return pool_of(backend, limits).run(Job(program, (FunctionCall(entry, arguments),))).tests[0]


def seen(backend: str, program: str, stdin: str = "") -> Any:
    """What a program printed as JSON, which must end well."""
    result = stdin_test(backend, program, stdin)
    assert result.status == "ok", result
    return json.loads(result.stdout)


def left_over(pool: CodePool) -> list[int]:
    """Processes below a pool's fork server, which has no job now."""
    server = pool._state.current
    assert server is not None
    for _ in range(100):  # The server takes the exit code of a sandbox a moment after its end.
        if not processes.descendants(server.pid):
            break
        time.sleep(0.02)
    return processes.descendants(server.pid)


def in_own_process(module: str, function: str, *arguments: Any) -> None:
    """Runs a function of a test module in a process of its own, whose descriptors and memory are of nothing else."""
    folder = os.path.dirname(os.path.abspath(__file__))
    code = f"import sys; sys.path.insert(0, {folder!r}); import {module}; {module}.{function}(*{arguments!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def own_descriptors() -> int:
    """Open descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))


# An interpreter for every job makes bubblewrap slow: escapes are tried in it each time, the rest with the slow tests.
every_backend = pytest.mark.parametrize("backend", BACKENDS)
backends = pytest.mark.parametrize(
    "backend", ["namespace", "process", pytest.param("bubblewrap", marks=pytest.mark.slow)]
)

"""Evaluations and tests per second of the code pool at each isolation, against a plain subprocess per test, in one run.

    python benchmarks/code_pool.py --json benchmarks/results/code_pool.json

An evaluation is a small program on one test; a job of ten tests shows what a test costs beside it. All sides read a
line of numbers and print its sum. The plain sides start `python -c` for each test, without any isolation or limit but a
timeout: as it is, and bare (`-I -S`, no site packages). Sides take turns, and their order alternates. Seconds are those
of the clock; the processors are shared with whatever else runs, so the load is part of the result.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from machine import machine, machine_line, resident_mb

from sdar_gym.envs.code.execution import CodePool, Job, Limits, StdinCall, probe_isolation

PROGRAM = "import sys\nprint(sum(map(int, sys.stdin.readline().split())))\n"
STDIN, ANSWER = "1 2 3 4\n", "10\n"
BACKENDS = ("namespace", "bubblewrap", "process")
PLAIN = {"subprocess": (), "subprocess_bare": ("-I", "-S")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="Rounds over all sides; their order alternates.")
    parser.add_argument("--seconds", type=float, default=1.5, help="How long a side runs in a round.")
    parser.add_argument("--threads", type=int, nargs="+", default=(1, 2), help="Threads that ask at the same time.")
    parser.add_argument("--tests", type=int, nargs="+", default=(1, 10), help="Tests of a job.")
    parser.add_argument("--json", type=Path, help="Where the result is written.")
    options = parser.parse_args()
    where = machine()
    result: dict[str, Any] = {
        "command": "python benchmarks/code_pool.py " + " ".join(sys.argv[1:]),
        "user": "root" if os.getuid() == 0 else "ordinary",
        "machine": where,
        "isolation": {},
        "rates": {},
    }
    print(machine_line(where))
    with ExitStack() as stack:
        sides: dict[str, Callable[[int], None]] = {}
        pools: dict[str, CodePool] = {}
        for backend in BACKENDS:
            report = probe_isolation(backend)
            result["isolation"][backend] = report.line()
            if report.level is not None:
                pools[backend] = stack.enter_context(CodePool(max(options.threads), backend, Limits()))
                sides[backend] = _by_pool(pools[backend])
        for name, flags in PLAIN.items():
            sides[name] = _by_subprocess(flags)
        for tests in options.tests:
            for threads in options.threads:
                key = f"{tests} tests, {threads} threads"
                result["rates"][key] = measured = _compare(sides, tests, threads, options)
                for name, rates in measured.items():
                    print(
                        f"{key}: {name}: {rates['jobs_per_second']:.1f} jobs/s "
                        f"({min(rates['all']):.1f} to {max(rates['all']):.1f}), {rates['tests_per_second']:.1f} tests/s"
                    )
        result["statistics"] = {name: vars(pool.statistics()) for name, pool in pools.items()}
        result["start_seconds"] = {name: round(_start(name), 3) for name in pools}
    result["resident_mb"] = resident_mb()
    where["load_average_after"] = machine()["load_average"]
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _by_pool(pool: CodePool) -> Callable[[int], None]:
    def run(tests: int) -> None:
        result = pool.run(Job(PROGRAM, (StdinCall(STDIN),) * tests))
        assert all(test.stdout == ANSWER for test in result.tests), result

    return run


def _by_subprocess(flags: tuple[str, ...]) -> Callable[[int], None]:
    def run(tests: int) -> None:
        for _ in range(tests):
            command = [sys.executable, *flags, "-c", PROGRAM]
            done = subprocess.run(command, input=STDIN, capture_output=True, text=True, timeout=10, check=True)
            assert done.stdout == ANSWER

    return run


def _compare(
    sides: dict[str, Callable[[int], None]], tests: int, threads: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Jobs and tests per second of each side."""
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for run in sides.values():
        run(tests)
    for repeat in range(options.repeats):
        for name in list(sides)[:: 1 if repeat % 2 == 0 else -1]:
            rates[name].append(_rate(sides[name], tests, threads, options.seconds))
    return {
        name: {
            "jobs_per_second": round(median(each), 2),
            "tests_per_second": round(median(each) * tests, 2),
            "all": [round(rate, 2) for rate in each],
        }
        for name, each in rates.items()
    }


def _rate(run: Callable[[int], None], tests: int, threads: int, seconds: float) -> float:
    started = time.perf_counter()

    def work() -> int:
        done = 0
        while time.perf_counter() - started < seconds:
            run(tests)
            done += 1
        return done

    with ThreadPoolExecutor(threads) as executor:
        done = sum(executor.map(lambda _: work(), range(threads)))
    return done / (time.perf_counter() - started)


def _start(backend: str) -> float:
    """Seconds from nothing to the first answer."""
    started = time.perf_counter()
    with CodePool(1, backend) as pool:
        _by_pool(pool)(1)
        return time.perf_counter() - started


if __name__ == "__main__":
    main()

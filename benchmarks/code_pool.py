"""Evaluations and tests per second of the code pool at each isolation, against a plain subprocess per test, in one run.

    python benchmarks/code_pool.py --json benchmarks/results/code_pool.json

An evaluation is a small program on one test; a job of ten tests shows what a test costs beside it. All sides read a
line of numbers and print its sum. The plain sides start `python -c` for each test, without any isolation or limit but a
timeout: as it is, and bare (`-I -S`, no site packages). Sides take turns, and their order alternates. Rates are by the
clock, and the processors are shared with whatever else runs: the load is part of the result. Processor time of an
evaluation counts this process, the fork server and all it started; it depends on the load much less.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
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
                measured = _compare(sides, lambda: _cpu_seconds(pools), tests, threads, options)
                result["rates"][key] = measured
                for name, rates in measured.items():
                    print(
                        f"{key}: {name}: {rates['jobs_per_second']:.1f} jobs/s "
                        f"({min(rates['all']):.1f} to {max(rates['all']):.1f}), "
                        f"{rates['tests_per_second']:.1f} tests/s, {rates['cpu_ms_per_job']:.1f} ms of processors a job"
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
    sides: dict[str, Callable[[int], None]],
    cpu: Callable[[], float],
    tests: int,
    threads: int,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Jobs and tests per second of each side."""
    rates: dict[str, list[float]] = {name: [] for name in sides}
    costs: dict[str, list[float]] = {name: [] for name in sides}
    for run in sides.values():
        run(tests)
    for repeat in range(options.repeats):
        for name in list(sides)[:: 1 if repeat % 2 == 0 else -1]:
            before = cpu()
            rate, done = _rate(sides[name], tests, threads, options.seconds)
            time.sleep(0.05)  # The fork server takes the exit code of the last sandbox.
            rates[name].append(rate)
            costs[name].append(1000 * (cpu() - before) / done)
    return {
        name: {
            "jobs_per_second": round(median(each), 2),
            "tests_per_second": round(median(each) * tests, 2),
            "all": [round(rate, 2) for rate in each],
            "cpu_ms_per_job": round(median(costs[name]), 2),
            "cpu_ms_all": [round(cost, 2) for cost in costs[name]],
        }
        for name, each in rates.items()
    }


def _cpu_seconds(pools: dict[str, CodePool]) -> float:
    """Processor time of this process, its ended children, and the fork servers with all they waited for."""
    used = time.process_time()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    used += children.ru_utime + children.ru_stime
    for pool in pools.values():
        server = pool._state.current
        assert server is not None
        # After the name: user, system, and the same of children that ended; fields 14 to 17.
        fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()[11:15]
        used += sum(map(int, fields)) / os.sysconf("SC_CLK_TCK")
    return used


def _rate(run: Callable[[int], None], tests: int, threads: int, seconds: float) -> tuple[float, int]:
    """Jobs per second, and how many there were."""
    started = time.perf_counter()

    def work() -> int:
        done = 0
        while time.perf_counter() - started < seconds:
            run(tests)
            done += 1
        return done

    with ThreadPoolExecutor(threads) as executor:
        done = sum(executor.map(lambda _: work(), range(threads)))
    return done / (time.perf_counter() - started), done


def _start(backend: str) -> float:
    """Seconds from nothing to the first answer."""
    started = time.perf_counter()
    with CodePool(1, backend) as pool:
        _by_pool(pool)(1)
        return time.perf_counter() - started


if __name__ == "__main__":
    main()

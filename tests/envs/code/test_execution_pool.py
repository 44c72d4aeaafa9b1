"""Pool: many threads, a fork server that dies or hangs, forks, closing, and nothing left behind."""

from __future__ import annotations

import glob
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from execution_pools import LIMITS, backends, in_own_process, left_over, need, own_descriptors

from sdar_gym.envs.code.execution import (
    CodePool,
    CodePoolClosedError,
    CodePoolError,
    FunctionCall,
    Job,
    Limits,
    Status,
    StdinCall,
    server,
    shared_pool,
)
from sdar_gym.envs.code.execution.sandbox import processes

ADD = Job("def solve(a, b): return a + b", (FunctionCall("solve", (1, 2)),))


def folders() -> set[str]:
    """Folders of this process's fork servers; other processes test at the same time."""
    return set(glob.glob(os.path.join(tempfile.gettempdir(), f"sdar-code-{os.getpid()}-*")))


@backends
def test_many_threads_share_a_pool_and_nothing_is_left(backend: str) -> None:
    need(backend)
    in_own_process("test_execution_pool", "share_a_pool", backend)


def share_a_pool(backend: str) -> None:
    """Many threads ask one pool; what is there is counted before and after."""
    before, known, descriptors = set(processes.descendants(os.getpid())), folders(), own_descriptors()
    with CodePool(3, backend, LIMITS) as code_pool, ThreadPoolExecutor(8) as threads:
        program = "def solve(n):\n    open('f', 'w').write(str(n))\n    return [n, open('f').read()]"
        jobs = [Job(program, (FunctionCall("solve", (n,)), FunctionCall("solve", (-n,)))) for n in range(12)]
        results = list(threads.map(code_pool.run, jobs))
        assert [[test.value for test in result.tests] for result in results] == [
            [[n, str(n)], [-n, str(-n)]] for n in range(12)
        ]
        statistics = code_pool.statistics()
        assert (statistics.jobs, statistics.tests) == (12, {"ok": 24})
        assert statistics.servers_started == 1
        assert statistics.sandboxes_lost == statistics.servers_replaced == statistics.jobs_failed == 0
    assert set(processes.descendants(os.getpid())) <= before
    assert folders() <= known
    assert own_descriptors() == descriptors


def test_at_most_so_many_sandboxes_run_at_once() -> None:
    with CodePool(2, "process", LIMITS) as code_pool, ThreadPoolExecutor(6) as threads:
        sleep = Job("import time\ntime.sleep(0.2)", (StdinCall(),))
        futures = [threads.submit(code_pool.run, sleep) for _ in range(6)]
        most = 0
        while not all(future.done() for future in futures):
            most = max(most, len(code_pool._state.running))
            time.sleep(0.01)
        assert most == 2


@backends
def test_a_server_that_died_is_replaced(backend: str) -> None:
    need(backend)
    with CodePool(1, backend, LIMITS) as code_pool:
        assert code_pool.run(ADD).tests[0].value == 3
        current = code_pool._state.current
        assert current is not None
        os.kill(current.pid, signal.SIGKILL)
        assert code_pool.run(ADD).tests[0].value == 3
        statistics = code_pool.statistics()
        assert (statistics.servers_started, statistics.servers_replaced) == (2, 1)
        assert not os.path.exists(current.folder)


@backends
def test_a_job_whose_server_dies_is_run_once_more(backend: str) -> None:
    need(backend)
    with CodePool(1, backend, LIMITS) as code_pool, ThreadPoolExecutor(1) as threads:
        future = threads.submit(code_pool.run, Job("import time\ntime.sleep(0.5)\nprint(1)", (StdinCall(),)))
        first = _kill_while_running(code_pool)
        assert future.result(30).tests[0].stdout == "1\n"
        statistics = code_pool.statistics()
        assert (statistics.jobs, statistics.jobs_retried, statistics.jobs_failed) == (1, 1, 0)
        assert not [pid for pid in first if _runs(pid)]


def test_a_job_whose_server_dies_twice_is_an_error() -> None:
    with CodePool(1, "process", LIMITS) as code_pool, ThreadPoolExecutor(1) as threads:
        future = threads.submit(code_pool.run, Job("import time\ntime.sleep(5)", (StdinCall(),)))
        _kill_while_running(code_pool)
        _kill_while_running(code_pool)
        with pytest.raises(CodePoolError, match="could not be run, twice: the fork server ended"):
            future.result(30)
        assert code_pool.statistics().jobs_failed == 1
        assert code_pool.run(ADD).tests[0].value == 3


def test_a_server_that_hangs_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with CodePool(1, "process", LIMITS) as code_pool:
        current = code_pool._state.current
        assert current is not None
        os.kill(current.pid, signal.SIGSTOP)
        monkeypatch.setattr(server, "ANSWER_SECONDS", 2.0)
        assert code_pool.run(ADD).tests[0].value == 3
        assert code_pool.statistics().servers_replaced == 1


def test_a_sandbox_that_is_killed_is_the_programs_loss() -> None:
    with CodePool(1, "process", LIMITS) as code_pool, ThreadPoolExecutor(1) as threads:
        job = Job("import time\ntime.sleep(5)", (StdinCall(), StdinCall()))
        future = threads.submit(code_pool.run, job)
        sandbox = _running(code_pool)[0]
        os.kill(sandbox, signal.SIGKILL)
        assert [test.status for test in future.result(30).tests] == [Status.CRASHED, Status.NO_RESULT]
        assert code_pool.run(ADD).tests[0].value == 3
        statistics = code_pool.statistics()
        assert (statistics.sandboxes_lost, statistics.servers_replaced) == (1, 0)
        assert left_over(code_pool) == []


def test_a_sandbox_that_hangs_is_ended_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "GRACE_SECONDS", 0.3)
    limits = Limits(**{**vars(LIMITS), "wall_seconds": 0.3})
    with CodePool(1, "process", limits) as code_pool, ThreadPoolExecutor(1) as threads:
        future = threads.submit(code_pool.run, Job("import time\ntime.sleep(5)", (StdinCall(),)))
        os.kill(_running(code_pool)[0], signal.SIGSTOP)
        assert future.result(30).tests[0].status is Status.TIMEOUT
        assert code_pool.statistics().sandboxes_lost == 1
        assert code_pool.run(ADD).tests[0].value == 3


@backends
def test_closing_ends_jobs_and_is_fine_twice(backend: str) -> None:
    need(backend)
    known = folders()
    code_pool = CodePool(1, backend, LIMITS)
    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(code_pool.run, Job("import time\ntime.sleep(8)", (StdinCall(),)))
        family = _running(code_pool)
        code_pool.close()
        with pytest.raises(CodePoolClosedError):
            future.result(30)
    code_pool.close()
    assert code_pool.closed
    with pytest.raises(CodePoolClosedError):
        code_pool.run(ADD)
    assert not [pid for pid in family if _runs(pid)]
    assert folders() <= known


def test_a_pool_nobody_holds_ends() -> None:
    code_pool = CodePool(1, "process", LIMITS)
    current = code_pool._state.current
    assert current is not None
    del code_pool
    assert not _runs(current.pid)


def test_shared_pools_are_one_a_process_and_settings() -> None:
    limits = Limits(cpu_seconds=3)
    first = shared_pool(1, "process", limits)
    assert shared_pool(1, "process", Limits(cpu_seconds=3)) is first
    assert shared_pool(2, "process", limits) is not first
    first.close()
    assert shared_pool(1, "process", limits) is not first
    for workers in (1, 2):
        shared_pool(workers, "process", limits).close()


def test_a_fork_has_pools_of_its_own() -> None:
    limits = Limits(cpu_seconds=3)
    first = shared_pool(1, "process", limits)
    current = first._state.current
    assert current is not None
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            try:
                first.run(ADD)
            except CodePoolClosedError:
                own = shared_pool(1, "process", limits)
                assert own is not first
                assert own.run(ADD).tests[0].value == 3
                own.close()
                first.close()
                code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    assert current.is_alive()
    assert first.run(ADD).tests[0].value == 3
    first.close()


OWNER = """
import os, sys, threading, time
from sdar_gym.envs.code.execution import *
pool = shared_pool(1, "process", Limits())
job = Job("import time\\ntime.sleep(9)", (StdinCall(),))
threading.Thread(target=pool.run, args=(job,), daemon=True).start()
while not pool._state.running: time.sleep(0.01)
print(pool._state.current.pid, pool._state.current.folder, flush=True)
if sys.argv[1] == "killed": os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("end", ["killed", "ends"])
def test_the_end_of_the_owner_is_the_end_of_all(end: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", OWNER, end]
    owner = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    pid, folder = owner.stdout.split()
    assert owner.returncode == (-9 if end == "killed" else 0), owner.stderr
    for _ in range(500):
        if not _runs(int(pid)) and not os.path.exists(folder):
            break
        time.sleep(0.02)
    assert not _runs(int(pid))
    assert not os.path.exists(folder)


@pytest.mark.parametrize("workers", [0, -1, 1.5, "2", 1000])
def test_wrong_numbers_of_workers_are_refused(workers: object) -> None:
    with pytest.raises(ValueError, match="workers must be"):
        CodePool(workers, "process")  # type: ignore[arg-type]


def test_large_inputs_and_outputs_pass() -> None:
    limits = Limits(output_bytes=8 * 2**20)
    with CodePool(1, "process", limits) as code_pool:
        text = "x" * (5 * 2**20)
        job = Job("def solve(text): return text", (FunctionCall("solve", (text,)),))
        assert code_pool.run(job).tests[0].value == text
        job = Job("import sys\nsys.stdout.write(sys.stdin.read())", (StdinCall(text),))
        assert code_pool.run(job).tests[0].stdout == text


def _running(code_pool: CodePool) -> list[int]:
    """Processes of the fork server's sandboxes, the first a supervisor, once a test runs."""
    for _ in range(1000):
        current = code_pool._state.current
        family = [] if current is None or not code_pool._state.running else processes.descendants(current.pid)
        if current is not None and len(family) >= 2 and _sleeps(family[-1]):
            return family
        time.sleep(0.01)
    raise AssertionError("no test runs")


def _kill_while_running(code_pool: CodePool) -> list[int]:
    family = _running(code_pool)
    current = code_pool._state.current
    assert current is not None
    os.kill(current.pid, signal.SIGKILL)
    while code_pool._state.current is current:
        time.sleep(0.01)
    return family


def _sleeps(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/wchan").read_text() != "" and _state(pid) == "S"
    except OSError:
        return False


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "gone"


def _runs(pid: int) -> bool:
    for _ in range(100):
        if _state(pid) in ("gone", "Z", "X"):
            return False
        time.sleep(0.02)
    return True

"""Code pool: runs untrusted programs on tests, at most so many at once, from any number of threads."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from sdar_gym.validation import whole_number

from .errors import CodePoolClosedError, CodePoolError
from .isolation import IsolationReport, resolve_isolation
from .job import Job, JobResult, Limits, Status, TestResult
from .outcome import clean_error, outcome
from .server import Sandbox, SandboxHungError, SandboxLostError, Server, ServerLostError

_MOST_WORKERS = 256  # A slot is part of a user's number.


@dataclass(frozen=True)
class PoolStatistics:
    """Counts since the pool was made.

    Attributes:
        jobs: Jobs that were answered.
        tests: Tests that were answered, by status.
        servers_started: Fork servers, the first included.
        servers_replaced: Fork servers that died or hung.
        jobs_retried: Jobs that were run a second time after that.
        jobs_failed: Jobs that could not be run at all; each raised `CodePoolError`.
        sandboxes_lost: Sandboxes that ended, or did not answer, before their job did.
    """

    jobs: int
    tests: dict[str, int]
    servers_started: int
    servers_replaced: int
    jobs_retried: int
    jobs_failed: int
    sandboxes_lost: int


class CodePool:
    """Runs jobs in sandboxes, each job in one of its own and each test in a process of its own.

    Args:
        workers: Sandboxes at the same time; by default as many as processors this process may use.
        isolation: `auto` for the best level here, `strict` to refuse less than `namespace`, or a backend's name.
        limits: What a test may use.

    Attributes:
        isolation: What holds here.
        limits: As given.
        workers: As given.

    Raises:
        IsolationUnavailableError: This system cannot isolate as asked.
        CodePoolError: The fork server does not start.
        ValueError: An argument is wrong.
    """

    def __init__(self, workers: int | None = None, isolation: str = "auto", limits: Limits | None = None):
        if workers is not None:
            whole_number("workers", workers, 1, _MOST_WORKERS)
        self.isolation: IsolationReport = resolve_isolation(isolation)
        self.workers = min(len(os.sched_getaffinity(0)), _MOST_WORKERS) if workers is None else int(workers)
        self.limits = Limits() if limits is None else limits
        self._state = _State(self.isolation.backend, self.limits, self.workers)
        self._finalizer = weakref.finalize(self, _State.close, self._state)
        self._state.server()  # A server that cannot start says so now.

    def run(self, job: Job, accept: Callable[[int, TestResult], bool] | None = None) -> JobResult:
        """Runs a job; waits for a free worker first. Any thread may call this.

        Args:
            job: Program and tests.
            accept: Called in this process after each test that ended by itself, with its index and result: whether its
                answer is right. With `stop_at_first_failure` a wrong answer ends the job as other failures do.

        Raises:
            CodePoolError: The job could not be run, twice. Nothing is known about its program.
            CodePoolClosedError: The pool is closed, or was inherited by a fork.
        """
        return self._state.run(job, accept)

    def statistics(self) -> PoolStatistics:
        """Counts since the pool was made."""
        return self._state.statistics()

    @property
    def closed(self) -> bool:
        """Whether the pool is closed."""
        return self._state.closed

    def close(self) -> None:
        """Ends all sandboxes and the fork server. Twice is fine; jobs that run raise `CodePoolClosedError`."""
        self._finalizer()

    def __enter__(self) -> CodePool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _State:
    """What a pool's finalizer needs: all but the pool itself."""

    def __init__(self, backend: str, limits: Limits, workers: int):
        self.backend, self.limits = backend, limits
        self.process, self.closed = os.getpid(), False
        self.lock = threading.Lock()
        self.free, self.slots = threading.Semaphore(workers), list(range(workers))
        self.counts: Counter[str] = Counter()
        self.tests: Counter[str] = Counter()
        self.current: Server | None = None
        self.running: set[Sandbox] = set()
        _ALL.add(self)

    # The fork server.

    def server(self) -> Server:
        """The fork server; a new one where there is none, or it died."""
        with self.lock:
            if self.closed:
                raise CodePoolClosedError("The code pool is closed.")
            if self.current is not None and not self.current.is_alive():
                self._drop()
            if self.current is None:
                try:
                    self.current = Server(self.backend, self.limits, shutil.which("bwrap"))
                except ServerLostError as error:
                    raise CodePoolError(f"Code pool: {clean_error(str(error))}.") from error
                self.counts["servers_started"] += 1
            return self.current

    def replace(self, server: Server) -> None:
        """Ends a server that failed, once, however many jobs saw it fail."""
        with self.lock:
            if self.current is server and not self.closed:
                self._drop()

    def _drop(self) -> None:
        assert self.current is not None
        self.current.kill()
        self.current = None
        self.counts["servers_replaced"] += 1

    # Jobs.

    def run(self, job: Job, accept: Callable[[int, TestResult], bool] | None) -> JobResult:
        """See `CodePool.run`."""
        if os.getpid() != self.process:
            raise CodePoolClosedError("This code pool belongs to the process this one was forked from; make one here.")
        with self.free:
            with self.lock:
                slot = self.slots.pop()
            try:
                return self._attempts(job, accept, slot)
            finally:
                with self.lock:
                    self.slots.append(slot)

    def _attempts(self, job: Job, accept: Callable[[int, TestResult], bool] | None, slot: int) -> JobResult:
        reasons = []
        for attempt in range(2):
            server = self.server()
            try:
                result = self._once(server, job, accept, slot)
            except ServerLostError as error:
                if self.closed:
                    raise CodePoolClosedError("The code pool was closed while a job ran.") from error
                reasons.append(clean_error(str(error)))
                self.replace(server)
                self._count("jobs_retried" if attempt == 0 else "jobs_failed")
                continue
            with self.lock:
                self.counts["jobs"] += 1
                self.tests.update(str(test.status) for test in result.tests)
            return result
        raise CodePoolError(f"Code pool: a job could not be run, twice: {'; '.join(reasons)}.")

    def _once(self, server: Server, job: Job, accept: Callable[[int, TestResult], bool] | None, slot: int) -> JobResult:
        started = time.monotonic()
        results: list[TestResult] = []
        sandbox = server.sandbox(slot)
        self.running.add(sandbox)
        lost = False
        try:
            sandbox.open(job)
            for index, call in enumerate(job.tests):
                left = self.limits.job_seconds - (time.monotonic() - started)
                if left <= 0:
                    result = TestResult(Status.TIMEOUT, error="the job's time was over before this test")
                elif lost:
                    result = TestResult(Status.NO_RESULT, error="an earlier test ended the sandbox")
                else:
                    try:
                        seconds = min(self.limits.wall_seconds, left)
                        result = outcome(call, self.limits, *sandbox.run(call, self.limits, seconds))
                    except SandboxLostError as error:
                        lost, result = True, self._lost(server, error)
                results.append(result)
                right = result.status is Status.OK and (accept is None or accept(index, result))
                if job.stop_at_first_failure and not right:
                    break
        finally:
            self.running.discard(sandbox)
            if not sandbox.close() and not lost:
                self._count("sandboxes_lost")
        return JobResult(tuple(results), time.monotonic() - started)

    def _lost(self, server: Server, error: SandboxLostError) -> TestResult:
        """The result of a test whose sandbox is gone: the program's doing, where the server lives."""
        time.sleep(0.05)  # The end of a server ends its sandboxes; which was first is not known yet.
        if self.closed or not server.is_alive():
            raise ServerLostError("the fork server ended") from error
        self._count("sandboxes_lost")
        late = isinstance(error, SandboxHungError)
        status = Status.TIMEOUT if late else Status.CRASHED
        return TestResult(status, error="the sandbox did not answer in time" if late else "the sandbox was ended")

    def _count(self, name: str) -> None:
        with self.lock:
            self.counts[name] += 1

    def statistics(self) -> PoolStatistics:
        """See `CodePool.statistics`."""
        names = ("jobs", "servers_started", "servers_replaced", "jobs_retried", "jobs_failed", "sandboxes_lost")
        with self.lock:
            return PoolStatistics(tests=dict(self.tests), **{name: self.counts[name] for name in names})

    def close(self) -> None:
        """Ends everything; in a fork of the owner, only forgets it."""
        if os.getpid() != self.process:
            return
        with self.lock:
            if self.closed:
                return
            self.closed = True
            server, self.current = self.current, None
        for sandbox in list(self.running):
            with contextlib.suppress(OSError):
                sandbox.kill()
        if server is not None:
            server.close()


_ALL: weakref.WeakSet[_State] = weakref.WeakSet()
_shared: dict[tuple[int, str, Limits], CodePool] = {}
_shared_lock = threading.Lock()


def shared_pool(workers: int | None = None, isolation: str = "auto", limits: Limits | None = None) -> CodePool:
    """The pool of this process with these settings, made at the first call and closed at the process's end.

    Raises:
        IsolationUnavailableError: This system cannot isolate as asked.
        CodePoolError: The fork server does not start.
    """
    limits = Limits() if limits is None else limits
    key = (workers or 0, isolation, limits)
    with _shared_lock:
        pool = _shared.get(key)
        if pool is None or pool.closed:
            pool = _shared[key] = CodePool(workers, isolation, limits)
        return pool


def _after_fork() -> None:
    """In a fork of this process: pools stay with the parent, and their sockets must not outlive it here."""
    global _shared_lock
    _shared_lock = threading.Lock()
    _shared.clear()
    for state in list(_ALL):
        state.lock, state.closed = threading.Lock(), True
        for sandbox in state.running:
            sandbox.forget()
        if state.current is not None:
            state.current.forget()
            state.current = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

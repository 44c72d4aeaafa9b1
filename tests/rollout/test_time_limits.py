"""Time limits: a hung call is interrupted with its task and turn, and a stalled process is ended."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from sdar_gym.faults import take_faults
from sdar_gym.rollout.time_limits import TimeLimits, TurnTimeoutError


def sleep() -> None:
    time.sleep(60)


def spin() -> None:
    while True:
        pass


def wait_for_a_lock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def wait_for_a_process() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        try:
            process.wait()
        finally:
            process.kill()


def swallow() -> None:
    """Catches the first interruption and goes on."""
    try:
        time.sleep(60)
    except RuntimeError:
        time.sleep(60)


@pytest.mark.parametrize("hang", [sleep, spin, wait_for_a_lock, wait_for_a_process, swallow])
def test_a_call_that_hangs_is_interrupted(hang: Callable[[], None]) -> None:
    limits = TimeLimits(turn=0.2)
    take_faults()
    with limits.watching():
        with pytest.raises(TurnTimeoutError, match=r"longer than 0.2 s \(rollout.turn_timeout_s\)"), limits:
            hang()
        time.sleep(0.5)  # No call, so that nothing is interrupted.
    assert take_faults()["turn_timeouts"] >= 1


def test_timers_and_handlers_of_others_stay() -> None:
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
    old = signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        limits = TimeLimits(turn=30.0)
        with limits.watching():
            with limits:
                time.sleep(0.05)
            assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] < 0.3
            time.sleep(0.4)
        assert rung == [signal.SIGALRM]
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *old)


def test_without_limits_and_in_other_threads_nothing_is_set() -> None:
    handlers: list[Any] = []

    def watch(limits: TimeLimits) -> None:
        with limits.watching(), limits:
            handlers.append(signal.getsignal(signal.SIGALRM))

    before = signal.getsignal(signal.SIGALRM)
    watch(TimeLimits())
    thread = threading.Thread(target=watch, args=(TimeLimits(turn=1.0),))
    thread.start()
    thread.join()
    assert handlers == [before, before]


@pytest.mark.parametrize(("stall", "status"), [("0.5", 1), ("30", 0)])
def test_a_process_that_does_nothing_is_ended_and_says_where_it_was(stall: str, status: int) -> None:
    program = (
        "import sys, time\n"
        "from sdar_gym.rollout.time_limits import TimeLimits, progress\n"
        "def hang():\n"
        "    time.sleep(2)\n"
        "limits = TimeLimits(stall=float(sys.argv[1]))\n"
        "with limits.watching():\n"
        "    progress()\n"
        "    hang()\n"
    )
    done = subprocess.run([sys.executable, "-c", program, stall], capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert ("in hang" in done.stderr) == bool(status)

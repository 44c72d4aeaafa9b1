"""Time limits: a call of an environment that hangs is interrupted, and a process that does nothing at all is ended.

An interrupted call raises an error in the environment, by a signal, which ends sleeps and waits for sockets, locks and
other processes, and Python code. It cannot end a loop in compiled code; then the watch for a stall ends the process,
from a thread of `faulthandler` that needs no lock of Python's, and writes where each thread was. A lost env runner is
restarted, a driver is resumed.
"""

from __future__ import annotations

import faulthandler
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from sdar_gym.faults import note_fault


class TurnTimeoutError(RuntimeError):
    """An environment took longer than its limit."""


@dataclass(slots=True)
class _StallWatch:
    """The process's only watch, since `faulthandler` has one.

    Attributes:
        seconds: Its limit; None while nothing is watched.
        armed: When it was set last.
    """

    seconds: float | None = None
    armed: float = 0.0

    def arm(self) -> None:
        assert self.seconds is not None
        self.armed = time.monotonic()
        faulthandler.dump_traceback_later(self.seconds, exit=True, file=sys.__stderr__ or sys.stderr)


_WATCH = _StallWatch()


def progress() -> None:
    """Tells the watch for a stall that an engine or an environment did something; cheap."""
    # Each setting starts a thread.
    if _WATCH.seconds is not None and time.monotonic() - _WATCH.armed > _WATCH.seconds / 4:
        _WATCH.arm()


class TimeLimits:
    """The limits of a collector.

    Args:
        turn: Seconds that one call of an environment may take; None for no limit. Calls are interrupted in the main
            thread only, since signals reach no other.
        stall: Seconds without a step of the engine or a call of an environment, after which the process ends; None for
            no limit.
    """

    def __init__(self, turn: float | None = None, stall: float | None = None):
        self._turn = turn
        self._stall = stall
        self._interrupts = False
        self._calling = False
        # A timer and a handler that others have set, such as a test's.
        self._other_timer = (0.0, 0.0)
        self._other_handler: Any = None
        self._began = 0.0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Context manager for a whole collection."""
        self._interrupts = self._turn is not None and threading.current_thread() is threading.main_thread()
        if self._interrupts:
            self._other_handler = signal.signal(signal.SIGALRM, self._interrupt)
        if self._stall is not None:
            _WATCH.seconds = self._stall
            _WATCH.arm()
        try:
            yield
        finally:
            if self._stall is not None:
                _WATCH.seconds = None
                faulthandler.cancel_dump_traceback_later()
            if self._interrupts:
                self._interrupts = False
                signal.signal(signal.SIGALRM, self._other_handler or signal.SIG_DFL)

    def __enter__(self) -> None:
        """Begins a call of an environment."""
        if self._interrupts and self._turn is not None:
            self._began = time.monotonic()
            self._calling = True
            # Again and again, for an environment that catches the error and goes on.
            self._other_timer = signal.setitimer(signal.ITIMER_REAL, self._turn, self._turn)

    def __exit__(self, *error: object) -> None:
        """Ends it."""
        self._calling = False
        if self._interrupts:
            seconds, interval = self._other_timer
            if seconds:
                seconds = max(0.001, seconds - (time.monotonic() - self._began))
            signal.setitimer(signal.ITIMER_REAL, seconds, interval)
        progress()

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        # Otherwise it is another's, or comes when the call has just ended.
        if self._calling:
            note_fault("turn_timeouts")
            raise TurnTimeoutError(f"it took longer than {self._turn:g} s (rollout.turn_timeout_s)")
        if callable(self._other_handler):
            self._other_handler(number, frame)

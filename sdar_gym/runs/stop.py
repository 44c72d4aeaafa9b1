"""Graceful stop on SIGTERM and Ctrl-C: finish the update, write a checkpoint, say how to resume."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class RunStopped(SystemExit):
    """A signal ended the run; the exit status is 128 plus the signal's number, as in shells.

    Attributes:
        number: The signal's number.
        message: Message for the user.
    """

    def __init__(self, number: int, message: str = ""):
        super().__init__(128 + number)
        self.number = number
        self.message = message

    def __str__(self) -> str:
        return self.message


class Stopper:
    """Handles SIGTERM and SIGINT during a run.

    The first signal raises `RunStopped`, immediately or at the end of a `whole` block. A second one raises it
    immediately.

    Attributes:
        shielded: Returns whether the current work must not be interrupted, even by a second signal.
        asked: The signal received, or None.
        at_once: Whether a second signal interrupted a `whole` block.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self.at_once = False
        self.shielded: Callable[[], bool] = lambda: False
        self._depth = 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals within the block; only in the main thread, elsewhere nothing changes."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        self.listen()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def listen(self) -> None:
        """Install the handlers again: Ray replaces them when it starts."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._handle)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Context manager: the block is finished before a signal ends the run."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        self.check()

    def check(self) -> None:
        """Raise `RunStopped` if a signal was received and no `whole` block is active."""
        if self.asked is not None and not self._depth:
            raise RunStopped(self.asked)

    def _handle(self, number: int, frame: FrameType | None) -> Any:
        again = self.asked is not None
        self.asked = number
        self.at_once = again and self._depth > 0
        if (again or not self._depth) and not self.shielded():
            raise RunStopped(number)
        name = signal.Signals(number).name
        # Not `print`: the signal may have interrupted one.
        text = f"\n{name}: the run ends after this update, with a checkpoint; a second signal ends it now.\n"
        os.write(2, text.encode())

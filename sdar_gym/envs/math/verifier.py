"""Client of the process that compares expressions by math-verify: one a process, warm, replaced when it hangs."""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from sdar_gym.extras import require

_WORKER = Path(__file__).with_name("worker.py")
# Importing SymPy takes a second or two, and longer on a busy machine; that is no part of a comparison's time.
_START_LIMIT = 120.0


class ComparisonStoppedError(Exception):
    """A comparison took longer than its limit, or its process died."""


class Verifier:
    """Compares expressions in a process of its own, which is ended when a comparison takes too long.

    math-verify limits its time by signals, which work in the main thread only and end no loop of compiled code. Safe
    for use by several threads, which take turns.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = False
        self._unread = b""
        self._number = 0

    def start(self) -> None:
        """Start the process in the background, so that the first comparison need not wait for it.

        Raises:
            MissingExtraError: math-verify is not installed.
        """
        with self._lock:
            self._started()

    def equal(self, gold: str, answer: str, timeout: float) -> bool:
        """Whether two expressions are equal; see `timed`."""
        return self.timed(gold, answer, timeout)[0]

    def timed(self, gold: str, answer: str, timeout: float) -> tuple[bool, float]:
        """Compare two expressions.

        Args:
            gold: The expected expression, LaTeX.
            answer: The other one.
            timeout: Seconds; waiting for other threads and for the process to start is not counted.

        Returns:
            Whether they are equal, and the seconds that it took.

        Raises:
            ComparisonStoppedError: It took longer, or the process died.
            MissingExtraError: math-verify is not installed.
        """
        with self._lock:
            process = self._started()
            if not self._ready:
                self._line(process, time.monotonic() + _START_LIMIT)
                self._ready = True
            self._number += 1
            request = json.dumps([self._number, timeout, gold, answer]).encode() + b"\n"
            try:
                assert process.stdin is not None
                process.stdin.write(request)
                process.stdin.flush()
            except OSError as error:
                self._stop()
                raise ComparisonStoppedError("the process of the verifier died") from error
            begun = time.monotonic()
            number, result = json.loads(self._line(process, begun + timeout))
            if number != self._number:
                self._stop()
                raise ComparisonStoppedError("the process of the verifier lost count")
            return result, time.monotonic() - begun

    def close(self) -> None:
        """End the process; may be called twice. The next comparison starts another one."""
        with self._lock:
            self._stop()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            require("math", "Comparing mathematical expressions")
            # -P keeps this folder, whose files have common names, out of the process's path.
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(_WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            self._ready, self._unread = False, b""
        return self._process

    def _line(self, process: subprocess.Popen[bytes], deadline: float) -> bytes:
        assert process.stdout is not None
        while b"\n" not in self._unread:
            poll = select.poll()
            poll.register(process.stdout, select.POLLIN)
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                self._restart()
                raise ComparisonStoppedError("the comparison took too long")
            piece = os.read(process.stdout.fileno(), 65536)
            if not piece:
                self._restart()
                raise ComparisonStoppedError("the process of the verifier died")
            self._unread += piece
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _restart(self) -> None:
        warm = self._ready
        self._stop()
        if warm:  # A process that could not even start is not started again and again.
            self._started()

    def _stop(self) -> None:
        process, self._process, self._ready = self._process, None, False
        if process is not None:
            process.kill()
            process.wait()
            _close_pipes(process)

    def forget(self) -> None:
        """Leave the process to the parent; called in a forked child."""
        process, self._process, self._ready = self._process, None, False
        self._lock = threading.Lock()
        if process is not None:
            _close_pipes(process)
            process.returncode = 0  # It is not this process's child.


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


_shared = Verifier()
atexit.register(_shared.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_shared.forget)


def shared_verifier() -> Verifier:
    """The verifier of this process."""
    return _shared

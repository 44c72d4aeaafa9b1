"""Supervisor of a sandbox: takes one job's tests from the pool, and runs each in a fork of its own.

Process 1 of its namespace where there is one. It knows the program, one test at a time, and no expected output.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import struct
import tempfile
import termios
import time
from os import _exit
from typing import Any, NoReturn

from . import harness, syscalls, wire
from .limits import set_limits
from .place import Place

PAYLOAD_BYTES = 256 * 1024 * 1024
_RESULT_EXTRA = 64 * 1024  # A frame may hold a message and a traceback beside the value.
_RESULT = 3


def supervise(place: Place, channel: socket.socket, orders: int) -> NoReturn:
    """Runs the tests that come over the channel until it closes, and ends the process.

    Args:
        place: Where the sandbox is.
        channel: To the pool: a job, then tests one by one, each answered before the next is read.
        orders: Descriptor on which the fork server says why it killed a test's process: `m` its memory, `p` the number
            of its processes; its end means that the fork server is gone.
    """
    entered = False
    os.set_blocking(orders, False)
    # The one signal Python handles: a program may send it to process 1, which has to go on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        try:
            place.enter()
            entered = True
            wire.send_json(channel, {"ready": True})
        except (OSError, ValueError) as error:
            wire.send_json(channel, {"error": getattr(error, "strerror", None) or str(error)})
            raise
        job = wire.receive_json(channel)
        program = wire.receive(channel, PAYLOAD_BYTES)
        prelude = wire.receive(channel, PAYLOAD_BYTES).decode()
        while True:
            test = wire.receive_json(channel)
            payload = wire.receive(channel, PAYLOAD_BYTES)
            head, printed, result = _Trial(place, channel, orders).run(program, prelude, {**job, **test}, payload)
            del payload
            if head["ended"] == "cancelled":
                break
            wire.send_json(channel, head)
            wire.send(channel, printed)
            wire.send(channel, result)
    except (wire.WireError, OSError, ValueError):
        pass
    finally:
        try:
            if entered:
                place.leave()
        finally:
            _exit(0)
    raise AssertionError("not reached")


class _Trial:
    """One test."""

    def __init__(self, place: Place, channel: socket.socket, orders: int):
        self.place, self.channel, self.orders = place, channel, orders
        self.limits = place.limits

    def run(
        self, program: bytes, prelude: str, test: dict[str, Any], payload: bytes
    ) -> tuple[dict[str, Any], bytes, bytes]:
        """How the test's process ended, what it printed, and what it wrote to the result pipe."""
        self.seconds = min(self.limits["wall_seconds"], test["seconds"])
        self.place.clean()
        self._told()  # What was said of an earlier test.
        stdin = _readable(payload if test["kind"] == "stdin" else b"")
        printed_end, printed = os.pipe()
        result_end, result = os.pipe()
        self.started = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                _prepare(self.place, stdin, printed, result)
                arguments = b"" if test["kind"] == "stdin" else payload
                harness.run(program, prelude, test["kind"], test["entry"], arguments, _RESULT)
            finally:
                _exit(71)
        for descriptor in (stdin, printed, result):
            os.close(descriptor)
        self.process = os.pidfd_open(self.pid)
        limit = self.limits["output_bytes"]
        self.room = {printed_end: limit, result_end: limit + _RESULT_EXTRA}
        self.parts: dict[int, list[bytes]] = {printed_end: [], result_end: []}
        try:
            ended = self._watch()
            signal.pidfd_send_signal(self.process, signal.SIGKILL)
            _, code, usage = os.wait4(self.pid, 0)
            self.place.kill_all()
        finally:
            for descriptor in (self.process, printed_end, result_end):
                os.close(descriptor)
        cpu = usage.ru_utime + usage.ru_stime
        if ended == "itself":
            ended = self._reason(code, cpu)
        head = {
            "ended": ended,
            "code": os.WEXITSTATUS(code) if os.WIFEXITED(code) else os.WTERMSIG(code),
            "seconds": time.monotonic() - self.started,
            "cpu_seconds": cpu,
        }
        return head, b"".join(self.parts[printed_end]), b"".join(self.parts[result_end])

    def _reason(self, code: int, cpu: float) -> str:
        """Why the test's process ended that was not ended here."""
        if os.WIFEXITED(code):
            return "exit"
        if os.WTERMSIG(code) == signal.SIGKILL and (told := self._told()):
            return {b"m": "memory", b"p": "processes"}.get(told[-1:], "signal")
        return "cpu" if cpu >= self.limits["cpu_seconds"] else "signal"

    def _told(self) -> bytes:
        try:
            return os.read(self.orders, 4096)
        except BlockingIOError:
            return b""

    def _watch(self) -> str:
        """Reads what the test writes until it ends or breaks a limit: which."""
        poll = select.poll()
        for descriptor in (*self.parts, self.process):
            poll.register(descriptor, select.POLLIN)
        poll.register(self.channel, select.POLLRDHUP)
        poll.register(self.orders, 0)  # Its end is always told.
        deadline = self.started + self.seconds
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return "wall"
            cpu_left = self.limits["cpu_seconds"] - self._cpu_seconds()
            if cpu_left <= 0:
                return "cpu"
            ready = {descriptor for descriptor, _ in poll.poll(1000 * min(left, max(cpu_left, 0.01)))}
            if self.channel.fileno() in ready or self.orders in ready:
                return "cancelled"
            # Looked at before its output: what it wrote before its end is in the pipes then, and what a descendant
            # writes after it is not read.
            is_over = self.process in ready
            for descriptor in self.parts:
                if is_over or descriptor in ready:
                    if not self._read(descriptor, all_of_it=is_over):
                        poll.unregister(descriptor)
                    if self.room[descriptor] < 0:
                        return "output"
            if is_over:
                return "itself"

    def _read(self, descriptor: int, all_of_it: bool) -> bool:
        """Reads what is in a pipe now; False at its end."""
        waiting = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4))[0]
        if waiting == 0:
            return all_of_it
        part = os.read(descriptor, waiting if all_of_it else 1 << 20)
        room = self.room[descriptor]
        self.room[descriptor] = room - len(part)
        self.parts[descriptor].append(part[: max(room, 0)])
        return True

    def _cpu_seconds(self) -> float:
        try:
            return time.clock_gettime((~self.pid << 3) | 2)  # The clock of a process: CPUCLOCK_SCHED
        except OSError:
            return 0.0


def _readable(data: bytes) -> int:
    """A file with this content, without a name, at its start."""
    try:
        descriptor = os.memfd_create("stdin")
    except OSError:  # A filter around the pool may refuse it.
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _prepare(place: Place, stdin: int, printed: int, result: int) -> None:
    """In the test's process: descriptors, folder, limits and rights."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    null = os.open("/dev/null", os.O_WRONLY)
    # First above those that they become.
    moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 16) for descriptor in (stdin, printed, null, result)]
    for target, descriptor in enumerate(moved):
        os.dup2(descriptor, target)
    os.closerange(_RESULT + 1, 4096)
    os.chdir(place.folder)
    os.environ["HOME"] = os.environ["TMPDIR"] = place.folder
    os.umask(0o022)
    set_limits(place.limits, place.base_address_space, place.base_threads)
    place.drop_rights()
    syscalls.no_new_privileges()
    syscalls.die_with_parent()
    if (program := place.filter()) is not None:
        syscalls.install_filter(program)

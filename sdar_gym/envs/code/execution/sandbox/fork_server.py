"""Fork server (zygote): a process without any of the pool's memory that forks a sandbox for each job.

Executed once per pool with a clean environment and one descriptor beside the standard ones: the control socket. It
never runs a program; it watches the memory and the number of processes of its sandboxes from outside.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass
from os import _exit
from typing import Any, NoReturn

from . import namespaces, processes, syscalls
from .bubblewrap import command
from .folders import remove_folder
from .layout import layout
from .place import Namespaces, Place
from .preload import preload
from .supervisor import supervise
from .syscall_filter import syscall_filter

CONTROL = 3
_CHANNEL, _ORDERS = 3, 4  # In a sandbox.
_WATCH_SECONDS, _IDLE_SECONDS, _END_SECONDS = 0.02, 1.0, 2.0
_MESSAGE_BYTES = 4096
# A user nobody has, one a slot; where the system maps fewer users, the one that owns nothing.
_FIRST_USER, _NOBODY = 1_879_048_192, 65534
_NPROC_PER_NAMESPACE = (5, 14)


@dataclass
class _Sandbox:
    pid: int
    orders: int
    over_since: float | None = None


class ForkServer:
    """The loop: requests, ended sandboxes, memory.

    Args:
        control: Sequenced packets from the pool: first the settings, then a request with a channel each.
    """

    def __init__(self, control: socket.socket):
        self.control = control
        self.parent = os.getppid()
        self.sandboxes: dict[int, _Sandbox] = {}
        settings = json.loads(control.recv(_MESSAGE_BYTES))
        self.backend: str = settings["backend"]
        self.limits: dict[str, Any] = settings["limits"]
        self.folder: str = settings["folder"]
        self.bubblewrap: str | None = settings["bubblewrap"]
        self.notes: list[str] = []
        syscalls.adopt_orphans()
        self.is_root = os.getuid() == 0
        self.first_user, self.shared_user = self._users() if self.is_root else (None, False)
        preload(everything=self._has_to_preload_all())
        import site

        site.setquit()  # type: ignore[attr-defined]
        site.sethelper()  # type: ignore[attr-defined]
        self.visible = layout() if self.backend != "process" else None
        self.filtered = self._can_filter()
        self.mount_point = os.path.join(self.folder, "root")
        os.mkdir(self.mount_point)
        if self.is_root:
            os.chmod(self.folder, 0o711)
        self.base_memory = 0

    def serve(self) -> None:
        """Serves requests until the pool closes the socket or ends."""
        self.base_memory = processes.resident_bytes(os.getpid())
        gc.collect()
        gc.freeze()
        wake, wake_end = os.pipe()
        for end in (wake, wake_end):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        poll.register(wake, select.POLLIN)
        while os.getppid() == self.parent:
            ready = dict(poll.poll(1000 * (_WATCH_SECONDS if self.sandboxes else _IDLE_SECONDS)))
            if wake in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(wake, 4096)
            self._collect()
            if self.control.fileno() in ready and not self._request():
                break
            self._watch()
        self._end()

    # Starting.

    def _users(self) -> tuple[int | None, bool]:
        """The first of the users that programs run as, and whether others may run as it too."""
        with open("/proc/self/uid_map", encoding="ascii") as lines:
            mapped = [tuple(map(int, line.split())) for line in lines]
        if any(first <= _FIRST_USER and first + count > _FIRST_USER + (1 << 22) for first, _, count in mapped):
            # Pools beside each other have other users: by process id, of which there are at most four million.
            return _FIRST_USER + os.getpid() % (1 << 14) * 256, False
        if any(first <= _NOBODY < first + count for first, _, count in mapped):
            self.notes.append("this system maps few users; programs share one user, nobody")
            return _NOBODY, True
        self.notes.append("this system maps no user but root; programs run as root without rights")
        return None, False

    def _has_to_preload_all(self) -> bool:
        """Whether the user that programs run as cannot read the standard library."""
        if self.backend != "process" or self.first_user is None:
            return False
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.setgroups([])
                os.setresgid(self.first_user, self.first_user, self.first_user)
                os.setresuid(self.first_user, self.first_user, self.first_user)
                os.listdir(os.path.dirname(os.__file__))
                code = 0
            finally:
                _exit(code)
        unreadable = os.waitpid(pid, 0)[1] != 0
        if unreadable:
            self.notes.append("programs can import only modules loaded before: their user cannot read Python's folder")
        return unreadable

    def _can_filter(self) -> bool:
        """Whether system calls can be filtered here; a must in namespaces."""
        try:
            program = syscall_filter(os.getpid(), alone=True)
        except OSError as error:
            reason = str(error)
        else:
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    syscalls.no_new_privileges()
                    syscalls.install_filter(program)
                    code = 0
                finally:
                    _exit(code)
            if os.waitpid(pid, 0)[1] == 0:
                return True
            reason = "the kernel refuses a filter of system calls (seccomp)"
        if self.backend != "process":
            raise OSError(reason)
        self.notes.append(reason)
        return False

    def _base_threads(self) -> int:
        """Threads beside the test's own that count for its user now."""
        if self.backend == "process":
            if self.first_user is not None and not self.shared_user:
                return 0
            return processes.threads_of_user(os.getuid() if self.first_user is None else self.first_user) + 64
        release = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
        if release >= _NPROC_PER_NAMESPACE or (self.first_user is not None and not self.shared_user):
            return 1
        return processes.threads_of_user(os.getuid()) + 64

    # A request.

    def _request(self) -> bool:
        """Starts a sandbox for the channel that comes; False when the pool closed."""
        message, received, _, _ = socket.recv_fds(self.control, _MESSAGE_BYTES, 1)
        if not message or not received:
            return False
        with socket.socket(fileno=received[0]) as channel:
            try:
                self._start(json.loads(message)["slot"], channel)
            except OSError as error:
                with contextlib.suppress(OSError):
                    channel.sendall(b"E" + (error.strerror or str(error)).encode())
        return True

    def _start(self, slot: int, channel: socket.socket) -> None:
        user = None if self.first_user is None else self.first_user + (0 if self.shared_user else slot)
        orders_end, orders = os.pipe()
        try:
            pid = namespaces.clone_into_namespaces() if self.backend == "namespace" else os.fork()
            if pid == 0:
                self._inside(slot, user, channel, orders_end)
            process = os.pidfd_open(pid)
        except OSError:
            os.close(orders)
            raise
        finally:
            os.close(orders_end)
        self.sandboxes[pid] = _Sandbox(pid, orders)
        try:
            if self.backend == "namespace":
                namespaces.map_user(pid, user)
            socket.send_fds(channel, [b"S"], [process])
            os.write(orders, b"g")
        except OSError:
            os.kill(pid, signal.SIGKILL)
            raise
        finally:
            os.close(process)

    def _inside(self, slot: int, user: int | None, channel: socket.socket, orders: int) -> NoReturn:
        """In the new process: the sandbox."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            moved = [fcntl.fcntl(each, fcntl.F_DUPFD, 10) for each in (channel.detach(), orders)]
            for target, descriptor in zip((_CHANNEL, _ORDERS), moved, strict=True):
                os.dup2(descriptor, target)
            self.control.detach()
            os.closerange(_ORDERS + 1, 1 << 16)
            if os.read(_ORDERS, 1) != b"g":  # The fork server is gone.
                _exit(1)
            common: dict[str, Any] = {
                "limits": self.limits,
                "user": user,
                "base_address_space": processes.address_space_bytes(),
                "base_threads": self._base_threads(),
            }
            if self.backend == "bubblewrap":
                assert self.bubblewrap is not None and self.visible is not None
                os.execv(self.bubblewrap, command(self.bubblewrap, self.visible, common, _CHANNEL, _ORDERS))
            if self.backend == "namespace":
                place: Place = Namespaces(
                    **common,
                    folder="",
                    user_is_shared=False,
                    visible=self.visible,
                    mount_point=self.mount_point,
                )
            else:
                own = os.path.join(self.folder, f"work-{slot}")
                place = Place(**common, folder=own, user_is_shared=self.shared_user, filtered=self.filtered)
            supervise(place, socket.socket(fileno=_CHANNEL), _ORDERS)
        finally:
            _exit(1)

    # Watching.

    def _collect(self) -> None:
        """Takes the exit codes of sandboxes, and ends orphans of those that were killed."""
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if (sandbox := self.sandboxes.pop(pid, None)) is not None:
                os.close(sandbox.orders)
        if self.backend == "process":
            for pid in processes.children(os.getpid()):
                if pid not in self.sandboxes:
                    for orphan in (pid, *processes.descendants(pid)):
                        with contextlib.suppress(OSError):
                            os.kill(orphan, signal.SIGKILL)

    def _watch(self) -> None:
        """Ends tests whose processes together use too much memory, or are too many."""
        now = time.monotonic()
        for sandbox in self.sandboxes.values():
            family = processes.descendants(sandbox.pid)
            if self.backend == "bubblewrap":
                family = family[1:]  # The supervisor is its child.
            used = sum(max(0, processes.resident_bytes(pid) - self.base_memory) for pid in family)
            reason = b"m" if used > self.limits["memory_bytes"] else None
            if len(family) > self.limits["processes"] + 1:
                reason = b"p"
            if reason is None:
                sandbox.over_since = None
                continue
            if sandbox.over_since is None:
                sandbox.over_since = now
            # The reason first: the supervisor asks for it when the test's process was killed.
            with contextlib.suppress(OSError):
                os.write(sandbox.orders, reason)
            for pid in family if now - sandbox.over_since < _END_SECONDS else [sandbox.pid]:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)

    def _end(self) -> None:
        """Ends all sandboxes: closing what orders come over tells them to."""
        self.control.close()
        for sandbox in self.sandboxes.values():
            os.close(sandbox.orders)
            if self.backend != "process":
                os.kill(sandbox.pid, signal.SIGKILL)
        deadline = time.monotonic() + _END_SECONDS
        while processes.reap() and time.monotonic() < deadline:
            time.sleep(0.002)
        processes.kill_descendants()
        with contextlib.suppress(OSError):
            remove_folder(self.folder)


def main() -> None:
    """Runs the fork server on descriptor 3."""
    control = socket.socket(fileno=CONTROL)
    try:
        server = ForkServer(control)
    except (OSError, ValueError) as error:
        control.send(json.dumps({"error": getattr(error, "strerror", None) or str(error)}).encode())
        sys.exit(1)
    control.send(json.dumps({"ready": True, "notes": server.notes}).encode())
    server.serve()

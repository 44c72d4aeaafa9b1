"""Processes below a process, as /proc shows them: found, counted, measured, and killed."""

from __future__ import annotations

import contextlib
import os
import signal
import time

_PAGE = os.sysconf("SC_PAGE_SIZE")
_LISTS_CHILDREN = os.path.exists(f"/proc/self/task/{os.getpid()}/children")  # CONFIG_PROC_CHILDREN


def descendants(pid: int) -> list[int]:
    """All processes below a process, the nearest first."""
    found: list[int] = []
    pending = [pid]
    while pending:
        for child in children(pending.pop()):
            found.append(child)
            pending.append(child)
    return found


def children(pid: int) -> list[int]:
    """The children of a process and all its threads."""
    if not _LISTS_CHILDREN:
        return _children_by_parent(pid)
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
    return found


def _children_by_parent(pid: int) -> list[int]:
    """The same from the parents of all processes, for kernels that list no children."""
    found: list[int] = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                # After the name, which may hold anything: the state, then the parent.
                if int(file.read().rpartition(b")")[2].split()[1]) == pid:
                    found.append(int(name))
    return found


def resident_bytes(pid: int) -> int:
    """Memory of a process that is in use; 0 where it is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


def address_space_bytes() -> int:
    """Address space of this process."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[0]) * _PAGE


def threads_of_user(uid: int) -> int:
    """Threads of all processes of a user, which RLIMIT_NPROC counts."""
    count = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{name}").st_uid == uid:
                    count += len(os.listdir(f"/proc/{name}/task"))
    return count


def reap() -> bool:
    """Takes the exit codes of children that ended; whether any child is left."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True


def kill_descendants(seconds: float = 5.0) -> None:
    """Kills every process below this one, which must adopt orphans; more are stopped than killed first.

    Args:
        seconds: When to stop waiting for processes that the kernel holds.
    """
    deadline = time.monotonic() + seconds
    me = os.getpid()
    while reap() and time.monotonic() < deadline:
        # A stopped process forks no more; until nothing new appears, new ones are stopped as well.
        stopped: set[int] = set()
        while new := [pid for pid in descendants(me) if pid not in stopped]:
            for pid in new:
                _signal(pid, signal.SIGSTOP)
            stopped.update(new)
        for pid in stopped:
            _signal(pid, signal.SIGKILL)
        time.sleep(0.001)


def kill_user(uid: int, gid: int) -> None:
    """Kills every process of a user at once, from a process that becomes that user; needs root."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            os.kill(-1, signal.SIGKILL)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)

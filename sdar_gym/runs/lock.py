"""Run folder lock: one process at a time, also across machines on a shared disk."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

LOCK = "run.lock"
# The holder touches the lock file this often (heartbeat), for machines on shared disks without file locks.
_HEARTBEAT_SECONDS = 15.0
_TIMEOUT_SECONDS = 60.0


class RunLockedError(ValueError):
    """Another process uses the run folder."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a run folder within the block; the operating system releases the lock if the process dies.

    Args:
        folder: The run folder.

    Raises:
        RunLockedError: Another process holds it.
        OSError: The lock file cannot be created.
    """
    path = folder / LOCK
    # Not inheritable: Ray's processes may outlive this one.
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not _lock(handle):
            raise RunLockedError(_in_use_message(folder, _owner(handle)))
        owner = _owner(handle)
        if owner and owner.get("host") != socket.gethostname() and _is_alive(handle, folder, owner):
            raise RunLockedError(_in_use_message(folder, owner))
        content = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        _write(handle, json.dumps(content) + "\n")
        ended = threading.Event()
        heartbeat = threading.Thread(target=_heartbeat, args=(handle, ended), daemon=True)
        heartbeat.start()
        try:
            yield
        finally:
            ended.set()
            heartbeat.join()
            with suppress(OSError):
                _write(handle, "")
    finally:
        os.close(handle)


def _lock(handle: int) -> bool:
    """Take the lock; False if another process holds it, True if the file system has no locks."""
    try:
        import fcntl
    except ImportError:  # Windows: only the heartbeat is checked.
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _heartbeat(handle: int, ended: threading.Event) -> None:
    while not ended.wait(_HEARTBEAT_SECONDS):
        with suppress(OSError):
            os.utime(handle)


def _is_alive(handle: int, folder: Path, owner: dict[str, Any]) -> bool:
    """Whether a holder on another machine still updates its heartbeat; waits up to a minute."""
    touched = os.fstat(handle).st_mtime
    if time.time() - touched > 2 * _TIMEOUT_SECONDS:
        return False
    print(
        f"{folder} was in use on {owner.get('host')} a moment ago; waiting up to a minute for its heartbeat.",
        file=sys.stderr,
    )
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        time.sleep(min(1.0, _HEARTBEAT_SECONDS))
        if os.fstat(handle).st_mtime != touched:
            return True
    return False


def _owner(handle: int) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        os.lseek(handle, 0, os.SEEK_SET)
        content = json.loads(os.read(handle, 4096).decode("utf-8"))
        if isinstance(content, dict):
            return content
    return {}


def _write(handle: int, text: str) -> None:
    os.ftruncate(handle, 0)
    os.lseek(handle, 0, os.SEEK_SET)
    os.write(handle, text.encode())


def _in_use_message(folder: Path, owner: dict[str, Any]) -> str:
    who = (
        f"process {owner.get('pid')} on {owner.get('host')} since {owner.get('since')}" if owner else "another process"
    )
    return f"{folder} is in use by {who}: two processes cannot work in one folder. End it, or wait for it."

"""Namespaces around a sandbox: made by `clone`, filled by the process inside before it gives up its rights."""

from __future__ import annotations

import contextlib
import os
import socket

from . import syscalls
from .layout import WORK, Layout

INSIDE_ID = 65534  # What the sandbox's user and group are called inside, where the pool runs as root.
_READ_ONLY = syscalls.MS_RDONLY | syscalls.MS_NOSUID | syscalls.MS_NODEV
# What a mount from outside has, a user namespace may not take away.
_LOCKED = (
    (os.ST_NOSUID, syscalls.MS_NOSUID),
    (os.ST_NODEV, syscalls.MS_NODEV),
    (os.ST_NOEXEC, syscalls.MS_NOEXEC),
    (os.ST_NOATIME, syscalls.MS_NOATIME),
    (os.ST_NODIRATIME, syscalls.MS_NODIRATIME),
    (os.ST_RELATIME, syscalls.MS_RELATIME),
)


def clone_into_namespaces() -> int:
    """A fork whose child is process 1 of namespaces of its own: the child's id, and 0 in the child.

    Raises:
        OSError: The system forbids some of them; the message names which.
    """
    try:
        return syscalls.clone(sum(syscalls.NAMESPACES.values()))
    except OSError as error:
        refused = ", ".join(_refused()) or "all"
        raise OSError(error.errno, f"{refused} namespaces: {os.strerror(error.errno or 0)}") from error


def map_user(pid: int, outside: int | None) -> None:
    """Gives a process in a new user namespace its users; called outside of it.

    Args:
        pid: The process.
        outside: The unprivileged user that untrusted programs run as, where this process is root and there is one. Root
            stays root while it builds the file system: the interpreter may lie in a folder that only root can enter.
    """
    uid, gid = os.getuid(), os.getgid()
    if outside is not None:
        users = groups = f"0 0 1\n{INSIDE_ID} {outside} 1\n"
    else:
        users, groups = f"{uid} {uid} 1\n", f"{gid} {gid} 1\n"
        _write(f"/proc/{pid}/setgroups", "deny")
    _write(f"/proc/{pid}/gid_map", groups)
    _write(f"/proc/{pid}/uid_map", users)


def build(where: str, visible: Layout, folder_bytes: int) -> None:
    """Replaces the file system by a small read-only one with a private folder, and forgets the old one.

    Args:
        where: An empty folder of the host; nothing is written to it.
        visible: What is shown of the host.
        folder_bytes: Size of the private folder.
    """
    syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    syscalls.mount("tmpfs", where, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=0755,size=1m,nr_inodes=4096")
    for folder in visible.folders:
        os.makedirs(where + folder, exist_ok=True)
        _bind(folder, where + folder)
    for folder in visible.hidden:
        syscalls.mount("tmpfs", where + folder, "tmpfs", _READ_ONLY, "mode=0555,size=4k,nr_inodes=1")
    for file in visible.files:
        os.makedirs(os.path.dirname(where + file), exist_ok=True)
        with open(where + file, "x"):
            pass
        _bind(file, where + file)
    for path, target in visible.links:
        if not os.path.lexists(where + path):
            os.symlink(target, where + path)
    os.makedirs(where + WORK, exist_ok=True)
    syscalls.pivot_root(where)
    syscalls.mount(None, "/", None, syscalls.MS_REMOUNT | syscalls.MS_BIND | _READ_ONLY)
    _new_work(folder_bytes)
    with contextlib.suppress(OSError):
        socket.sethostname("sandbox")


def renew_work(folder_bytes: int) -> None:
    """Puts a new, empty file system in place of the private folder."""
    syscalls.unmount(WORK)
    _new_work(folder_bytes)


def _new_work(folder_bytes: int) -> None:
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    inodes = max(64, min(folder_bytes // 4096, 16384))
    syscalls.mount("tmpfs", WORK, "tmpfs", flags, f"mode=0777,size={folder_bytes},nr_inodes={inodes}")


def _bind(source: str, target: str) -> None:
    try:
        syscalls.mount(source, target, None, syscalls.MS_BIND)
    except OSError:
        # Something is mounted below it, which may not be uncovered here.
        syscalls.mount(source, target, None, syscalls.MS_BIND | syscalls.MS_REC)
    present = os.statvfs(target).f_flag
    flags = syscalls.MS_REMOUNT | syscalls.MS_BIND | syscalls.MS_RDONLY | syscalls.MS_NOSUID
    flags |= sum(ours for theirs, ours in _LOCKED if present & theirs and ours != syscalls.MS_NOSUID)
    syscalls.mount(None, target, None, flags)


def _refused() -> list[str]:
    """The namespaces the system refuses; inside a user namespace, where one can be had."""
    refused = []
    for name, flag in syscalls.NAMESPACES.items():
        try:
            pid = syscalls.clone(flag | syscalls.CLONE_NEWUSER)
        except OSError:
            refused.append(name)
            continue
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        if refused and refused[0] == "user":
            break
    return ["user"] if refused[:1] == ["user"] else refused


def _write(path: str, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise OSError(error.errno, f"writing {os.path.basename(path)}: {os.strerror(error.errno or 0)}") from error

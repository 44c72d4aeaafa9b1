"""Places a sandbox runs in: how each kind is entered, cleaned between tests, and left without rights by a test."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from typing import Any

from . import namespaces, processes, syscalls
from .folders import empty_folder, remove_folder
from .layout import WORK, Layout
from .syscall_filter import syscall_filter


@dataclass
class Place:
    """A process among the others of the machine: level `process`.

    Attributes:
        limits: The limits of a test, as plain values.
        folder: The private folder's path.
        user: User and group that programs run as, where the pool is root; else None.
        user_is_shared: Other processes may run as that user too.
        base_address_space: Bytes of address space the interpreter has without a program.
        base_threads: Threads of the user that RLIMIT_NPROC counts beside those of the sandbox.
        filtered: Whether system calls are filtered.
    """

    limits: dict[str, Any]
    folder: str
    user: int | None
    user_is_shared: bool
    base_address_space: int
    base_threads: int
    filtered: bool = True

    def enter(self) -> None:
        """Makes the process that runs this the keeper of a sandbox."""
        syscalls.adopt_orphans()
        syscalls.not_traceable()
        syscalls.no_new_privileges()

    def clean(self) -> None:
        """An empty private folder."""
        remove_folder(self.folder)
        os.makedirs(self.folder, 0o700)  # With the one above: a program of the same user may have removed it.
        if self.user is not None:
            os.chown(self.folder, self.user, self.user)

    def drop_rights(self) -> None:
        """In a test's process: nothing that only the sandbox's keeper may."""
        uid, gid = (os.getuid(), os.getgid()) if self.user is None else (self.user, self.user)
        with contextlib.suppress(OSError):  # The machine's numbers of system calls are not known.
            syscalls.become(uid, gid)
        if os.getuid() != uid:
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)

    def filter(self) -> bytes | None:
        """The filter of system calls of the process that asks."""
        return syscall_filter(os.getpid(), alone=False) if self.filtered else None

    def kill_all(self) -> None:
        """Ends every process a test left."""
        if self.user is None or self.user_is_shared:
            processes.kill_descendants()
            return
        while processes.reap():
            processes.kill_user(self.user, self.user)

    def leave(self) -> None:
        """Removes what is on the host."""
        remove_folder(self.folder)


@dataclass
class Namespaces(Place):
    """Namespaces made here: level `namespace`.

    Attributes:
        visible: What is shown of the host.
        mount_point: An empty folder of the host.
    """

    visible: Layout | None = None
    mount_point: str = ""

    def enter(self) -> None:
        """Builds the file system and gives up all rights but mounting the private folder anew."""
        assert self.visible is not None
        namespaces.build(self.mount_point, self.visible, self.limits["file_bytes"])
        uid, gid = (os.getuid(), os.getgid()) if self.user is None else (namespaces.INSIDE_ID, namespaces.INSIDE_ID)
        syscalls.become(uid, gid, 1 << syscalls.CAP_SYS_ADMIN)
        syscalls.no_new_privileges()
        syscalls.not_traceable()
        syscalls.die_with_parent()
        self.folder = WORK

    def clean(self) -> None:
        """A new file system for the private folder."""
        namespaces.renew_work(self.limits["file_bytes"])

    def drop_rights(self) -> None:
        """No capability is left."""
        syscalls.keep_capabilities(0)

    def filter(self) -> bytes | None:
        """The filter; signals need none, nothing else is visible."""
        return syscall_filter(os.getpid(), alone=True)

    def kill_all(self) -> None:
        """Ends all processes of the namespace but its first, which runs this."""
        _kill_namespace()

    def leave(self) -> None:
        """Nothing is left where the namespaces end."""


@dataclass
class Bubblewrap(Place):
    """Namespaces made by bubblewrap: level `namespace`."""

    def enter(self) -> None:
        """Bubblewrap built the file system; as root, the user changes here."""
        uid, gid = (os.getuid(), os.getgid()) if self.user is None else (self.user, self.user)
        syscalls.become(uid, gid)
        syscalls.no_new_privileges()
        syscalls.not_traceable()
        syscalls.die_with_parent()

    def clean(self) -> None:
        """The private folder emptied: no right is left to mount another."""
        empty_folder(self.folder, 0o777)

    def drop_rights(self) -> None:
        """All given up already."""

    def filter(self) -> bytes | None:
        """The filter; signals need none, nothing else is visible."""
        return syscall_filter(os.getpid(), alone=True)

    def kill_all(self) -> None:
        """Ends all processes of the namespace but its first, which runs this."""
        _kill_namespace()

    def leave(self) -> None:
        """Nothing is left where the namespaces end."""


def _kill_namespace() -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)

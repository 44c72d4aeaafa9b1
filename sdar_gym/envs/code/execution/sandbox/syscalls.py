"""System calls of Linux that the standard library lacks, through ctypes; each raises `OSError` with its name."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from typing import NoReturn

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
NAMESPACES = {
    "user": CLONE_NEWUSER,
    "pid": CLONE_NEWPID,
    "mount": CLONE_NEWNS,
    "network": CLONE_NEWNET,
    "ipc": CLONE_NEWIPC,
    "uts": CLONE_NEWUTS,
}
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_NOATIME, MS_NODIRATIME, MS_BIND, MS_REC, MS_PRIVATE, MS_RELATIME = 1024, 2048, 4096, 16384, 1 << 18, 1 << 21
MNT_DETACH = 2
CAP_SYS_ADMIN = 21
_SIGCHLD = 17
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_CAPBSET_DROP = 1, 4, 8, 24
_PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 36, 38, 47, 4
# Source: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h of the Linux kernel.
NUMBERS = {
    "x86_64": {"clone": 56, "capset": 126, "pivot_root": 155, "seccomp": 317},
    "aarch64": {"clone": 220, "capset": 91, "pivot_root": 41, "seccomp": 277},
}
MACHINE = platform.machine()
# `PyDLL` keeps the interpreter's lock over the call, as `os.fork` does.
_libc = ctypes.PyDLL(None, use_errno=True)


def number(name: str) -> int:
    """The number of a system call here.

    Raises:
        OSError: The machine is not one whose numbers are known.
    """
    if MACHINE not in NUMBERS:
        raise OSError(f"the numbers of system calls on {MACHINE} are not known, only on {' and '.join(NUMBERS)}")
    return NUMBERS[MACHINE][name]


def clone(flags: int) -> int:
    """A fork whose child is in new namespaces: the child's process id, and 0 in the child."""
    call, flags = number("clone"), flags | _SIGCHLD
    _libc.PyOS_BeforeFork()
    pid = _libc.syscall(ctypes.c_long(call), ctypes.c_ulong(flags), *(ctypes.c_ulong(0),) * 4)
    code = ctypes.get_errno()
    if pid == 0:
        _libc.PyOS_AfterFork_Child()
    else:
        _libc.PyOS_AfterFork_Parent()
    if pid < 0:
        _fail("clone", code)
    return pid


def mount(source: str | None, target: str, kind: str | None, flags: int, options: str = "") -> None:
    """Mounts something, or changes the flags of a mount."""
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    if _libc.mount(*texts, ctypes.c_ulong(flags), options.encode() or None) != 0:
        _fail(f"mount {target}")


def unmount(target: str) -> None:
    """Detaches a mount at once."""
    if _libc.umount2(os.fsencode(target), MNT_DETACH) != 0:
        _fail(f"umount {target}")


def pivot_root(folder: str) -> None:
    """Makes a mount point the root, and takes the old root away."""
    os.chdir(folder)
    if _libc.syscall(ctypes.c_long(number("pivot_root")), b".", b".") != 0:
        _fail("pivot_root")
    unmount(".")
    os.chdir("/")


def die_with_parent() -> None:
    """The kernel kills this process when the thread that started it ends. A change of user takes it back."""
    _prctl("PR_SET_PDEATHSIG", _PR_SET_PDEATHSIG, 9)


def adopt_orphans() -> None:
    """Descendants whose parent ends become children of this process."""
    _prctl("PR_SET_CHILD_SUBREAPER", _PR_SET_CHILD_SUBREAPER, 1)


def no_new_privileges() -> None:
    """No program that is executed from here on has more rights than this process."""
    _prctl("PR_SET_NO_NEW_PRIVS", _PR_SET_NO_NEW_PRIVS, 1)


def not_traceable() -> None:
    """Processes of the same user can neither trace this process nor read its memory."""
    _prctl("PR_SET_DUMPABLE", _PR_SET_DUMPABLE, 0)


def become(uid: int, gid: int, capabilities: int = 0) -> None:
    """Changes user and group for good, without supplementary groups, and keeps only these capabilities (a bit set)."""
    for capability in range(64):
        # Fails above the last capability, and where this process may not: then it can gain none either.
        _libc.prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(capability), *(ctypes.c_ulong(0),) * 3)
    _libc.prctl(_PR_CAP_AMBIENT, ctypes.c_ulong(_PR_CAP_AMBIENT_CLEAR_ALL), *(ctypes.c_ulong(0),) * 3)
    if os.getuid() != uid or os.getgid() != gid:
        if capabilities:
            _prctl("PR_SET_KEEPCAPS", _PR_SET_KEEPCAPS, 1)
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    keep_capabilities(capabilities)


def keep_capabilities(capabilities: int) -> None:
    """Gives up all capabilities but these (a bit set)."""
    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0))  # version 3
    low, high = capabilities & 0xFFFFFFFF, capabilities >> 32
    data = ctypes.create_string_buffer(struct.pack("=6I", low, low, 0, high, high, 0))
    if _libc.syscall(ctypes.c_long(number("capset")), header, data) != 0:
        _fail("capset")


def install_filter(program: bytes) -> None:
    """Installs a filter of system calls (classic BPF, eight bytes an instruction) for good.

    Needs `no_new_privileges`. The flag leaves speculation as it is: some kernels slow filtered processes down else.
    """
    buffer = ctypes.create_string_buffer(program, len(program))
    filters = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    code = 0
    for flag in (4, 0):  # SECCOMP_FILTER_FLAG_SPEC_ALLOW; older kernels refuse unknown flags
        if _libc.syscall(ctypes.c_long(number("seccomp")), ctypes.c_ulong(1), ctypes.c_ulong(flag), filters) == 0:
            return
        code = ctypes.get_errno()
    _fail("seccomp", code)


def _prctl(name: str, option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), *(ctypes.c_ulong(0),) * 3) != 0:
        _fail(name)


def _fail(name: str, code: int | None = None) -> NoReturn:
    code = ctypes.get_errno() if code is None else code
    raise OSError(code, f"{name}: {os.strerror(code)}")

"""Isolation of untrusted programs: the levels, what works on this system, and what it guarantees, found by trying."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sys
import tempfile
import threading
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from sdar_gym.validation import one_of

from .errors import IsolationUnavailableError
from .job import Job, Limits, StdinCall
from .outcome import clean_error
from .server import SandboxLostError, Server, ServerLostError

CHOICES = ("auto", "strict", "namespace", "bubblewrap", "process")
_BEST_FIRST = ("namespace", "bubblewrap", "process")


class Isolation(StrEnum):
    """How far a program is kept from the rest of the machine, the weakest level first."""

    PROCESS = "process"
    NAMESPACE = "namespace"


@dataclass(frozen=True)
class IsolationReport:
    """What the best backend here holds, each observed by a program that tried.

    Attributes:
        level: The level; None where no backend works.
        backend: What makes the sandboxes: `namespace`, `bubblewrap` or `process`.
        network: No socket reaches anything, not even on this machine.
        filesystem: Nothing of the host can be read but Python's own files, and nothing can be written.
        processes: No other process can be seen or signaled.
        syscalls: Calls into the kernel that no evaluation needs are refused.
        reasons: Why a backend does not work, or a part does not hold, by its name.
        notes: What else is to know: what to do for a better level, what programs cannot do here.
    """

    level: Isolation | None
    backend: str
    network: bool = False
    filesystem: bool = False
    processes: bool = False
    syscalls: bool = False
    reasons: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def line(self) -> str:
        """A line for people."""
        if self.level is None:
            return "no isolation: " + "; ".join(f"{name}: {reason}" for name, reason in self.reasons.items())
        parts = ("network", "filesystem", "processes", "syscalls")
        held = ", ".join(part for part in parts if getattr(self, part)) or "nothing but limits"
        return f"level {self.level} by {self.backend}; holds: {held}"


_known: dict[str, IsolationReport] = {}


def probe_isolation(isolation: str = "auto") -> IsolationReport:
    """What isolation works here, tried once per process if it does.

    Args:
        isolation: `auto` and `strict` for the best, or a backend's name.

    Raises:
        ValueError: No such choice.
    """
    one_of("isolation", isolation, CHOICES)
    reasons: dict[str, str] = {}
    for backend in _candidates(isolation):
        report = _known.get(backend) or _probe(backend)
        reasons |= report.reasons
        if report.level is not None:
            _known[backend] = report  # What failed once is tried again: it may have been the load.
            return replace(report, reasons=reasons, notes=(*report.notes, *_advice(reasons)))
    return IsolationReport(None, "none", reasons=reasons, notes=_advice(reasons))


def resolve_isolation(isolation: str) -> IsolationReport:
    """The backend to use, which works.

    Raises:
        IsolationUnavailableError: There is none of the kind that was asked for; says why, and what to do.
    """
    report = probe_isolation(isolation)
    if report.level is not None:
        return report
    why = "; ".join(f"{name}: {reason}" for name, reason in report.reasons.items())
    todo = "".join(f" {note[0].upper()}{note[1:]}." for note in report.notes)
    weaker = "" if isolation == "process" else " A weaker level: isolation=process (docs/code-execution.md)."
    raise IsolationUnavailableError(f"isolation={isolation} is not available here: {why}.{todo}{weaker}")


def _candidates(isolation: str) -> tuple[str, ...]:
    if isolation == "auto":
        return _BEST_FIRST
    return _BEST_FIRST[:2] if isolation == "strict" else (isolation,)


def _probe(backend: str) -> IsolationReport:
    level = Isolation.PROCESS if backend == "process" else Isolation.NAMESPACE
    bubblewrap = None
    if not sys.platform.startswith("linux"):
        return _unavailable(backend, f"untrusted programs run on Linux only, this is {sys.platform}")
    if backend == "bubblewrap" and (bubblewrap := shutil.which("bwrap")) is None:
        return _unavailable(backend, "no bwrap on PATH (Debian and Ubuntu: apt install bubblewrap)")
    try:
        server = Server(backend, Limits(), bubblewrap)
        try:
            seen = _observe(server)
        finally:
            server.close()
    except (ServerLostError, SandboxLostError, ValueError, KeyError) as error:
        return _unavailable(backend, clean_error(str(error)))
    held = {
        "network": not seen["reached"],
        "filesystem": not seen["read"] and not seen["written"],
        "processes": not seen["signaled"] and not seen["listed"],
        "syscalls": bool(seen["refused"]),
    }
    if level is Isolation.NAMESPACE and not all(held.values()):
        missing = ", ".join(part for part, holds in held.items() if not holds)
        return _unavailable(backend, f"sandboxes start, but do not isolate: {missing}")
    reasons = {} if level is Isolation.NAMESPACE else {part: _NOT_HELD for part, holds in held.items() if not holds}
    return IsolationReport(level, backend, **held, reasons=reasons, notes=tuple(server.notes))


_NOT_HELD = "level process shares it with the machine"


def _unavailable(backend: str, reason: str) -> IsolationReport:
    return IsolationReport(None, backend, reasons={backend: reason})


def _advice(reasons: dict[str, str]) -> tuple[str, ...]:
    """What of this system is known to forbid namespaces, and how to allow them."""
    words = ("ermi", "denied", "No space", "namespace")
    if not any(word in reasons.get(backend, "") for backend in _BEST_FIRST[:2] for word in words):
        return ()
    found = []
    for name, forbids, advice in (
        ("kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "apt install bubblewrap, or sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ):
        with contextlib.suppress(OSError):
            if Path("/proc/sys", name).read_text(encoding="ascii").strip() == forbids:
                found.append(f"to allow namespaces: {advice}")
    if any(os.path.exists(path) for path in ("/.dockerenv", "/run/.containerenv")):
        found.append(
            "this container must be run with --security-opt seccomp=unconfined --security-opt apparmor=unconfined"
        )
    return tuple(found)


def _observe(server: Server) -> dict[str, Any]:
    """Runs a program that tries what a sandbox must not allow, against real things of this process."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        secret = Path(folder, "secret")
        secret.write_text("secret")
        os.chmod(folder, 0o777)
        addresses = _listeners(stack)
        program = _PROBE.format(
            secret=str(secret),
            folder=folder,
            addresses=addresses,
            process=os.getpid(),
            python=os.path.dirname(os.__file__),
        )
        sandbox = server.sandbox(0)
        try:
            sandbox.open(Job(program, (StdinCall(),)))
            head, printed, result = sandbox.run(StdinCall(), Limits(), Limits().wall_seconds)
        finally:
            sandbox.close()
        if head.get("ended") != "exit" or head.get("code") != 0:
            raise ValueError(f"a first program did not run: {head}, {result[4:500].decode(errors='replace')}")
        return json.loads(printed)


def _listeners(stack: contextlib.ExitStack) -> list[Any]:
    """Addresses on this machine that accept connections."""
    addresses: list[Any] = []
    with contextlib.suppress(OSError):
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        addresses.append(("inet", listener.getsockname()))
    with contextlib.suppress(OSError):
        named = stack.enter_context(socket.socket(socket.AF_UNIX))
        name = f"\0sdar-probe-{os.getpid()}-{threading.get_ident()}"
        named.bind(name)
        named.listen()
        addresses.append(("unix", name))
    return addresses


_PROBE = """
import ctypes, json, os, socket
seen = {{"reached": [], "read": False, "written": False, "signaled": False, "refused": False}}
for kind, address in {addresses!r}:
    try:
        with socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET) as connection:
            connection.settimeout(2)
            connection.connect(address)
        seen["reached"].append(kind)
    except OSError:
        pass
for path in ({secret!r}, "/etc/passwd"):
    try:
        open(path).close()
        seen["read"] = True
    except OSError:
        pass
for folder in ({folder!r}, {python!r}, "/", "/dev", "/usr"):
    try:
        path = os.path.join(folder, "written")
        open(path, "w").close()
        os.unlink(path)
        seen["written"] = True
    except OSError:
        pass
try:
    os.kill({process}, 0)
    seen["signaled"] = True
except OSError:
    pass
seen["listed"] = os.path.exists("/proc/{process}")
try:
    os.close(os.memfd_create("probe"))
except OSError:
    seen["refused"] = True
print(json.dumps(seen))
"""

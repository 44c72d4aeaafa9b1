"""Fork server of a code pool, seen from the trusted process: started, asked for sandboxes, ended."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .job import Call, Job, Limits, StdinCall
from .sandbox import wire
from .sandbox.folders import remove_folder

START_SECONDS = 20.0
ANSWER_SECONDS = 20.0  # From the request for a sandbox to its first sign.
GRACE_SECONDS = 5.0  # What the supervisor may need beyond a test's own limit, to end and clean it.
_HERE = Path(__file__).parent
_START = (
    "import sys; sys.path.insert(0, sys.argv[1]); from sandbox import fork_server; "
    "del sys.path[0]; sys.argv[:] = ['']; fork_server.main()"
)
_RESULT_EXTRA = 64 * 1024


class ServerLostError(Exception):
    """The fork server ended, does not answer, or could not make a sandbox."""


class SandboxLostError(Exception):
    """A sandbox ended while its fork server lives."""


class SandboxHungError(SandboxLostError):
    """A sandbox did not answer in time."""


class Server:
    """A fork server.

    Args:
        backend: How sandboxes are made: `process`, `namespace` or `bubblewrap`.
        limits: Limits of a test.
        bubblewrap: Path of the program `bwrap`, for that backend.

    Raises:
        ServerLostError: It could not start; the message says why.
    """

    def __init__(self, backend: str, limits: Limits, bubblewrap: str | None = None):
        self.folder = tempfile.mkdtemp(prefix=f"sdar-code-{os.getpid()}-")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control, self._lock = ours, threading.Lock()
        try:
            with theirs, open(os.path.join(self.folder, "errors"), "wb") as errors:
                self._process = _start(theirs, errors)
        except OSError as error:
            ours.close()
            remove_folder(self.folder)
            raise ServerLostError(f"the fork server could not be started: {error}") from error
        settings = {
            "backend": backend,
            "limits": asdict(limits),
            "folder": self.folder,
            "bubblewrap": bubblewrap,
        }
        try:
            self._control.settimeout(START_SECONDS)
            self._control.send(json.dumps(settings).encode())
            answer = json.loads(self._control.recv(wire.HEADER_BYTES) or b"{}")
        except (OSError, ValueError) as error:
            self.close()
            raise ServerLostError(f"the fork server did not answer at its start: {error}") from error
        if not answer.get("ready"):
            reason = answer.get("error") or f"it ended with code {self._process.wait(5)}: {self.last_words()}"
            self.close()
            raise ServerLostError(str(reason))
        self.notes: list[str] = answer["notes"]

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self._process.poll() is None

    def last_words(self) -> str:
        """The last line it or bubblewrap wrote to standard error."""
        try:
            lines = Path(self.folder, "errors").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1][:500] if lines else "nothing was said"

    def sandbox(self, slot: int) -> Sandbox:
        """A new sandbox.

        Args:
            slot: A number no other sandbox of this server has now; below 256.

        Raises:
            ServerLostError: The server is gone, hangs, or could not make one.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs, self._lock:
                socket.send_fds(self._control, [json.dumps({"slot": slot}).encode()], [theirs.fileno()])
            ours.settimeout(ANSWER_SECONDS)
            said, received, _, _ = socket.recv_fds(ours, 1, 1)
            if said == b"S" and received:
                return Sandbox(ours, received[0], self)
            reason = ours.recv(4096).decode(errors="replace") if said == b"E" else "it closed the channel"
        except (OSError, ValueError) as error:
            reason = str(error) or type(error).__name__
        ours.close()
        raise ServerLostError(f"no sandbox could be made: {reason}")

    def close(self) -> None:
        """Ends the server and its sandboxes, and removes their folder. Twice is fine."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        self._control.close()
        try:
            self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        with contextlib.suppress(OSError):
            remove_folder(self.folder)

    def kill(self) -> None:
        """Ends the server at once; its sandboxes notice and end too."""
        self._process.kill()
        self._process.wait()
        self.close()

    def forget(self) -> None:
        """In a fork of the trusted process: closes what was inherited, and leaves the server to its owner."""
        self._control.close()
        self._process.returncode = 0  # Not this process's child: nothing to wait for.


class Sandbox:
    """A sandbox, seen from the trusted process.

    Args:
        channel: To its supervisor.
        process: Descriptor of its first process.
        server: What made it.
    """

    def __init__(self, channel: socket.socket, process: int, server: Server):
        self._channel, self._process, self._server = channel, process, server

    def open(self, job: Job) -> None:
        """Waits until it is set up, and sends the program.

        Raises:
            ServerLostError: It could not be set up.
        """
        try:
            answer = wire.receive_json(self._channel, START_SECONDS)
            if not answer.get("ready"):
                raise ServerLostError(f"a sandbox could not be set up: {answer.get('error')}")
            self._channel.settimeout(START_SECONDS)
            wire.send_json(self._channel, {})
            wire.send(self._channel, job.program.encode("utf-8", "surrogatepass"))
            wire.send(self._channel, job.prelude.encode("utf-8", "surrogatepass"))
        except wire.WireError as error:
            raise ServerLostError(f"a sandbox ended at its start: {error} ({self._server.last_words()})") from error

    def run(self, call: Call, limits: Limits, seconds: float) -> tuple[dict[str, Any], bytes, bytes]:
        """Runs a test: the supervisor's report, what was printed, what came over the result pipe.

        Args:
            call: The test.
            limits: The limits of a test.
            seconds: The most it may take by the wall clock.

        Raises:
            SandboxLostError: The sandbox ended, or did not answer in time.
        """
        test: dict[str, Any] = {"seconds": seconds}
        if isinstance(call, StdinCall):
            test |= {"kind": "stdin", "entry": ""}
            payload = call.stdin.encode("utf-8", "surrogatepass")
        else:
            test |= {"kind": "call", "entry": call.entry}
            payload = call.encoded_arguments().encode()
        try:
            self._channel.settimeout(GRACE_SECONDS)
            wire.send_json(self._channel, test)
            wire.send(self._channel, payload)
            head = wire.receive_json(self._channel, seconds + GRACE_SECONDS)
            printed = wire.receive(self._channel, limits.output_bytes, GRACE_SECONDS)
            return head, printed, wire.receive(self._channel, limits.output_bytes + _RESULT_EXTRA, GRACE_SECONDS)
        except wire.WireTimeoutError as error:
            raise SandboxHungError(str(error)) from error
        except wire.WireError as error:
            raise SandboxLostError(str(error)) from error

    def close(self) -> bool:
        """Ends it and waits until it is gone; whether it went by itself."""
        # Shut down, not only closed: a fork of this process may hold the socket too.
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)
        self._channel.close()
        try:
            if self._is_gone(GRACE_SECONDS):
                return True
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self._process, signal.SIGKILL)
            self._is_gone(GRACE_SECONDS)
            return False
        finally:
            os.close(self._process)

    def kill(self) -> None:
        """Ends it at once."""
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self._process, signal.SIGKILL)

    def forget(self) -> None:
        """In a fork of the trusted process: closes what was inherited."""
        self._channel.close()
        with contextlib.suppress(OSError):
            os.close(self._process)

    def _is_gone(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._process, select.POLLIN)
        return bool(poll.poll(1000 * seconds))


def _start(control: socket.socket, errors: Any) -> subprocess.Popen[bytes]:
    """The fork server's process: a fresh interpreter without site packages, environment or other descriptors."""
    # The interpreter behind a virtual environment: nothing of the environment is needed.
    python = getattr(sys, "_base_executable", None) or sys.executable
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "HOME": "/tmp",
        "PYTHONHASHSEED": "0",  # The order of a set of texts is the same in every run.
    }
    # It inherits the socket under the number it has here.
    number = control.fileno()
    code = f"import os; {number} == 3 or (os.dup2({number}, 3), os.close({number})); {_START}"
    return subprocess.Popen(
        [python, "-s", "-S", "-P", "-B", "-c", code, str(_HERE)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        env=environment,
        cwd="/",
        pass_fds=[control.fileno()],
        start_new_session=True,
    )

"""Ray nodes of our own on the loopback interface, a head and others, as on several machines; they can be killed."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

RAY = str(Path(sys.executable).parent / "ray")
_START_SECONDS = 300.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Node:
    """A node: the process `ray start --block`, whose descendants are the raylet, its agents and its workers."""

    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        """Kills all its processes at once, as a machine that loses its power."""
        with suppress(psutil.NoSuchProcess):
            doomed = psutil.Process(self.process.pid)
            for each in [doomed, *doomed.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    each.kill()
        self.process.wait()


@dataclass
class RayNodes:
    """A head and further nodes; all of them end with the block.

    Attributes:
        logs: Folder of what the nodes print.
        variables: Environment variables of the nodes and of clients.
        port: Of the head.
        dashboard: Port of the head's dashboard, which takes jobs.
    """

    logs: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    dashboard: int = field(default_factory=free_port)
    nodes: list[Node] = field(default_factory=list)
    # Short: the path of a Unix socket must fit into about a hundred characters.
    folder: Path = field(default_factory=lambda: Path("/tmp") / f"sdar-{secrets.token_hex(4)}")

    @property
    def address(self) -> str:
        """The cluster's address, for `ray.init` and RAY_ADDRESS."""
        return f"127.0.0.1:{self.port}"

    @property
    def jobs(self) -> str:
        """Where jobs are submitted."""
        return f"http://127.0.0.1:{self.dashboard}"

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables of nodes and clients."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**kept, "RAY_USAGE_STATS_ENABLED": "0", "PATH": path, **self.variables}

    def start_head(self, *arguments: str) -> Node:
        return self._start(
            "--head", f"--port={self.port}", f"--ray-client-server-port={free_port()}", "--dashboard-host=127.0.0.1",
            f"--dashboard-port={self.dashboard}", f"--temp-dir={self.folder}", *arguments,
        )  # fmt: skip

    def add(self, *arguments: str, **variables: str) -> Node:
        """Adds a node; its processes have these environment variables too."""
        return self._start(f"--address={self.address}", *arguments, variables=variables)

    def ray(self, *arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
        """Runs a command of Ray as a client."""
        return subprocess.run(
            [RAY, *arguments], env={**self.environment, **changed}, capture_output=True, text=True, timeout=500
        )

    def wait_for_jobs(self) -> None:
        """Returns when the head takes jobs."""
        deadline = time.monotonic() + _START_SECONDS
        while (asked := self.ray("job", "list", "--address", self.jobs)).returncode:
            head = self.nodes[0]
            if time.monotonic() > deadline or head.process.poll() is not None:
                raise AssertionError(f"The head did not come up: {head.log.read_text()[-2000:]}\n{asked.stderr}")
            time.sleep(2)

    def _start(self, *arguments: str, variables: Mapping[str, str] | None = None) -> Node:
        log = self.logs / f"node-{len(self.nodes)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [RAY, "start", "--block", "--node-ip-address=127.0.0.1",
                 f"--dashboard-agent-listen-port={free_port()}", *arguments],
                env={**self.environment, **(variables or {})}, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        node = Node(process, log)
        self.nodes.append(node)
        deadline = time.monotonic() + _START_SECONDS
        while b"Ray runtime started" not in log.read_bytes():
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"The node did not start: {log.read_text()[-2000:]}")
            time.sleep(0.2)
        return node

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # `ray stop` would end other people's clusters too; this ends the processes started here and nothing else.
        for node in reversed(self.nodes):
            if node.process.poll() is None:
                node.process.terminate()
        for node in self.nodes:
            try:
                node.process.wait(15)
            except subprocess.TimeoutExpired:
                node.kill()
        for process in psutil.process_iter(["cmdline"]):
            if any(str(self.folder) in part for part in process.info["cmdline"] or ()):
                with suppress(psutil.NoSuchProcess):
                    process.kill()


@contextmanager
def environment_variables(**variables: str) -> Iterator[None]:
    """Sets variables of this process within the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

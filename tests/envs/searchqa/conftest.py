"""Local search servers: the real one, and a scriptable misbehaving one."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from sdar_gym.skills.index import Document
from sdar_gym.skills.index.passages import PassageIndex, index_passages

GOOD = {"result": [[{"document": {"id": "d", "contents": '"T"\ntext'}, "score": 1.5}]]}


class Misbehaving:
    """A server that handles each request by the next of its orders, and records the bodies."""

    def __init__(self, orders: list[str]):
        self.orders = list(orders)
        self.bodies: list[Any] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                order = outer.orders.pop(0) if outer.orders else "good"
                # Some tests disconnect the client.
                with suppress(OSError):
                    outer.obey(order, self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def obey(self, order: str, request: BaseHTTPRequestHandler) -> None:
        kind, _, argument = order.partition(" ")
        if kind == "status":
            self._answer(request, b'{"detail": "as ordered"}', int(argument))
        elif kind == "slow":
            time.sleep(1)
            self._answer(request, json.dumps(GOOD).encode())
        elif kind == "drip":
            request.send_response(200)
            request.end_headers()
            for _ in range(40):
                request.wfile.write(b" ")
                request.wfile.flush()
                time.sleep(0.05)
        elif kind == "break":
            request.send_response(200)
            request.send_header("Content-Length", "1000")
            request.end_headers()
            request.wfile.write(b'{"result": [[')
            request.wfile.flush()
            request.connection.shutdown(socket.SHUT_RDWR)
        elif kind == "hang-up":
            request.connection.shutdown(socket.SHUT_RDWR)
        elif kind == "say":
            self._answer(request, argument.encode())
        else:
            self._answer(request, json.dumps(GOOD).encode())

    def _answer(self, request: BaseHTTPRequestHandler, content: bytes, status: int = 200) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def misbehaving() -> Iterator[Callable[..., Misbehaving]]:
    """Starts a server with orders such as `status 500`, `slow`, `drip`, `break`, `hang-up`, `say TEXT`, `good`."""
    started: list[Misbehaving] = []

    def start(*orders: str) -> Misbehaving:
        started.append(Misbehaving(list(orders)))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@contextmanager
def _serving(index: PassageIndex) -> Iterator[str]:
    uvicorn = pytest.importorskip("uvicorn")
    pytest.importorskip("fastapi")
    from sdar_gym.envs.searchqa.connections import TimedProtocol
    from sdar_gym.envs.searchqa.server import create_app

    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(index), http=TimedProtocol, ws="none", log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        until = time.monotonic() + 20
        while not server.started and time.monotonic() < until:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    """Address of the server over 200 passages."""
    docs = [Document(f"p{row}", f'"Title {row}"\nword{row} is common') for row in range(200)]
    with _serving(index_passages(docs)) as url:
        yield url


@pytest.fixture
def serving() -> Callable[[PassageIndex], AbstractContextManager[str]]:
    """Starts the server over an index, as `sdar-gym serve-search` does; returns its address."""
    return _serving

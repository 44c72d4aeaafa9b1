"""A web server on the loopback interface that misbehaves on demand, a bounded number of times."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Tests end, whatever the code does: after so many requests everything is refused.
LIMIT = 60
Answer = Callable[["Handler", bytes], None]


class Handler(BaseHTTPRequestHandler):
    """Serves `server.files`; the next entry of `server.tricks` decides how."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Range")))
        if len(self.server.asked) > LIMIT:
            self.send_error(403, "that is enough")
            return
        body = self.server.files.get(self.path)
        trick = self.server.tricks.pop(0) if self.server.tricks else normal
        self.close_connection = True
        if body is None:
            self.send_error(404, "Not Found")
        else:
            trick(self, body)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        sent = {"Content_Length": str(len(body)), "ETag": etag(self.server.files[self.path])} | headers
        for name, value in sent.items():
            if value:
                self.send_header(name.replace("_", "-"), value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """Its files, its tricks for the next requests, and what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.tricks: list[Answer] = []
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


def etag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:12]}"'


def normal(handler: Handler, body: bytes) -> None:
    """As a good server does: ranges, and If-Range."""
    asked, still = handler.headers.get("Range"), handler.headers.get("If-Range")
    if asked and still in (None, etag(body)):
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        if start >= len(body):
            handler.answer(416, b"", Content_Range=f"bytes */{len(body)}")
            return
        handler.answer(206, body[start:], Content_Range=f"bytes {start}-{len(body) - 1}/{len(body)}")
    else:
        handler.answer(200, body)


def breaks_off(after: int) -> Answer:
    """Promises the rest of the file and sends so many bytes of it."""

    def answer(handler: Handler, body: bytes) -> None:
        asked = handler.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        rest = body[start:]
        more = {"Content_Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if asked else {}
        handler.answer(206 if asked else 200, rest[:after], Content_Length=str(len(rest)), **more)

    return answer


def says(status: int, **headers: str) -> Answer:
    """An answer without the file."""
    return lambda handler, body: handler.answer(status, b"", **headers)


def length(number: int) -> Answer:
    """Lies about the length."""
    return lambda handler, body: handler.answer(200, body, Content_Length=str(number))


def corrupted(handler: Handler, body: bytes) -> None:
    """The right length, one wrong byte."""
    handler.answer(200, bytes([body[0] ^ 1]) + body[1:])


def ignores_range(handler: Handler, body: bytes) -> None:
    """The whole file, whatever was asked for."""
    handler.answer(200, body)


def wrong_range(handler: Handler, body: bytes) -> None:
    """Another part than the one asked for."""
    handler.answer(206, body[1:], Content_Range=f"bytes 1-{len(body) - 1}/{len(body)}")


def web_page(handler: Handler, body: bytes) -> None:
    """A question instead of the file."""
    handler.answer(200, b"<html>Are you sure?</html>", Content_Type="text/html; charset=utf-8")


def nameless(trick: Answer) -> Answer:
    """The same without an ETag."""

    def answer(handler: Handler, body: bytes) -> None:
        real = handler.answer
        handler.answer = lambda status, sent, **headers: real(status, sent, **(headers | {"ETag": ""}))  # pyright: ignore[reportAttributeAccessIssue]
        trick(handler, body)

    return answer


@contextmanager
def running() -> Iterator[Server]:
    """A server in a thread."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

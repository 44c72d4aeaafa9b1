"""An OpenAI-compatible server with one answer to every chat, streamed or whole; it keeps the requests."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextmanager
def model_server(reply: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serves until the block is left.

    Args:
        reply: What every chat is answered with.

    Yields:
        The base address, and the bodies of the requests so far.
    """
    requests: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append(body)
            head = {"id": "chat", "created": 0, "model": body["model"]}
            usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            message = {"role": "assistant", "content": reply}
            if body.get("stream"):
                part = {**head, "object": "chat.completion.chunk"}
                chunks = [
                    {**part, "choices": [{"index": 0, "delta": message, "finish_reason": None}]},
                    {**part, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
                    {**part, "choices": [], "usage": usage},
                ]
                sent = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
                kind = "text/event-stream"
            else:
                choice = {"index": 0, "finish_reason": "stop", "message": message}
                sent = json.dumps({**head, "object": "chat.completion", "choices": [choice], "usage": usage})
                kind = "application/json"
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(sent.encode())))
            self.end_headers()
            self.wfile.write(sent.encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing is logged."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", requests
    finally:
        server.shutdown()
        server.server_close()

"""A chat server for tests, over real HTTP: answers from a function, or from a policy of this gym."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class Answer:
    """One HTTP answer: a JSON body or bytes as they are."""

    body: Any = field(default_factory=dict)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class ChatServer:
    """A running server: its address, and what it was asked."""

    url: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    most_at_once: int = 0


def completion(text: str, *, finish: str = "stop", prompt: int = 5, response: int = 3, **message: Any) -> Answer:
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
    return Answer({"choices": [choice], "usage": {"prompt_tokens": prompt, "completion_tokens": response}})


def models(*names: str) -> Answer:
    return Answer({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})


@contextmanager
def serve(
    answer: Callable[[dict[str, Any]], Answer], listed: Callable[[], Answer] = lambda: models("tiny")
) -> Iterator[ChatServer]:
    """Serves `answer(body)` under /v1/chat/completions and `listed()` under /v1/models."""
    lock = threading.Lock()
    at_once = 0

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            served.headers.append(dict(self.headers))
            self._send(listed() if self.path == "/v1/models" else Answer({"error": "no such page"}, 404))

        def do_POST(self) -> None:
            nonlocal at_once
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                served.requests.append(body)
                served.headers.append(dict(self.headers))
                at_once += 1
                served.most_at_once = max(served.most_at_once, at_once)
            try:
                self._send(answer(body) if self.path == "/v1/chat/completions" else Answer({}, 404))
            finally:
                with lock:
                    at_once -= 1

        def _send(self, reply: Answer) -> None:
            content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(content)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
            self.close_connection = "Connection" in reply.headers

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = ChatServer(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answers_of(policy: str | Path) -> Callable[[dict[str, Any]], Answer]:
    """Answers of a saved policy, as a server computes them: chat template, engine, text."""
    import torch

    from sdar_gym.configs.sections import PolicySettings, RolloutSettings
    from sdar_gym.policy.load import load_tokenizer
    from sdar_gym.rollout.chat_engine import ChatEngine
    from sdar_gym.rollout.engines.base import SamplingParams
    from sdar_gym.rollout.engines.registry import EngineSpec, build_engine

    tokenizer = load_tokenizer(str(policy))
    settings = PolicySettings(model=str(policy), dtype="float32")
    engine = build_engine(EngineSpec(settings, RolloutSettings(), torch.device("cpu"), tokenizer))
    lock = threading.Lock()

    def answer(body: dict[str, Any]) -> Answer:
        with lock:
            chat = ChatEngine(engine, tokenizer, SamplingParams(body["max_tokens"], body["temperature"]))
            ids = chat.prompt_ids(body["messages"])
            ((text, cut),) = chat.respond([ids], body["seed"])
        return completion(text, finish="length" if cut else "stop", prompt=len(ids), response=len(text.split()))

    return answer

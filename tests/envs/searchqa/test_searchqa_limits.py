"""Limits of search server and client: sizes, timeouts, and protection against cross-site requests."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from sdar_gym.envs.searchqa import server as server_module
from sdar_gym.envs.searchqa.client import SearchClient
from sdar_gym.envs.searchqa.search_contract import SearchFailedError
from sdar_gym.skills.index import Document
from sdar_gym.skills.index.passages import PassageIndex, index_passages

uvicorn = pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")


def ask(url: str, body: Any, **headers: str) -> tuple[int, Any]:
    answer = httpx.post(f"{url}/retrieve", content=json.dumps(body), headers=headers, timeout=30, trust_env=False)
    return answer.status_code, answer.json()


@pytest.mark.parametrize(
    ("queries", "topk", "refused"),
    [(512, 1000, True), (512, 100, True), (101, 100, True), (100, 100, False), (10, 1000, False)],
)
def test_queries_times_topk_are_limited(served: str, queries: int, topk: int, refused: bool) -> None:
    status, content = ask(served, {"queries": [f"word{n}" for n in range(queries)], "topk": topk})
    assert status == (422 if refused else 200)
    if refused:
        assert f"{queries} queries with a `topk` of {topk} are {queries * topk} passages" in content["error"]
    else:
        assert [len(found) for found in content["result"]] == [1] * queries


def test_the_bytes_of_an_answer_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    index = index_passages(Document(str(n), f"word {'x' * 1000}") for n in range(50))
    searches = 0
    search = index.search

    def counted(query: str, k: int) -> Any:
        nonlocal searches
        searches += 1
        return search(query, k)

    monkeypatch.setattr(index, "search", counted)
    monkeypatch.setattr(server_module, "MAX_RESPONSE_BYTES", 100_000)
    request = server_module.read_body(json.dumps({"queries": ["word"] * 200, "topk": 50}).encode(), 3)
    with pytest.raises(server_module.BadRequestError, match="larger than 100000 bytes; send fewer queries"):
        server_module.search_response(index, request)
    # It stops as soon as the limit is exceeded.
    assert searches == 1


def test_answers_are_made_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch, serving: Any) -> None:
    threads = set()
    made = server_module._item

    def item(*arguments: Any) -> Any:
        threads.add(threading.current_thread().name)
        return made(*arguments)

    monkeypatch.setattr(server_module, "_item", item)
    with serving(index_passages([Document("0", '"Töwn"\nword 🙂')])) as url:
        status, content = ask(url, {"query": "word", "return_scores": True})
    assert status == 200 and content["result"][0][0]["document"]["contents"] == '"Töwn"\nword 🙂'
    assert len(threads) == 1 and all("AnyIO" in name for name in threads), threads


def test_a_damaged_passage_is_an_error_of_the_server(serving: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    index = index_passages([Document("0", "word")])

    def damaged(query: str, k: int) -> Any:
        raise ValueError("row 1 is damaged\nmore")

    monkeypatch.setattr(index, "search", damaged)
    with serving(index) as url:
        assert ask(url, {"query": "word"}) == (500, {"error": "row 1 is damaged"})


OTHERS = [
    {"Host": "evil.example"},
    {"Host": "evil.example:8000"},
    {"Host": "evil.example."},
    {"Host": "127.0.0.1.evil.example"},
    {"Host": "localhost.evil.example"},
    {"Origin": "http://evil.example"},
    {"Origin": "http://evil.example", "Content-Type": "text/plain"},
    {"Origin": "https://evil.example", "Host": "evil.example"},
    {"Origin": "null"},
    {"Origin": "file://"},
    {"Origin": "http://[::1"},
    {"Origin": "http://93.184.216.34"},
    {"Origin": "http://\x7f"},
]


@pytest.mark.parametrize("headers", OTHERS, ids=str)
def test_web_pages_are_not_answered(served: str, headers: dict[str, str]) -> None:
    status, content = ask(served, {"query": "word7"}, **headers)
    assert status == 403 and "result" not in content
    assert httpx.get(f"{served}/health", headers=headers, trust_env=False).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        *(
            {"Host": name}
            for name in ("localhost", "localhost:9", "127.0.0.1", "127.8.8.8:1", "[::1]:80", "app.localhost")
        ),
        *({"Host": name} for name in ("mybox", "mybox:8000", "10.0.0.7", "[fe80::1]")),
        *({"Origin": origin} for origin in ("http://localhost:3000", "http://127.0.0.1", "http://[::1]:80")),
        {"Content-Type": "text/plain"},
    ],
    ids=str,
)
def test_programs_of_this_machine_are_answered(served: str, headers: dict[str, str]) -> None:
    assert ask(served, {"query": "word7"}, **headers)[0] == 200


def test_a_server_that_is_not_on_loopback_goes_by_any_name() -> None:
    scope: dict[str, Any] = {"type": "http", "server": ("10.0.0.7", 8000), "headers": [(b"host", b"search.example")]}
    assert server_module._refusal(scope) is None
    assert server_module._refusal({**scope, "server": None}) is None
    for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        assert server_module._refusal({**scope, "server": (address, 8000)}) is not None
    scope["headers"].append((b"origin", b"http://search.example"))
    assert server_module._refusal(scope) is not None


@pytest.fixture(scope="module")
def impatient() -> Iterator[int]:
    """Port of a server with `TimedProtocol` and a limit of 0.4 s."""
    from sdar_gym.envs.searchqa.connections import TimedProtocol

    class Impatient(TimedProtocol):
        limit_s = 0.4

    index = index_passages(Document(str(n), f"word{n} common {'x' * 20_000}") for n in range(300))
    app = server_module.create_app(index)
    config = uvicorn.Config(app, http=Impatient, ws="none", log_level="warning", lifespan="off", timeout_keep_alive=60)
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    until = time.monotonic() + 20
    while not server.started and time.monotonic() < until:
        time.sleep(0.01)
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join()
    listener.close()


def request(body: bytes) -> bytes:
    return b"POST /retrieve HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


WHOLE = request(b'{"query": "word7"}')


def ends(connection: socket.socket) -> bool:
    """Whether the server closes the connection; reads the data before."""
    connection.settimeout(20)
    try:
        while connection.recv(65_536):
            pass
    except ConnectionError:
        pass
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize(
    "said",
    [b"", b"POST", WHOLE[:40], WHOLE[:-5], WHOLE + b"GET /hea", WHOLE + WHOLE[:-1]],
    ids=lambda said: str(len(said)),
)
def test_incomplete_requests_time_out(impatient: int, said: bytes) -> None:
    with socket.create_connection(("127.0.0.1", impatient)) as connection:
        connection.sendall(said)
        assert ends(connection)


@pytest.mark.parametrize("drips", ["header", "body"])
def test_a_request_that_drips_is_not_waited_for(impatient: int, drips: str) -> None:
    with socket.create_connection(("127.0.0.1", impatient)) as connection:
        if drips == "body":
            connection.sendall(WHOLE[:-18])
        begun = time.monotonic()
        with pytest.raises(ConnectionError):
            for _ in range(400):
                connection.sendall(b"a")
                time.sleep(0.05)
        assert time.monotonic() - begun > 0.3


def test_an_unread_response_times_out(impatient: int) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", impatient))
        connection.sendall(request(json.dumps({"queries": ["common"] * 5, "topk": 250}).encode()))
        until = time.monotonic() + 20
        # The closed connection is detected by the next write.
        while time.monotonic() < until:
            time.sleep(0.2)
            try:
                connection.sendall(b" ")
            except ConnectionError:
                return
    raise AssertionError("the answer was kept")


def test_a_connection_that_is_used_stays(impatient: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{impatient}", trust_env=False) as client:
        ports = set()
        for pause in (0, 0, 0.7, 0.1):
            time.sleep(pause)
            answer = client.post("/retrieve", json={"query": "word7"})
            assert answer.json()["result"][0][0]["id"] == "7"
            ports.add(answer.extensions["network_stream"].get_extra_info("client_addr"))
        # Between requests, uvicorn's keep-alive limit applies.
        assert len(ports) == 1


def test_a_client_that_leaves_in_the_middle_is_no_error(impatient: int, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_connection(("127.0.0.1", impatient)) as connection:
        connection.sendall(WHOLE[:-5])
        time.sleep(0.1)
    time.sleep(0.3)
    assert "Traceback" not in capfd.readouterr().err


class Raw:
    """A server for one connection that sends the given pieces."""

    def __init__(self, *pieces: bytes, pause: float = 0.05):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._pieces = pieces
        self._pause = pause
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.recv(65_536)
            try:
                for piece in self._pieces:
                    connection.sendall(piece)
                    time.sleep(self._pause)
            except OSError:
                pass

    def close(self) -> None:
        self._listener.close()
        self._thread.join()


@pytest.mark.parametrize(
    "pieces",
    [
        (b"HTTP/1.1 200 OK\r\n", *[b"x"] * 200),
        (b"HTTP/1.1 200 OK\r\n", *[b"X-A: b\r\n"] * 200),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n", *[b" "] * 200),
    ],
    ids=["name", "headers", "body"],
)
def test_a_slow_response_times_out(pieces: tuple[bytes, ...]) -> None:
    server = Raw(*pieces)
    client = SearchClient(server.url, timeout=0.4, retries=0)
    begun = time.monotonic()
    with pytest.raises(SearchFailedError, match=r"ReadTimeout: no complete response within 0\.4 s"):
        client.search("who", 3)
    # The whole response would take ten seconds.
    assert time.monotonic() - begun < 5
    client.close()
    server.close()


def test_a_stream_without_a_pause_is_not_read_for_ever() -> None:
    server = Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n", *[b" " * 10] * 20_000, pause=0.0005)
    client = SearchClient(server.url, timeout=0.4, retries=0)
    with pytest.raises(SearchFailedError, match=r"no complete response within 0\.4 s"):
        client.search("who", 3)
    client.close()
    server.close()


def test_an_answer_without_end_is_not_read_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdar_gym.envs.searchqa.client.MAX_RESPONSE_BYTES", 50_000)
    server = Raw(b"HTTP/1.1 200 OK\r\n\r\n", *[b" " * 10_000] * 100, pause=0)
    client = SearchClient(server.url, retries=3)
    with pytest.raises(SearchFailedError, match=r"in 1 attempt\(s\): the response is larger than 50000 bytes"):
        client.search("who", 3)
    client.close()
    server.close()


def test_what_a_server_says_is_shown_without_what_acts_on_a_terminal(misbehaving: Callable[..., Any]) -> None:
    server = misbehaving("say \x1b]0;title\x07\x9b2J")
    server.obey = lambda order, request: server._answer(request, "\x1b]0;t\x07\r\n\x9b2J".encode(), 500)
    client = SearchClient(server.url.replace("http://", "http://user:secret@"), retries=0)
    with pytest.raises(SearchFailedError, match=r"status 500: \\x1b\]0;t\\x07 \\x9b2J\. Is it") as caught:
        client.search("who", 3)
    assert "secret" not in str(caught.value) and "secret" not in json.dumps(client.info()) + client.url
    client.close()


def test_a_password_is_sent(misbehaving: Callable[..., Any]) -> None:
    server = misbehaving()
    seen: list[str | None] = []
    obey = server.obey
    server.obey = lambda order, request: (seen.append(request.headers["Authorization"]), obey(order, request))
    client = SearchClient(server.url.replace("http://", "http://user:secret@"), retries=0)
    assert client.search("who", 3) and seen == ["Basic dXNlcjpzZWNyZXQ="]
    client.close()


@pytest.mark.parametrize("score", ["1" + "0" * 400, "NaN", "Infinity", "true", '"5"', "null", "[1]", "{}"])
def test_an_odd_score_is_no_reason_to_fail(misbehaving: Callable[..., Any], score: str) -> None:
    said = f'{{"result": [[{{"document": {{"contents": "a \\ud83d b"}}, "score": {score}}}]]}}'
    client = SearchClient(misbehaving(f"say {said}").url, retries=0)
    (found,) = client.search("who", 3)
    assert (found.id, found.contents) == ("0", "a \ufffd b")
    client.close()


def test_an_address_keeps_its_query(misbehaving: Callable[..., Any]) -> None:
    client = SearchClient(misbehaving().url + "?key=secret", retries=0)
    assert client.search("who", 3)[0].id == "d"
    assert client.url.endswith("/retrieve?…")
    client.close()


def test_health_is_answered_while_searches_wait(serving: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    index = index_passages([Document("0", "word")])
    release = threading.Event()

    def slow(self: PassageIndex, query: str, k: int) -> list[Any]:
        assert release.wait(20)
        return []

    monkeypatch.setattr(PassageIndex, "search", slow)
    with serving(index) as url:
        threads = [threading.Thread(target=ask, args=(url, {"query": "word"})) for _ in range(50)]
        for thread in threads:
            thread.start()
        try:
            assert httpx.get(f"{url}/health", timeout=10, trust_env=False).json()["status"] == "ok"
        finally:
            release.set()
            for thread in threads:
                thread.join()

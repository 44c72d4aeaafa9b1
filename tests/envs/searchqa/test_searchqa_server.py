"""Search over HTTP: the server, its contract, and the client against misbehaving servers."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import gymnasium
import httpx
import pytest

import sdar_gym  # noqa: F401  registers the environments
from sdar_gym.envs.searchqa import client as client_module
from sdar_gym.envs.searchqa.client import SearchClient
from sdar_gym.envs.searchqa.search_contract import SearchFailedError

Start = Callable[..., Any]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the pauses of the client without sleeping; other modules still sleep."""
    pauses: list[float] = []
    monkeypatch.setattr(client_module, "time", SimpleNamespace(sleep=pauses.append, monotonic=time.monotonic))
    return pauses


def post(url: str, body: Any) -> tuple[int, Any]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = httpx.post(f"{url}/retrieve", content=content, trust_env=False)
    return answer.status_code, answer.json()


def test_both_forms_of_a_request_are_answered(served: str) -> None:
    status, content = post(served, {"queries": ["word7", "word9 common"], "topk": 2, "return_scores": True})
    assert status == 200
    first, second = content["result"]
    assert [item["document"]["id"] for item in first] == ["p7"]
    assert first[0]["document"] == {
        **{"id": "p7", "contents": '"Title 7"\nword7 is common', "title": "Title 7", "text": "word7 is common"}
    }
    assert len(second) == 2 and second[0]["score"] > second[1]["score"] > 0
    status, content = post(served, {"query": "word7"})
    assert (status, content) == (200, {"result": [[first[0]["document"]]]})
    assert post(served, {"query": "zeppelin", "topk": None}) == (200, {"result": [[]]})
    assert len(post(served, {"query": "common"})[1]["result"][0]) == 3


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff\xfe", "not JSON"),
        ([], "is a list"),
        ({}, "either `queries`"),
        ({"query": "a", "queries": ["a"]}, "either `queries`"),
        ({"query": 3}, "a text"),
        ({"queries": "a"}, "list"),
        ({"queries": []}, "at least one"),
        ({"queries": ["a", None]}, "list"),
        ({"queries": ["a"] * 600}, "at most 512"),
        ({"query": "a", "topk": 0}, "from 1 to 1000"),
        ({"query": "a", "topk": 10**9}, "from 1 to 1000"),
        ({"query": "a", "topk": True}, "from 1 to 1000"),
        ({"query": "a", "return_scores": "yes"}, "true or false"),
        ({"query": "a", "top_k": 3}, "Unknown field"),
        (b"x" * 5_000_000, "larger than"),
    ],
)
def test_a_bad_body_is_refused_with_a_reason(served: str, body: Any, message: str) -> None:
    status, content = post(served, body)
    assert status == 422
    assert message in content["error"]


def test_odd_queries_are_answered(served: str) -> None:
    body = b'{"queries": ["\\ud800 word3", "", "\\u0000", "' + b"word5 " * 100_000 + b'"], "topk": 1}'
    status, content = post(served, body)
    assert status == 200
    assert [[item["id"] for item in found] for found in content["result"]] == [["p3"], [], [], ["p5"]]


def test_health_says_what_is_served(served: str) -> None:
    content = httpx.get(f"{served}/health", trust_env=False).json()
    assert content["status"] == "ok" and content["passages"] == 200 and content["backend"] == "bm25s"


def test_many_clients_at_once_get_their_own_answers(served: str) -> None:
    found: dict[int, str] = {}
    client = SearchClient(served)

    def ask(first: int) -> None:
        for row in range(first, 200, 8):
            found[row] = client.search(f"word{row}", 1)[0].id

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.close()
    assert found == {row: f"p{row}" for row in range(200)}


def test_an_environment_plays_over_the_server(served: str) -> None:
    env = gymnasium.make("sdar/SearchQA-v0", search=served, topk=1).unwrapped
    env.reset(seed=0)
    assert env.step("<search>word5 \ud800</search>")[0] == (
        '<information>{"result": "Doc 1: \\"Title 5\\"\\nword5 is common"}</information>'
    )
    assert env.step("<search>zeppelin</search>")[0] == '<information>{"result": "Nothing found."}</information>'


@pytest.mark.parametrize(
    "order", ["status 500", "status 503", "status 429", "hang-up", "break", "say rubbish", "say {}", "say [1]"]
)
def test_a_failure_that_passes_is_tried_again(misbehaving: Start, quick: list[float], order: str) -> None:
    server = misbehaving(order, order, "good")
    client = SearchClient(server.url, retries=2)
    (found,) = client.search("who", 3)
    assert (found.id, found.contents, found.score) == ("d", '"T"\ntext', 1.5)
    assert server.bodies == [{"queries": ["who"], "topk": 3, "return_scores": True}] * 3
    assert quick == [0.5, 1.0]
    client.close()


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ("status 500", "status 500: .*as ordered"),
        ("hang-up", "disconnected"),
        ("break", "peer closed|incomplete"),
        ("say rubbish", "does not follow the /retrieve contract"),
        ('say {"result": [[{"document": {"id": "1"}}]]}', "result 1 has neither `contents`"),
        ('say {"result": [[3]]}', "result 1 is no passage"),
        ('say {"result": []}', "0 lists for one query"),
        ('say {"result": [[], []]}', "2 lists for one query"),
        ('say {"result": null}', "no list"),
    ],
)
def test_a_failure_that_stays_is_an_error_never_an_empty_result(
    misbehaving: Start, quick: list[float], order: str, message: str
) -> None:
    server = misbehaving(*[order] * 3)
    client = SearchClient(server.url, retries=2)
    with pytest.raises(SearchFailedError, match=rf"(?s)3 attempt\(s\): .*({message})"):
        client.search("who", 3)
    assert len(server.bodies) == 3
    client.close()


def test_a_refusal_is_not_tried_again(misbehaving: Start, quick: list[float]) -> None:
    server = misbehaving("status 404")
    client = SearchClient(server.url)
    with pytest.raises(SearchFailedError, match=r"1 attempt\(s\): status 404"):
        client.search("who", 3)
    assert quick == []
    client.close()


def test_a_server_that_wants_one_query_gets_it(misbehaving: Start) -> None:
    server = misbehaving("status 422", "good", "good")
    client = SearchClient(server.url)
    for _ in range(2):
        assert client.search("who", 3)[0].id == "d"
    assert ["query" in body for body in server.bodies] == [False, True, True]
    client.close()


@pytest.mark.parametrize("order", ["slow", "drip"])
def test_a_slow_server_is_not_waited_for(misbehaving: Start, order: str) -> None:
    server = misbehaving(order, order)
    client = SearchClient(server.url, timeout=0.3, retries=0)
    begun = time.monotonic()
    with pytest.raises(SearchFailedError, match=r"Timeout|longer than"):
        client.search("who", 3)
    assert time.monotonic() - begun < 0.9
    client.close()


def test_a_server_that_is_not_there_is_named(quick: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    client = SearchClient(f"http://127.0.0.1:{port}", retries=6)
    with pytest.raises(SearchFailedError, match=rf"127\.0\.0\.1:{port}/retrieve .*serve-search"):
        client.search("who", 3)
    assert quick == [0.5, 1, 2, 4, 8, 10]
    client.close()


@pytest.mark.parametrize(
    "said",
    [
        {"result": [[{"id": 4, "title": "T", "text": "text"}]]},  # without scores, title and text apart
        {"result": [{"document": {"id": 4, "contents": '"T"\ntext'}, "score": 2}]},  # one list for one query
    ],
)
def test_all_response_formats_are_parsed(misbehaving: Start, said: Any) -> None:
    client = SearchClient(misbehaving(f"say {json.dumps(said)}").url + "/")
    (found,) = client.search("who", 3)
    assert (found.id, found.contents) == ("4", '"T"\ntext')
    client.close()


def test_more_passages_than_asked_for_are_cut(misbehaving: Start) -> None:
    said = {"result": [[{"id": str(row), "contents": "x"} for row in range(9)]]}
    client = SearchClient(misbehaving(f"say {json.dumps(said)}").url)
    assert [found.id for found in client.search("who", 2)] == ["0", "1"]
    client.close()


def test_a_failed_search_costs_no_turn_and_can_be_made_again(misbehaving: Start, quick: list[float]) -> None:
    server = misbehaving("status 500", "status 500")
    env = gymnasium.make("sdar/SearchQA-v0", search=server.url, search_retries=1).unwrapped
    env.reset(seed=0)
    with pytest.raises(SearchFailedError):
        env.step("<search>who</search>")
    observation, _, _, _, info = env.step("<search>who</search>")
    assert "Doc 1" in observation
    assert (info["turn"], info["searches"]) == (1, 1)


@pytest.mark.parametrize("url", ["http://", "http:///retrieve"])
def test_an_invalid_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not the address"):
        SearchClient(url)

"""The client of chat servers over real HTTP: retries, refusals, limits, and a key that is never shown."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from chat_server import Answer, completion, models, serve  # pyright: ignore[reportMissingImports]

from sdar_gym.rollout import chat_client
from sdar_gym.rollout.chat_client import ChatClient
from sdar_gym.rollout.chat_endpoint import Endpoint, EndpointError, key_from_environment
from sdar_gym.rollout.engines.base import GenerationRequest, GenerationResult, SamplingParams

GREEDY = SamplingParams(7, temperature=0.0)
HELLO = GenerationRequest([], 2**40 + 5, messages=({"role": "user", "content": "hello"},))


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_client, "_FIRST_PAUSE_S", 0.001)


def ask(url: str, *, number: int = 1, key: str = "", params: SamplingParams = GREEDY, **options: Any) -> Any:
    """The results of equal requests, in order."""
    connections = options.pop("max_connections", 16)
    template = options.pop("template_variables", {})
    request = options.pop("request", HELLO)
    client = ChatClient(Endpoint(url, "tiny", key, connections, template), **options)
    results: dict[int, GenerationResult] = {}
    client.converse([request] * number, params, lambda place, result: results.update({place: result}))
    return results[0] if number == 1 else [results[place] for place in range(number)]


def in_turn(*answers: Answer) -> Callable[[dict[str, Any]], Answer]:
    waiting = iter(answers)
    return lambda body: next(waiting)


def test_a_request_has_messages_and_sampling_and_its_answer_text_and_counts() -> None:
    with serve(in_turn(completion("go north", finish="length", prompt=11, response=7))) as server:
        result = ask(server.url, params=SamplingParams(7, 0.5, 0.9, 20), template_variables={"enable_thinking": False})
    assert (result.text, result.finish_reason, result.prompt_tokens, result.response_tokens) == (
        "go north",
        "length",
        11,
        7,
    )
    (body,) = server.requests
    assert 0 <= body.pop("seed") < 2**31
    assert body == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 7,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 20,
        "chat_template_kwargs": {"enable_thinking": False},
    }


@pytest.mark.parametrize(
    "failure",
    [
        Answer({"error": {"message": "slow down"}}, 429, {"Retry-After": "0"}),
        Answer({"error": "overloaded"}, 503),
        Answer(b"<html>bad gateway</html>", 502, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
        Answer(b"no json"),
        Answer({"choices": []}),
        Answer({"choices": [{"message": {"content": {"no": "text"}}}]}),
    ],
)
def test_what_may_pass_is_tried_again(failure: Answer) -> None:
    with serve(in_turn(failure, failure, completion("done"))) as server:
        assert ask(server.url).text == "done"
    assert len(server.requests) == 3


def test_an_answer_without_its_end_is_tried_again() -> None:
    torn = Answer(
        {"choices": [{"message": {"content": "x"}}]}, headers={"Content-Length": "9999", "Connection": "close"}
    )
    with serve(in_turn(torn, completion("done"))) as server:
        assert ask(server.url).text == "done"


def test_a_pause_is_as_long_as_the_server_asks() -> None:
    with serve(in_turn(Answer({}, 429, {"Retry-After": "0.3"}), completion("done"))) as server:
        before = time.monotonic()
        assert ask(server.url).text == "done"
        # No upper bound: the machine may be busy.
        assert time.monotonic() - before >= 0.3


def test_other_refusals_are_errors_of_the_request_and_are_not_repeated() -> None:
    with serve(lambda body: Answer({"error": {"message": "temperature\nmust be 1"}}, 400)) as server:
        result = ask(server.url)
    assert result.error == "status 400: temperature must be 1 (1 try)"
    assert len(server.requests) == 1


def test_a_server_that_never_answers_is_given_up_and_a_deadline_ends_the_tries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serve(lambda body: Answer({"error": "broken"}, 500)) as server:
        assert ask(server.url).error == "status 500: broken (6 tries)"
        late = GenerationRequest([], 1, messages=HELLO.messages, deadline=time.monotonic())
        assert "(1 try)" in ask(server.url, request=late).error
        monkeypatch.setattr(chat_client, "_TRIES", 1)
        with pytest.raises(EndpointError, match=r"failed \d+ requests in a row; .* broken \(1 try\)"):
            ask(server.url, number=20)


def test_a_server_that_answers_may_refuse_any_number_of_prompts() -> None:
    def answer(body: dict[str, Any]) -> Answer:
        return completion("fine") if body["seed"] == 0 else Answer({"error": "filtered"}, 400)

    client_requests = [GenerationRequest([], number, messages=HELLO.messages) for number in range(40)]
    with serve(answer) as server:
        client = ChatClient(Endpoint(server.url, "tiny", max_connections=1))
        results: list[str] = []
        for request in client_requests:
            client.converse([request], GREEDY, lambda _, result: results.append(result.error))
        assert results == [""] + ["status 400: filtered (1 try)"] * 39
        with pytest.raises(EndpointError, match="filtered"):
            ask(server.url, number=20)


def test_a_response_that_takes_too_long_is_an_error() -> None:
    release = threading.Event()

    def wait(body: dict[str, Any]) -> Answer:
        release.wait(10)
        return completion("late")

    with serve(wait) as server:
        soon = GenerationRequest([], 1, messages=HELLO.messages, deadline=time.monotonic() + 0.2)
        assert "no whole response within" in ask(server.url, request=soon).error
        release.set()


@pytest.mark.parametrize(
    "told",
    [
        {"error": {"message": "too much", "code": "context_length_exceeded"}},
        {"error": {"message": "This model's maximum context length is 2048 tokens."}},
        {"message": "the request exceeds the available context size"},
    ],
)
def test_a_prompt_that_is_too_long_is_a_result(told: dict[str, Any]) -> None:
    with serve(lambda body: Answer(told, 400)) as server:
        result = ask(server.url)
    assert (result.finish_reason, result.error) == ("too_long", "")


def test_the_newer_name_of_the_longest_response_is_used_where_it_is_asked_for() -> None:
    def answer(body: dict[str, Any]) -> Answer:
        if "max_tokens" in body:
            return Answer({"error": {"message": "'max_tokens' is not supported, use 'max_completion_tokens'."}}, 400)
        return completion(str(body["max_completion_tokens"]))

    with serve(answer) as server:
        assert ask(server.url).text == "7"


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "go", "reasoning_content": "hm"}, "<think>hm</think>go"),
        ({"content": "go", "reasoning": "hm"}, "<think>hm</think>go"),
        ({"content": "hm</think>go"}, "<think>hm</think>go"),
        ({"content": "<think>hm</think>go"}, "<think>hm</think>go"),
        ({"content": None}, ""),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "ab"),
        ({"content": "\ud83d"}, "\ufffd"),
    ],
)
def test_reasoning_stands_in_its_tags_however_the_server_sends_it(message: dict[str, Any], text: str) -> None:
    with serve(lambda body: Answer({"choices": [{"message": message}]})) as server:
        assert ask(server.url).text == text


def test_requests_run_side_by_side_and_each_goes_on_when_its_response_is_there() -> None:
    together = threading.Barrier(3)

    def answer(body: dict[str, Any]) -> Answer:
        together.wait(10)
        return completion("x")

    with serve(answer) as server:
        assert [result.text for result in ask(server.url, number=3)] == ["x"] * 3
    assert server.most_at_once == 3


@pytest.fixture
def secret() -> Iterator[str]:
    yield "sk-secret-123"


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_ends_the_evaluation_and_is_not_shown(status: int, secret: str) -> None:
    with serve(lambda body: Answer({"error": {"message": f"wrong key {secret}"}}, status)) as server:
        with pytest.raises(EndpointError, match=r"refuses the API key .*wrong key \*\*\*.*OPENAI_API_KEY") as caught:
            ask(server.url, key=secret)
        with pytest.raises(EndpointError, match="refuses a request without an API key"):
            ask(server.url)
    assert secret not in str(caught.value)
    assert secret not in repr(Endpoint(server.url, "tiny", secret))
    assert server.headers[0]["Authorization"] == f"Bearer {secret}"
    assert "Authorization" not in server.headers[1]


def test_an_unknown_model_ends_the_evaluation() -> None:
    with (
        serve(lambda body: Answer({"error": {"message": "The model `tiny` does not exist."}}, 404)) as server,
        pytest.raises(EndpointError, match=r"the model 'tiny': status 404: The model `tiny` does not exist"),
    ):
        ask(server.url)


def test_the_server_is_checked_before_the_work() -> None:
    def check(listed: Answer) -> str:
        with serve(lambda body: completion("x"), lambda: listed) as server:
            return ChatClient(Endpoint(server.url, "tiny")).check()

    assert check(models("other", "tiny")) == ""
    for silent in (Answer({}, 404), Answer(b"no json"), Answer({"data": []}), Answer({"data": 3})):
        assert "does not list its models" in check(silent)
    with pytest.raises(EndpointError, match="has no model 'tiny'; it has big, small"):
        check(models("big", "small"))
    with pytest.raises(EndpointError, match="refuses a request without an API key"):
        check(Answer({"error": "who are you?"}, 401))
    with pytest.raises(EndpointError, match=r"There is no server at http://127\.0\.0\.1:1/v1: ConnectError"):
        ChatClient(Endpoint("http://127.0.0.1:1", "tiny")).check()


def test_missing_counts_matter_only_where_tokens_are_limited() -> None:
    bare = Answer({"choices": [{"message": {"content": "x"}}]})
    with serve(lambda body: bare) as server:
        assert ask(server.url).response_tokens == 0
        with pytest.raises(EndpointError, match="does not count the tokens"):
            ask(server.url, needs_counts=True)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://host:8000", "http://host:8000/v1"),
        ("http://host:8000/", "http://host:8000/v1"),
        ("https://host/v1/", "https://host/v1"),
        ("https://host/api/v3/chat/completions", "https://host/api/v3"),
    ],
)
def test_the_address_is_that_of_the_api(url: str, address: str) -> None:
    assert Endpoint(url, "m").url == address


@pytest.mark.parametrize(
    "url",
    ["", "host:8000", "ftp://host", "http://", "http://user:secret@host", "http://host?key=secret", "http://[::1"],
)
def test_what_is_no_address_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(EndpointError, match="--endpoint=") as caught:
        Endpoint(url, "m")
    assert "secret" not in str(caught.value)


def test_a_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert key_from_environment(None) == ""
    monkeypatch.setenv("OPENAI_API_KEY", " abc ")
    assert key_from_environment(None) == "abc"
    with pytest.raises(EndpointError, match="'NO_SUCH_KEY' is not set"):
        key_from_environment("NO_SUCH_KEY")
    monkeypatch.setenv("MY_KEY", "two words")
    with pytest.raises(EndpointError, match="MY_KEY is no API key") as caught:
        key_from_environment("MY_KEY")
    assert "two words" not in str(caught.value)

"""Chat client: responses of a server with the OpenAI API (`/chat/completions`), with retries and many requests at once.

Nothing here logs or stores the API key, and no message of an error contains it.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from sdar_gym.paths import first_line
from sdar_gym.rollout.chat_answers import asked_pause, is_too_long, message_of, text_of, token_count
from sdar_gym.rollout.chat_endpoint import KEY_VARIABLE, Endpoint, EndpointError
from sdar_gym.rollout.engines.base import Continuation, GenerationRequest, GenerationResult, SamplingParams
from sdar_gym.text import shortened, terminal_safe

# Of one request, to its last byte, in seconds: a long response of a busy server takes minutes.
_TIMEOUT_S = 600.0
_CONNECT_S = 10.0
_TRIES = 6
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
# A server may ask for a longer pause than that; one that asks for hours is not waited for.
_LONGEST_ASKED_S = 300.0
# Failed requests in a row after which the server is given up.
_HOPELESS = 16
_MOST_BYTES = 64 << 20
_QUOTED = 300


class _RequestError(Exception):
    """A failed request; `retry` if another try may succeed, after `pause` seconds if the server named them."""

    def __init__(self, message: str, *, retry: bool = False, pause: float | None = None, too_long: bool = False):
        super().__init__(message)
        self.retry = retry
        self.pause = pause
        self.too_long = too_long


class ChatClient:
    """Asks a server for responses; the part of an engine that the collector uses.

    Connection errors, timeouts, status 408, 429 and 5xx, and malformed answers are tried again with growing pauses, or
    after the time that `Retry-After` names. A refused key or an unknown model ends the evaluation, any other refusal
    is an error of that episode.

    Args:
        endpoint: The server and its model.
        timeout_s: Time limit of one request, to its last byte.
        needs_counts: Whether a response without token counts is an error.
    """

    stop_ids: Sequence[int] = ()

    def __init__(self, endpoint: Endpoint, *, timeout_s: float = _TIMEOUT_S, needs_counts: bool = False):
        self.endpoint = endpoint
        self._timeout_s = timeout_s
        self._needs_counts = needs_counts
        self._limit_name = "max_tokens"
        self._answered = False
        self._failures = 0

    def check(self) -> str:
        """Asks for the server's models.

        Returns:
            A remark for the user; empty if the server has the model.

        Raises:
            EndpointError: The server cannot be reached, refuses the key, or has other models only.
        """
        return asyncio.run(self._check())

    def converse(self, requests: Sequence[GenerationRequest], params: SamplingParams, then: Continuation) -> None:
        """See `Engine.converse`: each conversation goes on as soon as its response is there.

        Raises:
            EndpointError: The server refuses the key or the model, or answers nothing.
        """
        asyncio.run(self._converse(requests, params, then))

    def close(self) -> None:
        """Nothing is kept between conversations."""

    async def _converse(
        self, requests: Sequence[GenerationRequest], params: SamplingParams, then: Continuation
    ) -> None:
        async with self._connections() as http:
            running = {
                asyncio.create_task(self._respond(http, request, params)): number
                for number, request in enumerate(requests)
            }
            try:
                while running:
                    done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                    for task in sorted(done, key=running.__getitem__):
                        number = running.pop(task)
                        after = then(number, task.result())
                        if after is not None:
                            running[asyncio.create_task(self._respond(http, after, params))] = number
            finally:
                for task in running:
                    task.cancel()
                await asyncio.gather(*running, return_exceptions=True)

    def _connections(self) -> httpx.AsyncClient:
        most = self.endpoint.max_connections
        return httpx.AsyncClient(
            timeout=httpx.Timeout(self._timeout_s, connect=min(self._timeout_s, _CONNECT_S), pool=None),
            limits=httpx.Limits(max_connections=most, max_keepalive_connections=most),
            headers={"Authorization": f"Bearer {self.endpoint.key}"} if self.endpoint.key else {},
            # Loading certificates takes a tenth of a second, and plain http has none.
            verify=self.endpoint.url.startswith("https"),
            # A configured proxy cannot reach servers on this machine.
            trust_env=httpx.URL(self.endpoint.url).host not in ("localhost", "127.0.0.1", "::1"),
        )

    async def _respond(
        self, http: httpx.AsyncClient, request: GenerationRequest, params: SamplingParams
    ) -> GenerationResult:
        pause = _FIRST_PAUSE_S
        for attempt in range(1, _TRIES + 1):
            try:
                result = await self._once(http, request, params)
            except _RequestError as error:
                if error.too_long:
                    return GenerationResult([], [], "too_long", 0)
                wait = min(error.pause, _LONGEST_ASKED_S) if error.pause is not None else pause * random.uniform(0.8, 1)
                in_time = request.deadline is None or time.monotonic() + wait < request.deadline
                if not error.retry or attempt == _TRIES or not in_time:
                    return self._failed(f"{error} ({attempt} {'try' if attempt == 1 else 'tries'})", error.retry)
                await asyncio.sleep(wait)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
            else:
                self._answered, self._failures = True, 0
                return result
        raise AssertionError("unreachable: the last try returns")

    def _failed(self, message: str, outage: bool) -> GenerationResult:
        # A server that has answered others may refuse single prompts, many in a row where only those are left.
        self._failures += outage or not self._answered
        if self._failures >= (max(_HOPELESS, self.endpoint.max_connections) if self._answered else _HOPELESS):
            raise EndpointError(
                f"{self.endpoint.url} failed {self._failures} requests in a row; the last one: {message}"
            )
        return GenerationResult([], [], "error", 0, error=message)

    async def _once(
        self, http: httpx.AsyncClient, request: GenerationRequest, params: SamplingParams
    ) -> GenerationResult:
        seconds = self._timeout_s
        if request.deadline is not None:
            seconds = max(0.001, min(seconds, request.deadline - time.monotonic()))
        try:
            async with asyncio.timeout(seconds):
                status, headers, content = await _post(
                    http, f"{self.endpoint.url}/chat/completions", self._body(request, params)
                )
        except TimeoutError as error:
            raise _RequestError(f"no whole response within {seconds:.3g} s", retry=True) from error
        except httpx.HTTPError as error:
            raise _RequestError(f"{type(error).__name__}: {self._hidden(first_line(error))}", retry=True) from error
        if status == 200:
            return self._result(content)
        told = self._told(content)
        if status == 400 and self._limit_name == "max_tokens" and "max_completion_tokens" in told:
            self._limit_name = "max_completion_tokens"  # The newer name, which OpenAI's newer models insist on.
            return await self._once(http, request, params)
        self._refuse(status, told)
        raise _RequestError(
            f"status {status}: {told}",
            retry=status in (408, 429) or status >= 500,
            pause=asked_pause(headers),
            too_long=status in (400, 413, 422) and is_too_long(content),
        )

    def _refuse(self, status: int, told: str) -> None:
        """Raises an error if no request can succeed."""
        if status in (401, 403):
            sent = "the API key" if self.endpoint.key else "a request without an API key"
            raise EndpointError(
                f"{self.endpoint.url} refuses {sent} (status {status}: {told}). Set {KEY_VARIABLE}, or name another "
                "variable with --key-env."
            )
        if status == 404:
            raise EndpointError(
                f"{self.endpoint.url}/chat/completions with the model {shortened(self.endpoint.model)}: status 404: "
                f"{told}. Is the address that of the API (…/v1), and does the server have the model?"
            )

    def _body(self, request: GenerationRequest, params: SamplingParams) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.endpoint.model,
            "messages": list(request.messages),
            self._limit_name: params.max_tokens,
            "temperature": params.temperature,
            "top_p": params.top_p,
            # Servers take signed integers.
            "seed": request.seed & 0x7FFFFFFF,
        }
        if params.top_k:
            body["top_k"] = params.top_k
        if self.endpoint.template_variables:
            body["chat_template_kwargs"] = dict(self.endpoint.template_variables)
        return body

    def _result(self, content: bytes) -> GenerationResult:
        try:
            answer = json.loads(content)
            choice = answer["choices"][0]
            text = text_of(choice["message"])
            usage = answer.get("usage") or {}
            prompt, response = (token_count(usage.get(name)) for name in ("prompt_tokens", "completion_tokens"))
            finish = "length" if choice.get("finish_reason") == "length" else "stop"
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
            raise _RequestError(
                f"the answer is no chat completion: {self._told(content)} ({type(error).__name__})", retry=True
            ) from error
        if self._needs_counts and response is None:
            raise EndpointError(
                f"{self.endpoint.url} does not count the tokens of a response (`usage`), which --max-tokens needs."
            )
        return GenerationResult([], [], finish, 0, text=text, prompt_tokens=prompt or 0, response_tokens=response or 0)

    async def _check(self) -> str:
        url = f"{self.endpoint.url}/models"
        try:
            async with asyncio.timeout(30), self._connections() as http:
                answer = await http.get(url)
        except (httpx.HTTPError, TimeoutError) as error:
            reason = self._hidden(first_line(error)) if str(error) else "no answer in time"
            raise EndpointError(
                f"There is no server at {self.endpoint.url}: {type(error).__name__}: {reason}. Is it running, and is "
                "the address right?"
            ) from error
        if answer.status_code in (401, 403):
            self._refuse(answer.status_code, self._told(answer.content))
        try:
            names = [str(model["id"]) for model in answer.json()["data"]] if answer.status_code == 200 else []
        except (ValueError, KeyError, TypeError, RecursionError):
            names = []
        if not names:
            return f"{self.endpoint.url} does not list its models, so the name {self.endpoint.model} is not checked."
        if self.endpoint.model not in names:
            shown = ", ".join(terminal_safe(name)[:100] for name in names[:10])
            raise EndpointError(
                f"{self.endpoint.url} has no model {shortened(self.endpoint.model)}; it has {shown}"
                f"{f' and {len(names) - 10} more' if len(names) > 10 else ''}."
            )
        return ""

    def _told(self, content: bytes) -> str:
        """What a server said of an error, on one line, without the key."""
        return terminal_safe(" ".join(self._hidden(message_of(content))[:_QUOTED].split())) or "no text"

    def _hidden(self, text: str) -> str:
        return text.replace(self.endpoint.key, "***") if self.endpoint.key else text


async def _post(http: httpx.AsyncClient, url: str, body: Mapping[str, Any]) -> tuple[int, httpx.Headers, bytes]:
    async with http.stream("POST", url, json=body) as answer:
        content = bytearray()
        async for part in answer.aiter_bytes():
            content += part
            if len(content) > _MOST_BYTES:
                raise _RequestError(f"the answer is larger than {_MOST_BYTES} bytes")
        return answer.status_code, answer.headers, bytes(content)

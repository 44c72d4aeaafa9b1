"""`SearchClient`: HTTP client for search servers with the `/retrieve` contract of Search-R1, with retries."""

from __future__ import annotations

import json
import math
import time
import weakref
from typing import Any

import httpx

from sdar_gym.envs.searchqa.deadline import Deadline
from sdar_gym.envs.searchqa.search_contract import SearchFailedError, check_address, shown_address
from sdar_gym.envs.searchqa.text import MAX_RESPONSE_BYTES
from sdar_gym.faults import note_fault
from sdar_gym.paths import first_line
from sdar_gym.skills.index.corpus import CorpusError, passage
from sdar_gym.skills.index.passages import Passage
from sdar_gym.text import terminal_safe
from sdar_gym.validation import finite_number

_PATH = "/retrieve"
_CONNECT_S = 5.0
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0
_QUOTED = 300


class _Failure(Exception):
    """One failed attempt; `final` if a retry is useless."""

    def __init__(self, message: str, final: bool = False):
        super().__init__(message)
        self.final = final


class SearchClient:
    """Passage search by a server; thread-safe.

    Connection errors, timeouts, status 429 or 5xx and malformed responses are retried with exponential backoff (0.5 s
    up to 10 s); any other status is final. A failure is never returned as an empty result.

    Args:
        url: Address of the server; `/retrieve` is added if it has no path. A user and password in it are sent, but
            neither shown nor contained in `url` or `info`.
        timeout: Timeout of one whole request in seconds, to its last byte.
        retries: Retries of a failed request.

    Raises:
        ValueError: The address is invalid.

    Source: the `/retrieve` contract of Search-R1 (arXiv 2503.09516), body `{"queries": [...], "topk",
        "return_scores"}`; if a server rejects it, the body of the SDAR code, `{"query": "...", …}`, is sent.
    """

    def __init__(self, url: str, *, timeout: float = 30.0, retries: int = 6):
        check_address(url)
        try:
            address = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ValueError(
                f"{shown_address(url)} is not the address of a search server ({first_line(error)}); write http://host:port."
            ) from None
        self._address = address.copy_with(path=_PATH) if address.path in ("", "/") else address
        self.url = shown_address(str(self._address.copy_with(userinfo=b"")))
        self._deadline = Deadline()
        self._timeout = timeout
        self._retries = retries
        self._one_query = False
        self._client = httpx.Client(
            timeout=httpx.Timeout(timeout, connect=min(timeout, _CONNECT_S)),
            # A configured proxy cannot reach servers on this machine.
            trust_env=address.host not in ("localhost", "127.0.0.1", "::1"),
        )
        self._deadline.watch(self._client)

        # Environments share the client; connections are closed when it is garbage-collected.
        self.close = weakref.finalize(self, self._client.close)

    def search(self, query: str, k: int) -> list[Passage]:
        """The best k passages for a query.

        Raises:
            SearchFailedError: All attempts failed.
        """
        pause = _FIRST_PAUSE_S
        for attempt in range(self._retries + 1):
            try:
                return self._ask(query, k)
            except _Failure as failure:
                if failure.final or attempt == self._retries:
                    raise SearchFailedError(
                        f"The search server at {self.url} failed in {attempt + 1} attempt(s): {failure}. "
                        "Is it running (sdar-gym serve-search INDEX), and is the address right?"
                    ) from failure
            note_fault("search_retries")
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def info(self) -> dict[str, Any]:
        """Backend name and address."""
        return {"backend": "server", "url": self.url}

    def _ask(self, query: str, k: int) -> list[Passage]:
        fields = {"query": query} if self._one_query else {"queries": [query]}
        status, content = self._post({**fields, "topk": k, "return_scores": True})
        if status == 422 and not self._one_query:
            status, content = self._post({"query": query, "topk": k, "return_scores": True})
            # Kept only on success: a query that is rejected in both formats says nothing about the format.
            self._one_query = status == 200
        if status != 200:
            excerpt = terminal_safe(" ".join(content[:_QUOTED].decode("utf-8", "replace").split()))
            raise _Failure(f"status {status}: {excerpt}", final=status != 429 and status < 500)
        try:
            return _passages(json.loads(content))[:k]
        except (ValueError, RecursionError) as error:
            raise _Failure(f"the response does not follow the /retrieve contract: {first_line(error)}") from error

    def _post(self, body: dict[str, Any]) -> tuple[int, bytes]:
        try:
            # httpx limits each read; a server that sends single bytes would never time out.
            with self._deadline(self._timeout), self._client.stream("POST", self._address, json=body) as response:
                content = bytearray()
                for part in response.iter_bytes():
                    content += part
                    if len(content) > MAX_RESPONSE_BYTES:
                        raise _Failure(f"the response is larger than {MAX_RESPONSE_BYTES} bytes", final=True)
                return response.status_code, bytes(content)
        except httpx.TimeoutException as error:
            raise _Failure(f"{type(error).__name__}: no complete response within {self._timeout:g} s") from error
        except httpx.HTTPError as error:
            raise _Failure(f"{type(error).__name__}: {first_line(error)}") from error


def _passages(content: Any) -> list[Passage]:
    """Passages of the response to one query.

    Raises:
        ValueError: The response is malformed.
    """
    found = content.get("result") if isinstance(content, dict) else None
    if not isinstance(found, list):
        raise CorpusError("no list under `result`")
    if len(found) == 1 and isinstance(found[0], list):
        found = found[0]
    elif any(isinstance(item, list) for item in found) or not found:
        # The response to one query without results is [[]].
        raise CorpusError(f"{len(found)} lists for one query")
    return [_passage(item, rank) for rank, item in enumerate(found, start=1)]


def _passage(item: Any, rank: int) -> Passage:
    scored = isinstance(item, dict) and "document" in item
    doc = passage(item["document"] if scored else item, rank - 1, f"result {rank}")
    try:
        score = finite_number("score", item.get("score")) if scored else math.nan
    except ValueError:
        score = math.nan  # Scores are not used.
    return Passage(doc.id, doc.text, score)

"""Search server: serves a passage index over HTTP with the `/retrieve` contract of Search-R1."""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from sdar_gym.envs.searchqa.text import MAX_QUERY_CHARS, MAX_RESPONSE_BYTES
from sdar_gym.paths import first_line
from sdar_gym.skills.index.passages import PassageIndex
from sdar_gym.text import shortened, well_formed

MAX_BODY = 4_000_000
MAX_QUERIES = 512
MAX_TOPK = 1000
# Maximum number of passages per response, counted as queries x `topk`.
MAX_RESULTS = 10_000
_SEARCHES = 8
_KNOWN = ("query", "queries", "topk", "return_scores")


class BadRequestError(ValueError):
    """An invalid request body; the message is sent to the client."""


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """Parsed request to `/retrieve`."""

    queries: tuple[str, ...]
    topk: int
    return_scores: bool


def create_app(index: PassageIndex, topk: int = 3) -> FastAPI:
    """The FastAPI application.

    `POST /retrieve` takes `{"queries": [...]}` or `{"query": "..."}` with `topk` and `return_scores`, and returns
    `{"result": [[…], …]}`, one list per query, of `{"document": {"id", "contents", "title", "text"}, "score"}`, or of
    bare documents without scores. `GET /health` returns the `info` of the index. An invalid body, or one that requests
    more passages than `MAX_RESULTS` or bytes than `MAX_RESPONSE_BYTES`, gets a 422 with `error`; a request that may
    come from a web page gets a 403.

    Args:
        index: Index to search, from several threads at once.
        topk: Default number of passages per query.
    """
    app = FastAPI(title="sdar-gym search", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(NoWebPages)
    # A separate thread limit, so that queued searches do not block /health.
    searching = anyio.CapacityLimiter(_SEARCHES)

    @app.post("/retrieve")
    async def retrieve(request: Request) -> Response:
        try:
            parsed = read_body(await _body(request), topk)
            # In a thread: searching and encoding the response would block the event loop.
            content = await anyio.to_thread.run_sync(search_response, index, parsed, limiter=searching)
        except BadRequestError as error:
            return JSONResponse({"error": str(error)}, status_code=422)
        except ClientDisconnect:
            return Response(status_code=400)  # The client is gone.
        except ValueError as error:
            return JSONResponse({"error": first_line(error)}, status_code=500)
        return Response(content, media_type="application/json")

    @app.get("/health")
    def health() -> dict[str, Any]:
        return {"status": "ok", **index.info()}

    return app


def search_response(index: PassageIndex, request: SearchRequest) -> bytes:
    """Search, and encode the response.

    Raises:
        BadRequestError: The response would be larger than `MAX_RESPONSE_BYTES`.
    """
    size = 0
    lists = []
    for query in request.queries:
        items = []
        for passage in index.search(query, request.topk):
            item = _item(passage.id, passage.contents, passage.score, request.return_scores)
            items.append(json.dumps(item, ensure_ascii=False, separators=(",", ":")).encode())
            size += len(items[-1])
            if size > MAX_RESPONSE_BYTES:
                raise BadRequestError(
                    f"The response would be larger than {MAX_RESPONSE_BYTES} bytes; "
                    "send fewer queries, or a lower `topk`."
                )
        lists.append(b"[" + b",".join(items) + b"]")
    return b'{"result":[' + b",".join(lists) + b"]}"


def read_body(body: bytes, topk: int) -> SearchRequest:
    """Parse a request body.

    Raises:
        BadRequestError: The body is invalid.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequestError(
            'The body is not JSON; send {"queries": ["…"], "topk": 3, "return_scores": true}.'
        ) from None
    if not isinstance(content, dict):
        raise BadRequestError(f"The body is a {type(content).__name__}; send an object with `queries` or `query`.")
    if unknown := sorted(set(content) - set(_KNOWN)):
        raise BadRequestError(f"Unknown field(s) {shortened(unknown)}; known: {', '.join(_KNOWN)}.")
    if ("query" in content) == ("queries" in content):
        raise BadRequestError("Send either `queries`, a list of texts, or `query`, one text.")
    queries = [content["query"]] if "query" in content else content["queries"]
    if not isinstance(queries, list) or not queries or not all(isinstance(query, str) for query in queries):
        raise BadRequestError("`queries` has to be a list of at least one text, `query` a text.")
    if len(queries) > MAX_QUERIES:
        raise BadRequestError(f"{len(queries)} queries in one request; at most {MAX_QUERIES}.")
    wanted = topk if content.get("topk") is None else content["topk"]
    if not isinstance(wanted, int) or isinstance(wanted, bool) or not 1 <= wanted <= MAX_TOPK:
        raise BadRequestError(f"`topk` has to be a whole number from 1 to {MAX_TOPK}, got {shortened(wanted, 40)}.")
    if len(queries) * wanted > MAX_RESULTS:
        raise BadRequestError(
            f"{len(queries)} queries with a `topk` of {wanted} are {len(queries) * wanted} passages in one response; "
            f"at most {MAX_RESULTS}."
        )
    scores = content.get("return_scores") or False
    if not isinstance(scores, bool):
        raise BadRequestError(f"`return_scores` has to be true or false, got {shortened(scores, 40)}.")
    return SearchRequest(tuple(well_formed(query[:MAX_QUERY_CHARS]) for query in queries), wanted, scores)


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise BadRequestError(f"The body is larger than {MAX_BODY} bytes.")
    return bytes(body)


def _item(doc_id: str, contents: str, score: float, with_score: bool) -> dict[str, Any]:
    title, _, text = contents.partition("\n")
    document = {"id": doc_id, "contents": contents, "title": title.strip('"'), "text": text}
    return {"document": document, "score": score} if with_score else document


class NoWebPages:
    """Middleware against cross-site requests: any web page open in a browser can reach a server on loopback.

    Browsers send `Origin` with cross-origin requests, and with anything but simple look-ups. With DNS rebinding, the
    domain of the attacker appears in `Host`; names without a dot cannot be registered.
    """

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or respond with a 403."""
        refusal = _refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await JSONResponse({"error": refusal}, status_code=403)(scope, receive, send)


def _refusal(scope: Scope) -> str | None:
    headers = Headers(scope=scope)
    origin, host = headers.get("origin"), headers.get("host", "")
    if origin is not None and not _is_this_machine(_hostname(origin)):
        return f"The origin {shortened(origin)} is a web page elsewhere; pages are not served."
    server = scope.get("server")
    if server is not None and _is_loopback(server[0]):
        name = _hostname(f"http://{host}")
        if "." in name.rstrip(".") and not _is_this_machine(name) and _address(name) is None:
            return f"The host {shortened(host)} is not this machine; ask http://127.0.0.1:{server[1]}."
    return None


def _hostname(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return "."


def _is_this_machine(name: str) -> bool:
    return name.rstrip(".") == "localhost" or name.endswith(".localhost") or _is_loopback(name)


def _is_loopback(name: str) -> bool:
    address = _address(name)
    return address is not None and (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(name)
    except ValueError:
        return None

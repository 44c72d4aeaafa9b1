"""Serves an index over HTTP with the contract of Search-R1, so that many processes share one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from sdar_gym.envs.search_qa.text import MAX_QUERY_CHARS
from sdar_gym.skills.index.base import clean_text
from sdar_gym.skills.index.passages import PassageIndex

MAX_BODY = 4_000_000
MAX_QUERIES = 512
MAX_TOPK = 1000
_KNOWN = ("query", "queries", "topk", "return_scores")


class BadRequestError(ValueError):
    """A body that asks for nothing that can be searched; the message goes back to the client."""


@dataclass(frozen=True, slots=True)
class Search:
    """A request to `/retrieve`."""

    queries: tuple[str, ...]
    topk: int
    return_scores: bool


def create_app(index: PassageIndex, topk: int = 3) -> FastAPI:
    """The application.

    `POST /retrieve` takes `{"queries": [...]}` or `{"query": "..."}` with `topk` and `return_scores`, and answers
    `{"result": [[…], …]}`, one list a query, of `{"document": {"id", "contents", "title", "text"}, "score"}`, or of
    bare documents without scores. `GET /health` says what is served. A bad body gets a 422 with `error`.

    Args:
        index: What is searched; several threads search at once.
        topk: Passages a query, where the request does not say.
    """
    app = FastAPI(title="sdar-gym search", docs_url=None, redoc_url=None, openapi_url=None)

    @app.post("/retrieve")
    async def retrieve(request: Request) -> JSONResponse:
        try:
            asked = read_body(await _body(request), topk)
        except BadRequestError as error:
            return JSONResponse({"error": str(error)}, status_code=422)
        # Searching computes; in the event loop it would keep all other clients waiting.
        found = await run_in_threadpool(index.batch, asked.queries, asked.topk)
        return JSONResponse(
            {
                "result": [
                    [_item(passage.id, passage.contents, passage.score, asked.return_scores) for passage in passages]
                    for passages in found
                ]
            }
        )

    @app.get("/health")
    def health() -> dict[str, Any]:
        return {"status": "ok", **index.info()}

    return app


def read_body(body: bytes, topk: int) -> Search:
    """Read a request.

    Raises:
        BadRequestError: It is none.
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
        raise BadRequestError(f"Unknown field(s) {unknown}; known: {', '.join(_KNOWN)}.")
    if ("query" in content) == ("queries" in content):
        raise BadRequestError("Send either `queries`, a list of texts, or `query`, one text.")
    queries = [content["query"]] if "query" in content else content["queries"]
    if not isinstance(queries, list) or not queries or not all(isinstance(query, str) for query in queries):
        raise BadRequestError("`queries` has to be a list of at least one text, `query` a text.")
    if len(queries) > MAX_QUERIES:
        raise BadRequestError(f"{len(queries)} queries in one request; at most {MAX_QUERIES}.")
    wanted = topk if content.get("topk") is None else content["topk"]
    if not isinstance(wanted, int) or isinstance(wanted, bool) or not 1 <= wanted <= MAX_TOPK:
        raise BadRequestError(f"`topk` has to be a whole number from 1 to {MAX_TOPK}, got {str(wanted)[:40]!r}.")
    scores = content.get("return_scores") or False
    if not isinstance(scores, bool):
        raise BadRequestError(f"`return_scores` has to be true or false, got {str(scores)[:40]!r}.")
    return Search(tuple(clean_text(query[:MAX_QUERY_CHARS]) for query in queries), wanted, scores)


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

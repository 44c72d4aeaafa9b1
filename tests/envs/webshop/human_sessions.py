"""Recorded human sessions of WebShop, and the actions reconstructed from their pages."""

from __future__ import annotations

import json
from ast import literal_eval
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sdar_gym.envs.webshop.text import ATTRIBUTES, BACK, BUY, NEXT, PREVIOUS, SUB_PAGES


@dataclass(frozen=True, slots=True)
class Visit:
    """A page of a session.

    Attributes:
        kind: `index`, `search_results`, `item_page`, `item_sub_page` or `done`.
        query: Current query, words joined by spaces.
        number: Number of the result page it belongs to.
        found: Product ids on a result page.
        asin: Product id.
        options: Chosen options.
        sub_page: Name of the sub-page of a product.
    """

    kind: str
    query: str = ""
    number: int = 1
    found: tuple[str, ...] = ()
    asin: str = ""
    options: tuple[tuple[str, str], ...] = ()
    sub_page: str = ""


@dataclass(frozen=True, slots=True)
class HumanSession:
    """A recorded session.

    Attributes:
        name: Name of its file.
        instruction: The task.
        visits: Visited pages, the search page first.
        steps: Actions between consecutive pages: usually one, more if the person changed browser tabs.
    """

    name: str
    instruction: str
    visits: tuple[Visit, ...]
    steps: tuple[tuple[str, ...], ...]


def read_sessions(folder: Path) -> Iterator[HumanSession]:
    """All sessions of a folder of `*.jsonl`, in the order of their names.

    Source: the logs of WebShop's site, a page a line: page, url, goal, content.
    """
    for path in sorted(folder.glob("*.jsonl")):
        # Not splitlines(): texts may contain other line separators.
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
        # Without reloaded pages.
        visits = tuple(visit for visit, _ in groupby(_visit(row) for row in rows))
        steps = tuple(_step(before, after) for before, after in pairwise(visits))
        yield HumanSession(path.stem, rows[0]["goal"]["instruction_text"], visits, steps)


def _visit(row: dict[str, Any]) -> Visit:
    content = row.get("content") or {}
    words = content.get("keywords", [])
    return Visit(
        kind=row["page"],
        query=" ".join(literal_eval(words) if isinstance(words, str) and words.startswith("[") else words),
        number=int(content.get("page", 1)),
        found=tuple(content.get("search_result_asins", ())),
        asin=content.get("asin", ""),
        options=tuple(content.get("options", {}).items()),
        sub_page=_sub_page(row["url"]) if row["page"] == "item_sub_page" else "",
    )


def _sub_page(url: str) -> str:
    # The name is between page number and options; a query can contain slashes, so search from the end.
    parts = unquote(url).split("/")
    return next(part for part in reversed(parts) if part in (*SUB_PAGES, ATTRIBUTES))


def _step(before: Visit, after: Visit) -> tuple[str, ...]:
    same_search = (before.query, before.number) == (after.query, after.number)
    if after.kind == "index":
        return (_click(BACK),)
    if after.kind == "done":
        return (_click(BUY),)
    if after.kind == "item_sub_page":
        return (_click(after.sub_page),)
    if after.kind == "search_results":
        if before.kind == "search_results" and before.query == after.query and not same_search:
            return (_click(NEXT if after.number > before.number else PREVIOUS),)
        return (_click(PREVIOUS) if before.kind == "item_page" and same_search else f"search[{after.query}]",)
    if before.asin == after.asin and before.kind == "item_sub_page" and before.options == after.options:
        return (_click(PREVIOUS),)
    kept = dict(before.options).keys() <= dict(after.options).keys()
    if before.asin == after.asin and before.kind == "item_page" and kept:
        new = [value for name, value in after.options if (name, value) not in before.options]
        if not new:
            raise ValueError(f"no click leads from {before} to {after}")
        return (_click(new[0]),)
    # To another product, or to fewer options, in another tab: go back to the results and choose again.
    back = {"item_page": 1, "item_sub_page": 2}.get(before.kind, 0)
    return (*(_click(PREVIOUS),) * back, _click(after.asin), *(_click(value) for _, value in after.options))


def _click(name: str) -> str:
    return f"click[{name.lower()}]"

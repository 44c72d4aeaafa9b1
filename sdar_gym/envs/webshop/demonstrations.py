"""Reads the shopping that people did for WebShop: from the pages they saw back to the actions they took."""

from __future__ import annotations

import json
from ast import literal_eval
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sdar_gym.envs.webshop.catalog import Catalog
from sdar_gym.envs.webshop.text import ATTRIBUTES, BACK, BUY, NEXT, PREVIOUS, SUB_PAGES
from sdar_gym.paths import DAMAGED, first_line
from sdar_gym.text import well_formed


class DemonstrationError(ValueError):
    """A file that is no recorded session, or one that no actions lead through."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One page of a session.

    Attributes:
        kind: `index`, `search_results`, `item_page`, `item_sub_page` or `done`.
        query: The running search, words joined by blanks.
        number: Page number of the results it belongs to.
        found: Product ids on a page of results.
        asin: The product.
        options: Options chosen so far.
        sub_page: Which of the product's sub-pages.
    """

    kind: str
    query: str = ""
    number: int = 1
    found: tuple[str, ...] = ()
    asin: str = ""
    options: tuple[tuple[str, str], ...] = ()
    sub_page: str = ""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A session of a person.

    Attributes:
        name: Of its file.
        instruction: The task.
        asin: The product that the task was made from.
        visits: The pages seen, the search page first.
        steps: What leads from each page to the next: mostly one action, more where a person changed browser tabs.
        score: The score of the purchase; None if nothing was bought.
    """

    name: str
    instruction: str
    asin: str
    visits: tuple[Visit, ...]
    steps: tuple[tuple[str, ...], ...]
    score: float | None

    @property
    def actions(self) -> tuple[str, ...]:
        """All actions in order."""
        return tuple(action for step in self.steps for action in step)

    def playable(self, catalog: Catalog) -> bool:
        """Whether a shop has the products that were looked at and the one that was asked for."""
        needed = {self.asin, *(visit.asin for visit in self.visits if visit.asin)}
        return needed <= catalog.products.keys()


def read_demonstrations(folder: Path) -> Iterator[Demonstration]:
    """All sessions of a folder of `*.jsonl`, in the order of their names.

    Raises:
        DemonstrationError: A file cannot be read.
    """
    for path in sorted(folder.glob("*.jsonl")):
        yield read_demonstration(path)


def read_demonstration(path: Path) -> Demonstration:
    """One session.

    Source: the logs of WebShop's site, a page a line: page, url, goal, content, and at the end reward.

    Raises:
        DemonstrationError: The file cannot be read.
    """
    try:
        # By line feeds alone: texts may hold other characters that end a line elsewhere.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
        read = [json.loads(line) for line in lines if line.strip()]
        rows = json.loads(well_formed(json.dumps(read, ensure_ascii=False)))
        # A page that was loaded again is not a step.
        visits = tuple(visit for visit, _ in groupby(_visit(row) for row in rows))
        goal = rows[0]["goal"]
        steps = tuple(_step(before, after) for before, after in pairwise(visits))
        return Demonstration(path.stem, goal["instruction_text"], goal["asin"], visits, steps, rows[-1].get("reward"))
    except (*DAMAGED, LookupError, ValueError, TypeError, AttributeError, SyntaxError, RuntimeError) as error:
        raise DemonstrationError(
            f"{path} is no readable WebShop session: {type(error).__name__}: {first_line(error)}."
        ) from error


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
    # The name stands between page number and options; a query can hold slashes, so it is looked for from the end.
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
    # From product to product, or to fewer options, in another tab: back to the results, and choose once more.
    back = {"item_page": 1, "item_sub_page": 2}.get(before.kind, 0)
    return (*(_click(PREVIOUS),) * back, _click(after.asin), *(_click(value) for _, value in after.options))


def _click(name: str) -> str:
    return f"click[{name.lower()}]"

"""Shop session: the state of an episode (page, query, chosen options) and the effects of searches and clicks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from sdar_gym.envs.webshop.products import Product
from sdar_gym.envs.webshop.text import (
    ATTRIBUTES,
    BACK,
    BUY,
    NEXT,
    PAGE_SIZE,
    PREVIOUS,
    SEARCH,
    SUB_PAGES,
    Click,
    Page,
    item_page,
    results_page,
    search_page,
    sub_page,
)

if TYPE_CHECKING:
    from sdar_gym.envs.webshop.catalog import Shelf

SEARCH_HITS = 50
# The reference determines the page type by the first of these names in the URL, which also contains the query.
_PAGE_NAMES = ("search_results", "item_page", "item_sub_page", "done")
_SUB_PAGES = {name.lower(): name for name in (*SUB_PAGES, ATTRIBUTES)}
_CLICK, _SEARCH = "click[", "search["


def split_action(action: str) -> tuple[str, str | None]:
    """Parse an action such as `search[red shoes]` into name and argument; the argument is None if there is none.

    The last opening bracket before a closing one counts, as in the reference: text after the last bracket is ignored, a
    line break ends the action, and `search[a[b]c]` has the name `search[a`.
    """
    # Equals the reference's regular expression, (.+)\[(.+)\], which takes quadratic time.
    line = action.partition("\n")[0]
    closing = line.rfind("]")
    opening = line.rfind("[", 1, max(closing - 1, 0))
    return (line[:opening], line[opening + 1 : closing]) if opening > 0 else (action, None)


def listed_action(name: str) -> str:
    """The listed action for a click; `Session.act` parses it back for any name."""
    return f"{_CLICK}{name}]"


def read_action(action: str) -> tuple[str, str | None]:
    """Parse an action like `split_action`, but keep brackets in a query.

    `search[rug [2 pack]]` searches for `rug [2 pack]`. An action that contains another one goes to `split_action`.
    """
    line = action.partition("\n")[0].rstrip()
    if line.startswith(_SEARCH) and line.endswith("]"):
        inner = line[len(_SEARCH) : -1]
        if _SEARCH not in inner and _CLICK not in inner:
            return "search", inner
    return split_action(action)


class ShopError(Exception):
    """An exception that the reference raises during a step.

    Args:
        kind: Name of the exception in the reference.
        message: Its text.
    """

    def __init__(self, kind: str, message: str):
        super().__init__(kind, message)
        self.kind = kind
        self.message = message


@dataclass(slots=True)
class Session:
    """State of an episode, from the search page to a purchase.

    Attributes:
        instruction: The task.
        shelf: Products with their search index.
        compat: Behave as the reference, including its bugs; see `WebShopEnv`.
        show_attributes: Whether product pages have an Attributes button.
        rng: Generator for the random results of the reference; used with `compat` only.
        name: Name of the session in the reference, part of the page URL.
        page: Current page.
        kind: Page type: `search_results`, `item_page`, `item_sub_page`, or "" for the search page.
        query, number, asin, options: Current query, page number, product and chosen options.
    """

    instruction: str
    shelf: Shelf
    compat: bool = False
    show_attributes: bool = False
    rng: Random | None = None
    name: str = "0"
    page: Page = field(init=False)
    kind: str = field(init=False, default="")
    query: str | None = field(init=False, default=None)
    number: int | None = field(init=False, default=None)
    asin: str | None = field(init=False, default=None)
    options: dict[str, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.compat and self.rng is None:
            self.rng = Random(0)
        self._start()

    @property
    def clickables(self) -> tuple[str, ...]:
        """Clickable texts, in the order of the reference."""
        return tuple(self.page.clicks)

    def act(self, action: str) -> str:
        """Carry out one action.

        Returns:
            `done` (valid), `nothing` (invalid, no effect) or `bought` (purchase of the product `asin`).

        Raises:
            ShopError: With `compat` only, if the reference raises.
        """
        if self.compat:
            name, argument = split_action(action)
            argument = argument.lower() if argument is not None else None
            click = None if argument is None else self.page.clicks.get(argument)
        else:
            # Listed texts are matched verbatim, since they may contain brackets and line breaks.
            if action.startswith(_CLICK) and action.endswith("]"):
                whole = action[len(_CLICK) : -1]
                if listed := self.page.found(whole):
                    return self._click(whole, listed)
            name, argument = read_action(action)
            click = None if name != "click" or argument is None else self.page.found(argument)
        if name == "search" and argument:
            self._search(argument, 1)
            return "done"
        if name == "click" and argument is not None and click is not None:
            return self._click(argument, click)
        return "nothing"

    def _click(self, name: str, click: Click) -> str:
        kind = self.kind
        if not self.compat:
            if click.kind != "button":
                self._item(click)
                return "done"
            name = click.target.lower()
        # In the reference an option value that equals a button acts as the button.
        if name == BUY.lower():
            self._product()
            return "bought"
        if name == SEARCH.lower():
            # The reference lists the search button, which has no effect.
            return "done"
        if name == BACK.lower():
            self._start()
        elif name == NEXT.lower() and kind == "search_results":
            self._search(self.query or "", self._number() + 1)
        elif name == PREVIOUS.lower() and kind == "search_results":
            self._search(self.query or "", self._number() - 1)
        elif name == PREVIOUS.lower() and kind == "item_page":
            self._search(self.query or "", self._number())
        elif name in _SUB_PAGES:
            product = self._product()
            self.page = sub_page(self.instruction, product, _SUB_PAGES[name])
            self._at("item_sub_page", f"{self.asin}/{self._joined()}/{self.number}/{_SUB_PAGES[name]}/{self.options}")
        else:
            self._item(click)
        return "done"

    def _start(self) -> None:
        self.page = search_page(self.instruction, compat=self.compat)
        self.kind, self.query, self.number, self.asin, self.options = "", None, None, None, {}

    def _search(self, query: str, number: int) -> None:
        self.number, self.query, self.asin, self.options = number, query, None, {}
        hits = self._found(query)
        window = hits[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]
        products = [self.shelf.products[asin] for asin in window]
        self.page = results_page(self.instruction, products, number, len(hits), compat=self.compat)
        self._at("search_results", f"{self._joined()}/{number}")

    def _found(self, query: str) -> Sequence[str]:
        if not self.compat:
            return self._hits(query)
        # The reference splits a query at single spaces and joins it again.
        words = query.split(" ", 2)
        if self.rng is not None and words[0] == "<r>":
            everything = self.shelf.order
            if len(everything) < SEARCH_HITS:
                raise ShopError("ValueError", "Sample larger than population or is negative")
            return self.rng.sample(everything, SEARCH_HITS)
        if words[0] == "<a>":
            raise ShopError("TypeError", "'NoneType' object is not subscriptable")
        if words[0] == "<c>":
            if len(words) == 1:
                raise ShopError("IndexError", "list index out of range")
            return [a for a in self.shelf.order if self.shelf.products[a].category == words[1].strip()]
        if words[0] == "<q>":
            wanted = query.partition(" ")[2].strip()
            return [a for a in self.shelf.order if self.shelf.products[a].query == wanted]
        return self.shelf.search(query, SEARCH_HITS)

    def _hits(self, query: str) -> Sequence[str]:
        hits = self.shelf.search(query.lower(), SEARCH_HITS)
        # A product without words, or with the same texts as fifty others, can only be found by its id.
        asin = next((name for name in (query, query.upper()) if name in self.shelf.products), None)
        return hits if asin is None else (asin, *(hit for hit in hits if hit != asin))[:SEARCH_HITS]

    def _item(self, click: Click) -> None:
        if click.kind == "product":
            self.asin = click.target.upper() if self.compat else click.target
        elif click.kind == "option":
            self.options = {**self.options, self._option_of(click): click.target}
        product = self._product()
        self.page = item_page(
            self.instruction, product, self.options, show_attributes=self.show_attributes, compat=self.compat
        )
        self._at("item_page", f"{self.asin}/{self._joined()}/{self.number}/{json.dumps(self.options)}")

    def _option_of(self, click: Click) -> str:
        """Option for which a value is chosen; in the reference always the last option that has the value."""
        last = click.names[-1]
        return last.lower() if self.compat else next((name for name in click.names if name not in self.options), last)

    def _product(self) -> Product:
        if self.asin is None or self.asin not in self.shelf.products:
            # After a failed search the reference still shows a product page, but without its product.
            raise ShopError("KeyError", repr(self.asin))
        return self.shelf.products[self.asin]

    def _at(self, kind: str, address: str) -> None:
        # In the reference the words of a query can change the page type.
        where = f"{kind}/{self.name}/{address}" if self.compat else kind
        self.kind = next(name for name in _PAGE_NAMES if name in where)

    def _number(self) -> int:
        return self.number or 0

    def _joined(self) -> str:
        return (self.query or "").replace(" ", "+")

    def __getstate__(self) -> dict[str, Any]:
        # The shelf is shared per process; the environment restores it after unpickling.
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "shelf"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

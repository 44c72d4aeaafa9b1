"""One visit to the shop: which page is shown, what was chosen, and what a search or a click does."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from sdar_gym.envs.webshop.products import Product
from sdar_gym.envs.webshop.text import (
    ATTRIBUTES,
    BACK,
    BUY,
    NEXT,
    PAGE_SIZE,
    PREVIOUS,
    SUB_PAGES,
    Page,
    item_page,
    results_page,
    search_page,
    sub_page,
)

if TYPE_CHECKING:
    from sdar_gym.envs.webshop.catalogue import Shelf

SEARCH_HITS = 50
_ACTION = re.compile(r"(.+)\[(.+)\]")
# The reference tells pages apart by the first of these names in the address, which holds the query too.
_PAGE_NAMES = ("search_results", "item_page", "item_sub_page", "done")
_SUB_PAGES = {name.lower(): name for name in (*SUB_PAGES, ATTRIBUTES)}


def split_action(action: str) -> tuple[str, str | None]:
    """Name and argument of an action such as `search[red shoes]`; the argument is None if it has not that form.

    Greedy and anchored at the start, as in the reference: what follows the last bracket is ignored, a line break ends
    the match, and `search[a[b]c]` has the name `search[a`.
    """
    match = _ACTION.match(action)
    return (match[1], match[2]) if match else (action, None)


class ShopError(Exception):
    """What the reference raises in the middle of a step.

    Args:
        kind: Name of the exception it raises.
        message: Its text.
    """

    def __init__(self, kind: str, message: str):
        super().__init__(kind, message)
        self.kind = kind
        self.message = message


@dataclass(slots=True)
class Session:
    """A visit, from the search page to a purchase.

    Attributes:
        instruction: The task.
        shelf: Products and their index.
        compat: Behave as the reference, quirks included; see `WebShopEnv`.
        show_attributes: Whether product pages have an Attributes button.
        rng: For the reference's random results.
        name: The reference's name of the session, part of the page's address.
        page: What is shown.
        kind: `search_results`, `item_page`, `item_sub_page`, or "" for the search page.
        keywords, number, asin, options: The running query, its page number, the product and the chosen options.
    """

    instruction: str
    shelf: Shelf
    compat: bool = False
    show_attributes: bool = False
    rng: Random = field(default_factory=lambda: Random(0))
    name: str = "0"
    page: Page = field(init=False)
    kind: str = field(init=False, default="")
    keywords: list[str] | None = field(init=False, default=None)
    number: int | None = field(init=False, default=None)
    asin: str | None = field(init=False, default=None)
    options: dict[str, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._start()

    @property
    def clickables(self) -> tuple[str, ...]:
        """What can be clicked, in the reference's order."""
        return tuple(self.page.clicks)

    def act(self, action: str) -> str:
        """Carry out one action.

        Returns:
            `done` (something happened), `nothing` (the shop did not understand it) or `bought` (the product in `asin`).

        Raises:
            ShopError: In `compat` only, where the reference raises.
        """
        name, argument = split_action(action)
        argument = argument.lower() if argument is not None else None
        if name == "search" and argument:
            self._search(argument.split(" "), 1)
            return "done"
        if name == "click" and argument in self.page.clicks and argument != "search":
            return self._click(argument)
        return "nothing"

    def _click(self, name: str) -> str:
        kind = self.kind
        if name == BUY.lower():
            self._product()
            return "bought"
        if name == BACK.lower():
            self._start()
        elif name == NEXT.lower() and kind == "search_results":
            self._search(self._words(), self._number() + 1)
        elif name == PREVIOUS.lower() and kind == "search_results":
            self._search(self._words(), self._number() - 1)
        elif name == PREVIOUS.lower() and kind == "item_page":
            self._search(self._words(), self._number())
        elif name in _SUB_PAGES:
            product = self._product()
            self.page = sub_page(self.instruction, product, _SUB_PAGES[name])
            self._at("item_sub_page", f"{self.asin}/{self._joined()}/{self.number}/{_SUB_PAGES[name]}/{self.options}")
        else:
            self._item(name)
        return "done"

    def _start(self) -> None:
        self.page = search_page(self.instruction, compat=self.compat)
        self.kind, self.keywords, self.number, self.asin, self.options = "", None, None, None, {}

    def _search(self, words: list[str], number: int) -> None:
        self.number, self.keywords, self.asin, self.options = number, words, None, {}
        hits = self._found(words)
        window = hits[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]
        products = [self.shelf.products[asin] for asin in window]
        self.page = results_page(self.instruction, products, number, len(hits), compat=self.compat)
        self._at("search_results", f"{self._joined()}/{number}")

    def _found(self, words: list[str]) -> Sequence[str]:
        if self.compat and words[0] == "<r>":
            everything = self.shelf.order
            if len(everything) < SEARCH_HITS:
                raise ShopError("ValueError", "Sample larger than population or is negative")
            return self.rng.sample(everything, SEARCH_HITS)
        if self.compat and words[0] == "<a>":
            raise ShopError("TypeError", "'NoneType' object is not subscriptable")
        if self.compat and words[0] == "<c>":
            if len(words) == 1:
                raise ShopError("IndexError", "list index out of range")
            return [a for a in self.shelf.order if self.shelf.products[a].category == words[1].strip()]
        if self.compat and words[0] == "<q>":
            query = " ".join(words[1:]).strip()
            return [a for a in self.shelf.order if self.shelf.products[a].query == query]
        return self.shelf.search(" ".join(words), SEARCH_HITS)

    def _item(self, name: str) -> None:
        click = self.page.clicks[name]
        if click == "product":
            self.asin = name.upper()
        elif click.startswith("option:"):
            self.options = {**self.options, click.removeprefix("option:").lower(): name}
        product = self._product()
        self.page = item_page(self.instruction, product, self.options, show_attributes=self.show_attributes)
        self._at("item_page", f"{self.asin}/{self._joined()}/{self.number}/{json.dumps(self.options)}")

    def _product(self) -> Product:
        if self.asin not in self.shelf.products:
            # After a failed search the reference still shows a product page, but has lost the product.
            raise ShopError("KeyError", repr(self.asin))
        return self.shelf.products[self.asin]

    def _at(self, kind: str, address: str) -> None:
        # By default the kind is what was shown. In the reference a query can make a page be taken for another.
        where = f"{kind}/{self.name}/{address}" if self.compat else kind
        self.kind = next(name for name in _PAGE_NAMES if name in where)

    def _words(self) -> list[str]:
        return self.keywords or [""]

    def _number(self) -> int:
        return self.number or 0

    def _joined(self) -> str:
        return "+".join(self._words())

"""Product data classes, price parsing, and removal of blank options and attributes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sdar_gym.envs.webshop.fields import ProductFormatError
from sdar_gym.text import shortened

DEFAULT_PRICE = 100.0
# Attributes of a product without an attribute list, as in the reference; no goal requires them.
NO_ATTRIBUTES = ("DUMMY_ATTR",)
# An amount such as "1e400", which would become another price without its letter.
_EXPONENT = re.compile(r"\d[eE][-+]?\d")


@dataclass(frozen=True, slots=True)
class HumanInstruction:
    """Human-written instruction for a product; options are values without names."""

    text: str
    attributes: tuple[str, ...]
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Instruction:
    """Entry of a product in `items_ins_v2*.json`.

    Attributes:
        attributes: Attributes of the product; None if the entry has no list.
        text: Text of the synthetic instruction; None if the product is not a goal.
        wanted: Attributes that the instruction requires.
    """

    attributes: tuple[str, ...] | None = None
    text: str | None = None
    wanted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Product:
    """A product: the data of its pages, goals and scores.

    Attributes:
        asin: Product id, at most 10 characters.
        title: Title.
        description: Text of the Description page; may be empty.
        bullets: Lines of the Features page.
        category: One of WebShop's five departments.
        query: Query with which the product was collected, lower-cased; its fine-grained type.
        path: Category path, parts joined by " › ".
        prices: One price, or the ends of a price range, in dollars.
        price_tag: Displayed price.
        rating: Displayed rating.
        options: Values by option name, in display order.
        attributes: Attributes such as "machine wash".
        instruction: Text of the synthetic instruction; None if the product is not a goal.
        instruction_attributes: Attributes that the instruction requires.
        human: Human-written instructions.
    """

    asin: str
    title: str
    description: str
    bullets: tuple[str, ...]
    category: str
    query: str
    path: str
    prices: tuple[float, ...]
    price_tag: str
    rating: str
    options: Mapping[str, tuple[str, ...]]
    attributes: tuple[str, ...]
    instruction: str | None = None
    instruction_attributes: tuple[str, ...] = ()
    human: tuple[HumanInstruction, ...] = ()

    @property
    def search_text(self) -> str:
        """Text of the product in the search index.

        Source: WebShop's index documents: title, description, first feature and options, lower-cased.
        """
        options = ", and ".join(f"{name}: {', '.join(values)}" for name, values in self.options.items())
        first = self.bullets[0] if self.bullets else ""
        return " ".join((self.title, self.description, first, options)).lower()

    @property
    def goal_count(self) -> int:
        """Number of synthetic goals: one for each combination of option values."""
        if self.instruction is None or not self.instruction_attributes:
            return 0
        count = 1
        for values in self.options.values():
            count *= len(values)
        return count


def read_price(text: str | None) -> tuple[tuple[float, ...], str]:
    """Parse a price such as "$3.99 to $10.99" into prices and price tag; a missing price is 100 dollars.

    Raises:
        ProductFormatError: The text contains no price.
    """
    if not text:
        return (DEFAULT_PRICE,), f"${DEFAULT_PRICE}"
    parts = text.split("$")[1:]
    try:
        prices = tuple(float(re.sub(r"[^\d.]", "", part)) for part in parts)
    except ValueError:
        prices = ()
    if not prices or not all(math.isfinite(price) for price in prices) or any(map(_EXPONENT.search, parts)):
        raise ProductFormatError(f"The price {shortened(text)} holds no amount such as '$9.99'.")
    if len(prices) == 1:
        return prices, f"${prices[0]}"
    return prices[:2], f"${prices[0]} to ${prices[1]}"


def without_blanks(product: Product) -> Product:
    """Remove blank option values and attributes from a product, which cannot be clicked or required.

    An option with only blank values is removed. An option without any value stays: its product has no goals, as in the
    published code.
    """
    lists = (*product.options.values(), product.instruction_attributes, *(entry.attributes for entry in product.human))
    lists = (*lists, *(entry.options for entry in product.human))
    if all(text.strip() for texts in lists for text in texts):
        return product
    options = {name: _filled(values) for name, values in product.options.items()}
    return replace(
        product,
        options={name: kept for name, kept in options.items() if kept or not product.options[name]},
        instruction_attributes=_filled(product.instruction_attributes),
        human=tuple(
            HumanInstruction(entry.text, _filled(entry.attributes), _filled(entry.options)) for entry in product.human
        ),
    )


def _filled(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(text for text in texts if text.strip())

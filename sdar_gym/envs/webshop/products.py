"""What a product of the shop is, and how it is read from WebShop's two file formats."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DEFAULT_PRICE = 100.0
# What the reference says of a product without listed attributes; no goal asks for it.
NO_ATTRIBUTES = ("DUMMY_ATTR",)


class ProductFormatError(ValueError):
    """An entry of a data file that is not a WebShop product."""


@dataclass(frozen=True, slots=True)
class HumanInstruction:
    """One instruction that a person wrote for a product; options are values without their names."""

    text: str
    attributes: tuple[str, ...]
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Product:
    """One product: what its pages show, and what goals and scores are made from.

    Attributes:
        asin: The product's id, 10 characters.
        title: The name shown.
        description: Text of the Description page; may be empty.
        bullets: Lines of the Features page.
        category: One of WebShop's five departments.
        query: The search the product was collected with, lower-cased; its fine type.
        path: The shop's category path, parts joined by " › ".
        prices: One price or the two ends of a range, dollars.
        price_tag: The price as shown.
        rating: The rating as shown.
        options: Values by option name, in the order shown.
        attributes: Properties such as "machine wash".
        instruction: Words of the synthetic instruction; None if the product is no goal.
        instruction_attributes: The attributes it asks for.
        human: Instructions written by people.
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
        """The text that the search index holds of the product.

        Source: WebShop's index documents: title, description, first feature and options, lower-cased.
        """
        options = ", and ".join(f"{name}: {', '.join(values)}" for name, values in self.options.items())
        first = self.bullets[0] if self.bullets else ""
        return " ".join((self.title, self.description, first, options)).lower()

    @property
    def goal_count(self) -> int:
        """How many synthetic goals the product has: one for each combination of option values."""
        if self.instruction is None or not self.instruction_attributes:
            return 0
        count = 1
        for values in self.options.values():
            count *= len(values)
        return count


def read_price(text: str | None) -> tuple[tuple[float, ...], str]:
    """Prices and price tag of a raw price such as "$3.99 to $10.99"; no price counts as 100 dollars.

    Raises:
        ProductFormatError: There is a text, but no price in it.
    """
    if not text:
        return (DEFAULT_PRICE,), f"${DEFAULT_PRICE}"
    try:
        prices = tuple(float(re.sub(r"[^\d.]", "", part)) for part in text.split("$")[1:])
    except ValueError:
        prices = ()
    if not prices:
        raise ProductFormatError(f"The price {text!r} holds no amount such as '$9.99'.")
    if len(prices) == 1:
        return prices, f"${prices[0]}"
    return prices[:2], f"${prices[0]} to ${prices[1]}"


def read_options(raw: Mapping[str, Sequence[Mapping[str, Any]] | None] | str | None) -> dict[str, tuple[str, ...]]:
    """Option values by name from a raw product's `customization_options`."""
    if not isinstance(raw, Mapping):
        return {}
    return {
        name.lower(): tuple(entry["value"].strip().replace("/", " | ").lower() for entry in entries)
        for name, entries in raw.items()
        if entries is not None
    }


def product_of_raw(
    raw: Mapping[str, Any], synthetic: Mapping[str, Any] | None, human: Sequence[Mapping[str, Any]] | None
) -> Product:
    """A product from an entry of `items_shuffle*.json`.

    Args:
        raw: The entry.
        synthetic: The product's entry in `items_ins_v2*.json`.
        human: Its entries in `items_human_ins.json`.

    Raises:
        ProductFormatError: A field is missing or of another type.
    """
    try:
        prices, tag = read_price(raw.get("pricing"))
        return _product(raw, raw["name"], prices, tag, read_options(raw["customization_options"]), synthetic, human)
    except (KeyError, TypeError, AttributeError) as error:
        raise ProductFormatError(f"Product {raw.get('asin')!r} cannot be read: {error!r}.") from error


def product_of_document(
    document: Mapping[str, Any], synthetic: Mapping[str, Any] | None, human: Sequence[Mapping[str, Any]] | None
) -> Product:
    """A product from a line of `documents*.jsonl`, in which WebShop has read the raw product already.

    Raises:
        ProductFormatError: A field is missing or of another type.
    """
    try:
        raw = document["product"]
        options = {name: tuple(values) for name, values in raw["options"].items()}
        prices = tuple(float(price) for price in raw["pricing"]) or (DEFAULT_PRICE,)
        listed = {"attributes": raw["Attributes"], **(synthetic or {})}
        return _product(raw, raw["Title"], prices, raw["Price"], options, listed, human or raw.get("instructions"))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ProductFormatError(f"Document {document.get('id')!r} cannot be read: {error!r}.") from error


def _product(
    raw: Mapping[str, Any],
    title: str,
    prices: tuple[float, ...],
    price_tag: str,
    options: dict[str, tuple[str, ...]],
    synthetic: Mapping[str, Any] | None,
    human: Sequence[Mapping[str, Any]] | None,
) -> Product:
    bullets = raw["small_description"]
    listed = synthetic or {}
    return Product(
        asin=raw["asin"],
        title=title,
        description=raw["full_description"] or "",
        bullets=tuple(bullets) if isinstance(bullets, list) else (bullets,),
        category=raw["category"],
        query=raw["query"].lower().strip(),
        path=raw["product_category"],
        prices=prices,
        price_tag=price_tag,
        rating=str(raw.get("Rating", "N.A.")),
        options=options,
        attributes=tuple(listed["attributes"]) if "attributes" in listed else NO_ATTRIBUTES,
        instruction=listed.get("instruction"),
        instruction_attributes=tuple(listed.get("instruction_attributes") or ()),
        human=tuple(
            HumanInstruction(
                entry["instruction"], tuple(entry["instruction_attributes"]), tuple(entry["instruction_options"])
            )
            for entry in human or ()
        ),
    )

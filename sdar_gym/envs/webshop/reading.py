"""Parses products and instructions from entries of WebShop's data files, with a type check of every field."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sdar_gym.envs.webshop.fields import Fields, ProductFormatError
from sdar_gym.envs.webshop.products import (
    DEFAULT_PRICE,
    NO_ATTRIBUTES,
    HumanInstruction,
    Instruction,
    Product,
    read_price,
)
from sdar_gym.text import shortened, well_formed


def product_id(raw: Any, field: str, place: str) -> str:
    """Product id of an entry of a data file.

    Args:
        raw: The entry.
        field: Field with the id.
        place: Name of the entry in messages.

    Raises:
        ProductFormatError: It is not an object, or its id is not a string or blank.
    """
    asin = Fields(place, raw).text(field)
    if not asin.strip():
        raise ProductFormatError(f"{place}: {field} is blank; a product needs an id.")
    return asin


def product_of_raw(raw: Any, instruction: Instruction | None, human: tuple[HumanInstruction, ...]) -> Product:
    """Parse a product from an entry of `items_shuffle*.json`.

    Args:
        raw: The entry.
        instruction: Its entry in `items_ins_v2*.json`.
        human: Its entry in `items_human_ins.json`.

    Raises:
        ProductFormatError: A field is missing or of another type.
    """
    fields = _product_fields(raw, product_id(raw, "asin", "a product"))
    try:
        prices, tag = read_price(fields.text("pricing", null="", optional=True))
    except ProductFormatError as error:
        raise ProductFormatError(f"{fields.place}: pricing: {error}") from error
    return _product(fields, fields.text("name"), prices, tag, _raw_options(fields), instruction, human)


def product_of_document(raw: Any, instruction: Instruction | None, human: tuple[HumanInstruction, ...]) -> Product:
    """Parse a product from a line of `documents*.jsonl`, which WebShop writes from preprocessed products.

    Args:
        raw: The line, as JSON.
        instruction: Its entry in `items_ins_v2*.json`.
        human: Its entry in `items_human_ins.json`; if empty, the instructions of the line are used.

    Raises:
        ProductFormatError: A field is missing or of another type.
    """
    asin = product_id(raw, "id", "a document")
    fields = _product_fields(Fields(f"product {shortened(asin)}", raw).any("product"), asin)
    if fields.text("asin") != asin:
        raise ProductFormatError(f"{fields.place}: its product has another asin, {shortened(fields.text('asin'))}.")
    inner, names = fields.inside("options")
    options = {well_formed(name): inner.texts(name) for name in names}
    prices = fields.numbers("pricing")[:2] or (DEFAULT_PRICE,)
    if instruction is None or instruction.attributes is None:
        instruction = replace(instruction or Instruction(), attributes=fields.texts("Attributes"))
    human = human or human_instructions(fields, "instructions")
    return _product(fields, fields.text("Title"), prices, fields.text("Price"), options, instruction, human)


def instruction_of(raw: Any, asin: str) -> Instruction:
    """Parse an entry of `items_ins_v2*.json`.

    Raises:
        ProductFormatError: A field is of another type.
    """
    fields = _product_fields(raw, asin)
    return Instruction(
        fields.texts("attributes") if "attributes" in fields else None,
        None if fields.any("instruction", optional=True) is None else fields.text("instruction"),
        fields.texts("instruction_attributes", optional=True),
    )


def human_instructions(entries: Fields, field: str) -> tuple[HumanInstruction, ...]:
    """Parse a list of human instructions, such as an entry of `items_human_ins.json`; empty if the field is missing.

    Raises:
        ProductFormatError: A field is missing or of another type.
    """
    if field not in entries:
        return ()
    return tuple(
        HumanInstruction(
            entry.text("instruction"), entry.texts("instruction_attributes"), entry.texts("instruction_options")
        )
        for entry in entries.each(field)
    )


def _product_fields(raw: Any, asin: str) -> Fields:
    return Fields(f"product {shortened(asin)}", raw)


def _raw_options(fields: Fields) -> dict[str, tuple[str, ...]]:
    """Option values by name from `customization_options`, an empty string without options."""
    if fields.any("customization_options") in (None, "", []):
        return {}
    inner, names = fields.inside("customization_options")
    return {
        well_formed(name).lower(): tuple(
            entry.text("value", null="").strip().replace("/", " | ").lower() for entry in inner.each(name)
        )
        for name in names
        if inner.any(name) is not None
    }


def _product(
    fields: Fields,
    title: str,
    prices: tuple[float, ...],
    price_tag: str,
    options: dict[str, tuple[str, ...]],
    instruction: Instruction | None,
    human: tuple[HumanInstruction, ...],
) -> Product:
    entry = instruction or Instruction()
    return Product(
        asin=fields.text("asin"),
        title=title,
        description=fields.text("full_description", null=""),
        bullets=_bullets(fields),
        category=fields.text("category"),
        query=fields.text("query").lower().strip(),
        path=fields.text("product_category", null=""),
        prices=prices,
        price_tag=price_tag,
        rating=_rating(fields),
        options=options,
        attributes=NO_ATTRIBUTES if entry.attributes is None else entry.attributes,
        instruction=entry.text,
        instruction_attributes=entry.wanted,
        human=human,
    )


def _bullets(fields: Fields) -> tuple[str, ...]:
    field = "small_description"
    return (fields.text(field),) if isinstance(fields.any(field), str) else fields.texts(field)


def _rating(fields: Fields) -> str:
    rating = fields.any("Rating", optional=True)
    is_number = isinstance(rating, int | float) and not isinstance(rating, bool)
    return str(rating) if is_number else fields.text("Rating", null="N.A.", optional=True)

"""Every page of the shop as the texts it shows and the things to click on it, and the two ways to write it down."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sdar_gym.envs.webshop.products import Product

SEPARATOR = " [SEP] "
PAGE_SIZE = 10
BACK, PREVIOUS, NEXT, BUY, SEARCH = "Back to Search", "< Prev", "Next >", "Buy Now", "Search"
SUB_PAGES = ("Description", "Features", "Reviews")
ATTRIBUTES = "Attributes"
OBSERVATIONS = ("text", "readable")


@dataclass(frozen=True, slots=True)
class Page:
    """One page as shown.

    Attributes:
        parts: The visible texts in order.
        readable: The same in lines that say what each text is.
        clicks: What can be clicked, in the reference's order: "button", "product", or "option:" and the option's name.
        has_search: Whether the page has the search box.
    """

    parts: tuple[str, ...]
    readable: str
    clicks: Mapping[str, str] = field(default_factory=dict)
    has_search: bool = False

    def text(self, observation: str) -> str:
        """The page as an observation, `text` or `readable`."""
        return self.readable if observation == "readable" else SEPARATOR.join(self.parts)


def search_page(instruction: str, *, compat: bool) -> Page:
    """The first page.

    Args:
        instruction: The task.
        compat: List the search button, which does nothing.
    """
    parts = ("WebShop", "Instruction:", *_shown(instruction), SEARCH)
    readable = f"Instruction: {instruction}\nSearch page. There is a search box."
    return Page(parts, readable, {SEARCH.lower(): "button"} if compat else {}, has_search=True)


def results_page(instruction: str, products: Sequence[Product], page: int, total: int, *, compat: bool) -> Page:
    """One page of search results.

    Args:
        instruction: The task.
        products: Those on this page.
        page: Its number, from 1.
        total: Hits on all pages.
        compat: Always show `Next >`, as the reference does, even when nothing follows.
    """
    buttons = [BACK]
    if page > 1:
        buttons.append(PREVIOUS)
    if compat or page * PAGE_SIZE < total:
        buttons.append(NEXT)
    parts = ["Instruction:", *_shown(instruction), BACK, f"Page {page} (Total results: {total})", *buttons[1:]]
    lines = [f"Instruction: {instruction}", f"Search results, page {page}, {total} in all:"]
    for product in products:
        parts += (*_shown(product.asin), *_shown(product.title), *_shown(product.price_tag))
        lines.append(f"- {product.asin}: {product.title} ({product.price_tag})")
    if not products:
        lines.append("(nothing)")
    lines.append(_buttons_line(buttons))
    clicks = {button.lower(): "button" for button in buttons}
    clicks.update((product.asin.lower(), "product") for product in products)
    return Page(tuple(parts), "\n".join(lines), clicks)


def item_page(instruction: str, product: Product, chosen: Mapping[str, str], *, show_attributes: bool) -> Page:
    """A product's page; only the readable form says which options are chosen."""
    sub_pages = (*SUB_PAGES, ATTRIBUTES) if show_attributes else SUB_PAGES
    parts = ["Instruction:", *_shown(instruction), BACK, PREVIOUS]
    lines = [f"Instruction: {instruction}", f"Product {product.asin}: {product.title}"]
    lines.append(f"Price: {product.price_tag}. Rating: {product.rating}.")
    clicks = {button.lower(): "button" for button in (BACK, PREVIOUS, *sub_pages, BUY)}
    for name, values in product.options.items():
        parts += (*_shown(name), *(part for value in values for part in _shown(value)))
        picked = chosen.get(name)
        lines.append(f"Option {name} [{picked or 'nothing chosen'}]: {', '.join(values)}")
        clicks.update((value, f"option:{name}") for value in values)
    parts += (*_shown(product.title), f"Price: {product.price_tag}", f"Rating: {product.rating}".strip())
    parts += (*sub_pages, BUY)
    lines.append(_buttons_line((BACK, PREVIOUS, *sub_pages, BUY)))
    return Page(tuple(parts), "\n".join(lines), clicks)


def sub_page(instruction: str, product: Product, name: str) -> Page:
    """Description, features, reviews (the data have none) or attributes of a product."""
    if name == "Description":
        texts = _shown(product.description)
    elif name == "Features":
        texts = tuple(bullet.strip() for bullet in product.bullets)
    elif name == ATTRIBUTES:
        listed = (*product.attributes, product.category, product.query, product.path)
        texts = tuple(part for text in listed for part in _shown(text))
    else:
        texts = ()
    parts = ("Instruction:", *_shown(instruction), BACK, PREVIOUS, *texts)
    lines = [f"Instruction: {instruction}", f"{name} of {product.asin}:"]
    lines += [f"- {text}" for text in texts if text] or ["(nothing)"]
    lines.append(_buttons_line((BACK, PREVIOUS)))
    return Page(parts, "\n".join(lines), {BACK.lower(): "button", PREVIOUS.lower(): "button"})


def receipt_page(asin: str, chosen: Mapping[str, str], score: float) -> Page:
    """The page after a purchase. The text form has the reference's labels, most of which it leaves empty."""
    options = json.dumps(dict(chosen), sort_keys=True)
    for char in "<>&'":
        options = options.replace(char, f"\\u{ord(char):04x}")
    parts = (
        *("Thank you for shopping with us!", "Your code:", "None", "(Paste it in your MTurk interface.)", "Purchased"),
        *("asin", asin, "options", options, "attrs", "None", "category", "None", "query", "None"),
        *("product category", "None", "Target", "asin", "options", "attrs", "price upper", "instuction text"),
        *("category", "product category", "query", "Goal", "None", "Reward", "Your score (min 0.0, max 1.0)"),
        *(str(score), "Reward Details", "None"),
    )
    picked = ", ".join(f"{name}: {value}" for name, value in chosen.items()) or "no options"
    return Page(parts, f"You bought {asin} ({picked}). Your score is {score:.4g} of 1.")


def _shown(text: str) -> tuple[str, ...]:
    # An element without text, or with a line break alone, shows nothing; with blanks alone an empty text.
    return () if text in ("", "\n") else (text.strip(),)


def _buttons_line(buttons: Sequence[str]) -> str:
    return "Buttons: " + " | ".join(buttons)

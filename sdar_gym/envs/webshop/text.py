"""Pages of the shop: their texts and clickable elements, in the formats `text` and `readable`."""

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
class Click:
    """Target of a clickable text.

    Attributes:
        kind: `button`, `product` or `option`.
        target: Label of the button, product id, or option value.
        names: Names of the options that have the value.
    """

    kind: str
    target: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """A page.

    Attributes:
        parts: Visible texts, in order.
        readable: The page as labeled lines.
        clicks: Click targets by the text of the action, in the order of the reference.
        has_search: Whether the page has a search box.
    """

    parts: tuple[str, ...]
    readable: str
    clicks: Mapping[str, Click] = field(default_factory=dict)
    has_search: bool = False

    def text(self, observation: str) -> str:
        """The page as an observation, `text` or `readable`."""
        return self.readable if observation == "readable" else SEPARATOR.join(self.parts)

    def found(self, name: str) -> Click | None:
        """Click target of a text: an exact match, else a match up to case and white space.

        Buttons come first in `clicks`, so that an option which differs from one only by case does not hide it.
        """
        if name in self.clicks:
            return self.clicks[name]
        wanted = _plain(name)
        return next((click for listed, click in self.clicks.items() if _plain(listed) == wanted), None)

    def click_on(self, kind: str, target: str, name: str = "") -> str | None:
        """Clickable text for a target, optionally for an option name; None if it is not on this page."""
        return next(
            (
                listed
                for listed, click in self.clicks.items()
                if (click.kind, click.target) == (kind, target) and (not name or name in click.names)
            ),
            None,
        )


def search_page(instruction: str, *, compat: bool) -> Page:
    """The search page, where episodes start.

    Args:
        instruction: The task.
        compat: List the search button, which has no effect.
    """
    parts = ("WebShop", "Instruction:", *_shown(instruction), SEARCH)
    readable = f"Instruction: {instruction}\nSearch page. There is a search box."
    return Page(parts, readable, _button_clicks((SEARCH,)) if compat else {}, has_search=True)


def results_page(instruction: str, products: Sequence[Product], page: int, total: int, *, compat: bool) -> Page:
    """A page of search results.

    Args:
        instruction: The task.
        products: Products on this page.
        page: Page number, from 1.
        total: Number of hits on all pages.
        compat: Show `Next >` also on the last page, as the reference does.
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
    clicks = _button_clicks(buttons)
    for product in products:
        text, click = product.asin.lower(), Click("product", product.asin)
        clicks[text if compat else _unused(text, "product", click, clicks)] = click
    return Page(tuple(parts), "\n".join(lines), clicks)


def item_page(
    instruction: str, product: Product, chosen: Mapping[str, str], *, show_attributes: bool, compat: bool
) -> Page:
    """Page of a product; only the readable format shows which options are chosen.

    Args:
        instruction: The task.
        product: The product.
        chosen: Chosen values by option name.
        show_attributes: Whether to show an Attributes button.
        compat: An option value replaces a button, or a value of another option, with the same text, as in the
            reference.
    """
    sub_pages = (*SUB_PAGES, ATTRIBUTES) if show_attributes else SUB_PAGES
    parts = ["Instruction:", *_shown(instruction), BACK, PREVIOUS]
    lines = [f"Instruction: {instruction}", f"Product {product.asin}: {product.title}"]
    lines.append(f"Price: {product.price_tag}. Rating: {product.rating}.")
    clicks = _button_clicks((BACK, PREVIOUS, *sub_pages, BUY))
    for name, values in product.options.items():
        parts += (*_shown(name), *(part for value in values for part in _shown(value)))
        picked = chosen.get(name)
        lines.append(f"Option {name} [{picked or 'nothing chosen'}]: {', '.join(values)}")
        for value in values:
            text = value if compat else _option_text(value, name, clicks)
            names = clicks[text].names if text in clicks and not compat else ()
            clicks[text] = Click("option", value, names if name in names else (*names, name))
    parts += (*_shown(product.title), f"Price: {product.price_tag}", f"Rating: {product.rating}".strip())
    parts += (*sub_pages, BUY)
    lines.append(_buttons_line((BACK, PREVIOUS, *sub_pages, BUY)))
    return Page(tuple(parts), "\n".join(lines), clicks)


def sub_page(instruction: str, product: Product, name: str) -> Page:
    """Sub-page of a product: description, features, reviews (not in the data) or attributes."""
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
    return Page(parts, "\n".join(lines), _button_clicks((BACK, PREVIOUS)))


def receipt_page(asin: str, chosen: Mapping[str, str], score: float) -> Page:
    """Page after a purchase; the text format has the labels of the reference, most of them empty."""
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
    # As in the reference: an empty element or a line break shows nothing, spaces show an empty text.
    return () if text in ("", "\n") else (text.strip(),)


def _button_clicks(buttons: Sequence[str]) -> dict[str, Click]:
    return {button.lower(): Click("button", button) for button in buttons}


def _option_text(value: str, name: str, clicks: Mapping[str, Click]) -> str:
    # Options that share a value share its click; the options chosen so far determine which one is meant.
    if value in clicks and clicks[value].kind == "option" and clicks[value].target == value:
        return value
    # A value such as "Buy Now" equals a button up to case.
    is_button = _plain(value) in clicks and clicks[_plain(value)].kind == "button"
    click = Click("option", value, (name,))
    return _unused(f"{name}: {value}" if is_button else value, name, click, clicks)


def _unused(text: str, prefix: str, click: Click, clicks: Mapping[str, Click]) -> str:
    while clicks.get(text, click) != click:
        text = f"{prefix}: {text}"
    return text


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _buttons_line(buttons: Sequence[str]) -> str:
    return "Buttons: " + " | ".join(buttons)

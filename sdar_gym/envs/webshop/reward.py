"""How good a purchase is: WebShop's score with its four terms, as published and with its option matching mended."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sdar_gym.envs.webshop.goals import NO_LIMIT, Goal
from sdar_gym.envs.webshop.products import Product
from sdar_gym.envs.webshop.title_nouns import Nouns

MATCH_ABOVE = 85
# fmt: off
# The reference's color words, in its order: the first that occurs is the color.
COLORS = (
    "alabaster", "apricot", "aqua", "ash", "asphalt", "azure", "banana", "beige", "black", "blue", "blush", "bordeaux",
    "bronze", "brown", "burgundy", "camel", "camo", "caramel", "champagne", "charcoal", "cheetah", "chestnut",
    "chocolate", "christmas", "coffee", "cognac", "copper", "coral", "cranberry", "cream", "crystal", "dark", "denim",
    "eggplant", "elephant", "espresso", "fuchsia", "gold", "granite", "grape", "graphite", "grass", "gray", "green",
    "grey", "heather", "indigo", "ivory", "ivy", "khaki", "lavender", "lemon", "leopard", "light", "lilac", "lime",
    "magenta", "maroon", "mauve", "merlot", "midnight", "mint", "mocha", "multicolor", "mushroom", "mustard", "natural",
    "navy", "nude", "olive", "orange", "peach", "pewter", "pink", "plum", "purple", "rainbow", "red", "rose", "royal",
    "rust", "sand", "sapphire", "seashell", "silver", "skull", "slate", "steel", "stone", "stonewash", "sunflower",
    "tan", "taupe", "teal", "tiger", "turquoise", "violet", "walnut", "wheat", "white", "wine", "yellow",
)
# fmt: on
_COLOR_WORD = {color: re.compile(rf"(?<![^\W\d_]){color}(?![^\W\d_])") for color in COLORS}
_LATIN_1 = dict.fromkeys(range(128, 256))
# Options whose values contain each other ("large", "x-large") and so only count when they are equal.
EXACT_OPTIONS = frozenset({"size"})


@dataclass(frozen=True, slots=True)
class Score:
    """The score of a purchase and its terms.

    Attributes:
        total: 0 to 1.
        type_factor: 1, 0.5, 0.1 or 0: how far the product is of the goal's type.
        attributes: Share of the goal's attributes that the product has.
        options: Share of the goal's options that were chosen; None if the goal names none.
        price: Whether the price is within the limit.
        query_match, category_match: Whether the product shares the goal's search, or two parts of its category path.
        title_score: Share of the goal title's nouns that the product's title has.
        attributes_matched, options_matched: The counts behind the shares.
    """

    total: float
    type_factor: float
    attributes: float
    options: float | None
    price: bool
    query_match: bool
    category_match: bool
    title_score: float
    attributes_matched: int
    options_matched: int

    def terms(self) -> dict[str, Any]:
        """What an environment tells in `info` after a purchase."""
        return {
            "score_type": self.type_factor,
            "score_attributes": self.attributes,
            "score_options": self.options,
            "score_price": self.price,
            "query_match": self.query_match,
            "category_match": self.category_match,
            "title_score": self.title_score,
        }


def score_purchase(
    product: Product, goal: Goal, price: float, chosen: Mapping[str, str], nouns: Nouns, *, compat: bool = False
) -> Score:
    """Score a purchase.

    total = type factor x (attributes + options + price) / (number of attributes + number of options + 1), the three in
    the bracket being counts of what is met.

    Source: WebShop (Yao et al. 2022), section 3.2, and its code. Deviation without `compat`: see `match_options`.

    Args:
        product: What was bought.
        goal: What was asked for.
        price: What it cost.
        chosen: Option values chosen, by option name.
        nouns: Finds the nouns of a title.
        compat: Match options as the published code does.
    """
    query_match, category_match, title_score = _type_matches(product, goal, nouns)
    factor = type_factor(query_match or category_match, title_score)
    attributes_matched = count_attributes(product, goal.attributes, compat=compat)
    match = match_options_as_published if compat else match_options
    options_matched = match(chosen, goal.options)
    # In the published code the limit that stands for none is one, for products of more than a million dollars.
    within = price <= goal.price_limit or (goal.price_limit == NO_LIMIT and not compat)
    wanted = len(goal.attributes) + len(goal.options) + 1
    return Score(
        total=factor * ((attributes_matched + options_matched + within) / wanted),
        type_factor=factor,
        attributes=attributes_matched / len(goal.attributes),
        options=options_matched / len(goal.options) if goal.options else None,
        price=within,
        query_match=query_match,
        category_match=category_match,
        title_score=title_score,
        attributes_matched=attributes_matched,
        options_matched=options_matched,
    )


def _type_matches(product: Product, goal: Goal, nouns: Nouns) -> tuple[bool, bool, float]:
    bought, wanted = nouns(product.title), nouns(goal.title)
    title_score = len(set(bought) & set(wanted)) / len(wanted) if wanted else 0.2
    return product.query == goal.query, len(_path_parts(product.path) & _path_parts(goal.path)) >= 2, title_score


def _path_parts(path: str) -> set[str]:
    return {part.strip() for part in path.split("›")}


def type_factor(type_match: bool, title_score: float) -> float:
    """The factor for the type: 1, halved without any match, and almost nothing for a title with hardly a shared noun.

    Args:
        type_match: Whether query or category match.
        title_score: Share of shared nouns.
    """
    if title_score == 0.0:
        return 0.0
    if title_score < 0.1:
        return 0.1
    return 1.0 if type_match or title_score > 0.2 else 0.5


def count_attributes(product: Product, wanted: Sequence[str], *, compat: bool = False) -> int:
    """How many wanted attributes the product lists, or has in its title, features or description.

    Args:
        product: The product.
        wanted: The attributes.
        compat: As the published code does, which never finds an attribute without ASCII letters or digits in the list.
    """
    texts: tuple[str, ...] | None = None
    matched = 0
    for attribute in wanted:
        if (not compat and attribute in product.attributes) or any(
            similar(listed, attribute) for listed in product.attributes
        ):
            matched += 1
            continue
        if texts is None:
            texts = (product.title.lower(), " ".join(product.bullets).lower(), product.description.lower())
        matched += any(attribute in text for text in texts)
    return matched


def match_options(chosen: Mapping[str, str], wanted: Sequence[tuple[str, str]]) -> int:
    """How many wanted option values were chosen.

    Values are compared with values, colors by their color word on both sides, sizes only when equal. An option that
    the goal names counts only if it was chosen under that name.

    Args:
        chosen: Values by option name.
        wanted: (name, value); the name is "" where the goal does not say it.
    """
    return sum(
        any(_same_value(name, value, goal_value) for name, value in chosen.items() if goal_name in ("", name))
        for goal_name, goal_value in wanted
    )


def _same_value(name: str, value: str, wanted: str) -> bool:
    if value == wanted:
        return True
    return name.lower() not in EXACT_OPTIONS and similar(color_of(value), color_of(wanted))


def match_options_as_published(chosen: Mapping[str, str], wanted: Sequence[tuple[str, str]]) -> int:
    """How many options the published code counts: (name, value) pairs of the goal against the chosen values.

    A pair is no text, so color words are not looked for inside it (only a part that is nothing else counts), while the
    chosen value is cut down to its color word; "large" is in "x-large", and an option's name matches as if it were its
    value. Human goals, which are values alone, escape all but the second.
    """
    values = [color_within(value) for value in chosen.values()]
    targets = [_pair_as_published(name, value) if name else color_within(value) for name, value in wanted]
    return sum(any(similar(value, target) for value in values) for target in targets)


def _pair_as_published(name: str, value: str) -> str:
    # The pair goes through the fuzzy match as Python prints it; brackets and quotes fall away there.
    return color_of_pair(name, value) or str((name, value))


def color_of_pair(name: str, value: str) -> str | None:
    """The color that the published code sees in a (name, value) pair: only a part that is a color word itself."""
    return next((color for color in COLORS if color in (name, value)), None)


def color_of(value: str) -> str:
    """The first color word in a value, as a whole word; the value itself if there is none."""
    return next((color for color, word in _COLOR_WORD.items() if word.search(value)), value)


def color_within(value: str) -> str:
    """The first color word in a value, even inside another word ("dash" is "ash"); as the published code has it."""
    return next((color for color in COLORS if color in value), value)


def similar(first: str, second: str) -> bool:
    """Whether two short texts share enough words: a token set ratio above 85."""
    return token_set_ratio(first, second) > MATCH_ABOVE


@lru_cache(maxsize=1 << 16)
def token_set_ratio(first: str, second: str) -> int:
    """How alike two texts are as sets of words, 0 to 100.

    Source: thefuzz, the reference's library, which is a front of rapidfuzz's today and drops Latin-1 letters first.
    """
    from rapidfuzz import fuzz, utils

    plain = (first.translate(_LATIN_1), second.translate(_LATIN_1))
    return round(fuzz.token_set_ratio(*plain, processor=utils.default_process))

"""WebShop's purchase score with its four terms: as published, and with fixed option matching (the default)."""

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
# The reference's color words, in its order: the first match in a value is its color.
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
# Options matched by equality, since their values contain each other ("large", "x-large").
EXACT_OPTIONS = frozenset({"size"})


@dataclass(frozen=True, slots=True)
class Score:
    """Score of a purchase and its terms.

    Attributes:
        total: 0 to 1.
        type_factor: 1, 0.5, 0.1 or 0: how well the product matches the type of the goal.
        attributes: Fraction of the goal's attributes that the product has.
        options: Fraction of the goal's options that were chosen; None if the goal has no options.
        price: Whether the price is within the limit.
        query_match, category_match: Whether the product shares the goal's query, or two parts of its category path.
        title_score: Fraction of the nouns in the goal's title that occur in the product's title.
        attributes_matched, options_matched: The counts of the fractions.
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
        """Entries of `info` after a purchase."""
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

    total = type factor x (attributes + options + price) / (number of attributes + number of options + 1), where the
    terms in the first bracket are the numbers of matched requirements.

    Source: WebShop (Yao et al. 2022), section 3.2, and its code. Deviation without `compat`: see `match_options`.

    Args:
        product: The purchased product.
        goal: The goal.
        price: Price in dollars.
        chosen: Chosen option values by option name.
        nouns: Extracts the nouns of a title.
        compat: Match options as the published code does.
    """
    query_match, category_match, title_score = _type_matches(product, goal, nouns)
    factor = type_factor(query_match or category_match, title_score)
    attributes_matched = count_attributes(product, goal.attributes, compat=compat)
    match = match_options_as_published if compat else match_options
    options_matched = match(chosen, goal.options)
    # In the published code NO_LIMIT is a real limit of a million dollars.
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
    """Type factor of the score: 1, 0.5 without a match, 0.1 or 0 with few or no shared title nouns.

    Args:
        type_match: Whether query or category match.
        title_score: Fraction of shared nouns.
    """
    if title_score == 0.0:
        return 0.0
    if title_score < 0.1:
        return 0.1
    return 1.0 if type_match or title_score > 0.2 else 0.5


def count_attributes(product: Product, wanted: Sequence[str], *, compat: bool = False) -> int:
    """Number of required attributes that the product lists or mentions in title, features or description.

    Args:
        product: The product.
        wanted: Required attributes.
        compat: As the published code, which never finds listed attributes without ASCII letters or digits.
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
    """Number of required option values that were chosen.

    Values are compared with values, colors by their color word on both sides, sizes by equality. If the goal names the
    option, the value must be chosen for that option.

    Args:
        chosen: Values by option name.
        wanted: (name, value) pairs; the name is "" if the goal does not give it.
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
    """Number of matched options in the published code: (name, value) pairs of the goal against the chosen values.

    Its bugs: in a pair, a color word counts only if it is the whole name or value, while the chosen value is reduced to
    its color word; "large" is in "x-large"; the name of an option matches like a value. Human goals, which are values
    alone, are only affected by the second.
    """
    values = [color_within(value) for value in chosen.values()]
    targets = [_pair_as_published(name, value) if name else color_within(value) for name, value in wanted]
    return sum(any(similar(value, target) for value in values) for target in targets)


def _pair_as_published(name: str, value: str) -> str:
    # The pair enters the fuzzy match as its repr, in which brackets and quotes are ignored.
    return color_of_pair(name, value) or str((name, value))


def color_of_pair(name: str, value: str) -> str | None:
    """Color of a (name, value) pair in the published code: a name or value that is itself a color word, or None."""
    return next((color for color in COLORS if color in (name, value)), None)


def color_of(value: str) -> str:
    """First color word in a value, as a whole word; the value itself if there is none."""
    return next((color for color, word in _COLOR_WORD.items() if word.search(value)), value)


def color_within(value: str) -> str:
    """First color word in a value, also inside other words ("ash" in "dash"), as in the published code."""
    return next((color for color in COLORS if color in value), value)


def similar(first: str, second: str) -> bool:
    """Fuzzy match of two short texts: a token set ratio above 85."""
    return token_set_ratio(first, second) > MATCH_ABOVE


@lru_cache(maxsize=1 << 16)
def token_set_ratio(first: str, second: str) -> int:
    """Token set ratio of two texts, 0 to 100.

    Source: thefuzz, the library of the reference, which wraps rapidfuzz and removes Latin-1 letters first.
    """
    from rapidfuzz import fuzz, utils

    plain = (first.translate(_LATIN_1), second.translate(_LATIN_1))
    return round(fuzz.token_set_ratio(*plain, processor=utils.default_process))

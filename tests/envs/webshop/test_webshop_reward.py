"""The purchase score on hand-computed cases; test_webshop_real.py compares recordings."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sdar_gym.envs.webshop.goals import make_goal
from sdar_gym.envs.webshop.products import Product
from sdar_gym.envs.webshop.reward import (
    color_of,
    color_within,
    count_attributes,
    match_options,
    match_options_as_published,
    score_purchase,
    token_set_ratio,
    type_factor,
)
from sdar_gym.envs.webshop.title_nouns import noun_source, words_as_nouns

Make = Callable[..., Product]


def test_a_perfect_purchase_and_its_terms(make_product: Make) -> None:
    shoes = make_product()
    goal = make_goal(shoes, "synthetic", 3, price_limit=30.0)  # color: red, size: 9
    score = score_purchase(shoes, goal, 25.0, {"color": "red", "size": "9"}, words_as_nouns)
    assert score.total == 1.0
    assert score.terms() == {
        "score_type": 1.0,
        "score_attributes": 1.0,
        "score_options": 1.0,
        "score_price": True,
        "query_match": True,
        "category_match": True,
        "title_score": 1.0,
    }
    # Two attributes, two options and the price count one fifth each.
    assert score_purchase(shoes, goal, 30.0, {"color": "red"}, words_as_nouns).total == pytest.approx(0.8)
    assert score_purchase(shoes, goal, 30.01, {}, words_as_nouns).total == pytest.approx(0.4)


def test_another_type_scales_the_score(make_product: Make) -> None:
    goal = make_goal(make_product(title="Acme Canvas Sneakers"), "synthetic", 0, price_limit=30.0)
    options = {"color": "light blue", "size": "8"}
    for title, factor in (("Acme Boat", 1.0), ("Steel Boat", 0.0)):
        other = make_product(title=title, query="boats", path="Toys")
        score = score_purchase(other, goal, 25.0, options, words_as_nouns)
        assert (score.total, score.query_match, score.category_match) == (factor, False, False)


@pytest.mark.parametrize(
    ("match", "title", "factor"),
    [
        (True, 0.5, 1.0),
        (True, 0.1, 1.0),
        (False, 0.21, 1.0),
        (False, 0.2, 0.5),
        (False, 0.1, 0.5),
        (True, 0.09, 0.1),
        (True, 0.0, 0.0),
    ],
)
def test_type_factor(match: bool, title: float, factor: float) -> None:
    assert type_factor(match, title) == factor


def test_attributes_are_found_in_the_list_or_in_the_texts(make_product: Make) -> None:
    item = make_product(
        attributes=("machine washable",), bullets=("Keeps WARM",), description="easy Care", title="Tea X"
    )
    assert count_attributes(item, ("washable machine", "keeps warm", "easy care", "tea x", "long lasting")) == 4


def test_options_as_values_under_their_names() -> None:
    goal = (("color", "light blue"), ("size", "x-large"))
    assert match_options({"color": "blue", "size": "x-large"}, goal) == 2
    assert match_options({"color": "blue", "size": "large"}, goal) == 1
    assert match_options({"size": "light blue", "color": "x-large"}, goal) == 0
    assert match_options({"color": "color", "size": "size"}, goal) == 0
    assert match_options({"color": "slate dash"}, (("color", "ash"),)) == 0
    assert match_options({"shade": "navy blue"}, (("", "blue"), ("", "red"))) == 1


def test_options_as_published_miss_colors_and_match_names() -> None:
    goal = (("color", "light blue"), ("size", "x-large"))
    # The chosen color is reduced to "blue", the goal stays "color light blue": a common word suffices here,
    assert match_options_as_published({"color": "light blue"}, goal) == 1
    # but not if the color word is part of another word.
    assert match_options_as_published({"color": "sunflowers"}, (("color", "sunflowers"),)) == 0
    assert match_options_as_published({"size": "large"}, goal) == 1
    assert match_options_as_published({"color": "size"}, goal) == 1
    # Values without names, as in human goals, are reduced on both sides.
    assert match_options_as_published({"color": "sunflowers"}, (("", "sunflowers"),)) == 1


def test_colors() -> None:
    assert (color_of("light blue"), color_of("dash"), color_of("b-gray"), color_of("x")) == (
        ("blue", "dash", "gray", "x")
    )
    assert (color_within("dash"), color_within("predator"), color_within("x")) == ("ash", "red", "x")


def test_token_set_ratio_drops_latin_1_and_rounds() -> None:
    assert token_set_ratio("café au lait", "caf au lait") == 100
    assert token_set_ratio("", "") == token_set_ratio("++", "++") == 0
    assert isinstance(token_set_ratio("men's", "mens"), int)


def test_noun_sources() -> None:
    assert words_as_nouns("The Best Lamp for Reading, 2-Pack w/ Men's 100% Oak") == (
        ("best", "lamp", "reading", "pack", "w", "men's", "oak")
    )
    assert noun_source("words") is words_as_nouns
    with pytest.raises(ValueError, match="Unknown title_nouns 'verbs'; choose from auto, spacy, words"):
        noun_source("verbs")


def test_spacy_is_asked_where_it_is_installed() -> None:
    spacy = pytest.importorskip("spacy")
    if not spacy.util.is_package("en_core_web_sm"):
        pytest.skip("spaCy's model en_core_web_sm is not installed")
    assert "lamp" in noun_source("auto")("A very bright lamp")


def test_spacy_without_its_model_is_refused() -> None:
    try:
        noun_source("spacy")
    except ValueError as error:
        assert "pip install spacy" in str(error)
        assert noun_source("auto") is words_as_nouns

"""The generated catalog: determinism, plausible products, and goals that need a search."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256

import pytest

from sdar_gym.envs.webshop.generator import DEFAULT_SIZE, FAMILY_SIZE, GENERATOR_VERSION, generate_products
from sdar_gym.envs.webshop.generator_vocabulary import KINDS, SPECIAL
from sdar_gym.envs.webshop.goals import make_goal, product_price
from sdar_gym.envs.webshop.products import Product
from sdar_gym.envs.webshop.reward import score_purchase
from sdar_gym.envs.webshop.title_nouns import words_as_nouns


@pytest.fixture(scope="module")
def products() -> list[Product]:
    return generate_products()


def test_the_catalog_is_what_its_version_says(products: list[Product]) -> None:
    # Pinned: a change of ids, texts or prices requires a new GENERATOR_VERSION, and a new hash here.
    content = sha256("\n".join(repr(product) for product in products).encode()).hexdigest()[:16]
    assert (GENERATOR_VERSION, content) == (1, "60afb7e523cb894c")


def test_a_smaller_shop_is_the_beginning_of_a_larger_one(products: list[Product]) -> None:
    assert generate_products(123) == products[:123]
    with pytest.raises(ValueError, match="at least one product, got size 0"):
        generate_products(0)


def test_products_are_many_kinds_of_things_and_each_is_one(products: list[Product]) -> None:
    assert len(products) == DEFAULT_SIZE
    assert len({product.asin for product in products}) == DEFAULT_SIZE
    assert len({product.title for product in products}) == DEFAULT_SIZE
    assert set(Counter(product.category for product in products).values()) == {200}
    assert len(KINDS) == len(SPECIAL) == len({product.query for product in products}) == 40
    assert sum(len(product.prices) == 2 for product in products) > 100
    assert all(len(product.asin) == 10 and product.asin.isalnum() for product in products)
    assert all(len(values) >= 2 for product in products for values in product.options.values())


def test_neighbors_are_confusable(products: list[Product]) -> None:
    kinds = len(KINDS)
    for start in range(kinds):
        family = [products[start + kinds * member] for member in range(FAMILY_SIZE)]
        # Products of a family differ only in model, attributes, options and price.
        assert len({product.title.split(",")[0].rsplit(" ", 1)[0] for product in family}) <= 2
        assert len({product.path for product in family}) == 1
        shared = set.intersection(*(set(product.attributes) for product in family))
        assert len(shared) >= 2
        assert len({product.instruction_attributes for product in family}) > 1


def test_the_right_purchase_scores_one_and_a_neighbor_mostly_less(products: list[Product]) -> None:
    worse = total = 0
    kinds = len(KINDS)
    for at, product in enumerate(products[: 5 * kinds]):
        goal = make_goal(product, "synthetic", product.goal_count - 1)
        chosen = dict(goal.options)
        assert score_purchase(product, goal, product_price(product), chosen, words_as_nouns).total == 1.0
        neighbor = products[(at + kinds) % (5 * kinds)]
        mine = {name: value for name, value in chosen.items() if value in neighbor.options.get(name, ())}
        worse += score_purchase(neighbor, goal, product_price(neighbor), mine, words_as_nouns).total < 1.0
        total += 1
    assert worse / total > 0.9

"""Shopping goals: synthetic and human goals, price limits, and the goals of the reference for a given seed."""

from __future__ import annotations

import itertools
from bisect import bisect
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from hashlib import sha256
from operator import add
from random import Random

from sdar_gym.envs.webshop.products import Product

GOAL_KINDS = ("synthetic", "human")
NO_LIMIT = 1000000
_LIMITS = tuple(10.0 * step for step in range(1, 100))


@dataclass(frozen=True, slots=True)
class Goal:
    """A shopping goal.

    Attributes:
        asin: Id of the product from which the goal was made.
        number: Number of the goal among those of the product, from 0.
        instruction: The task as a sentence.
        attributes: Required attributes.
        options: Required options: (name, value), or ("", value) in human goals, which do not name the option.
        price_limit: Maximum price in dollars.
        category, query, path, title: Of the product; they determine which products match its type.
    """

    asin: str
    number: int
    instruction: str
    attributes: tuple[str, ...]
    options: tuple[tuple[str, str], ...]
    price_limit: float
    category: str
    query: str
    path: str
    title: str

    @property
    def task_id(self) -> str:
        """`<asin>/<number>`."""
        return f"{self.asin}/{self.number}"


def limit_candidates(price: float) -> tuple[float, ...]:
    """Possible price limits of a goal: the first four multiples of 10 dollars above the price, up to 990."""
    return tuple(itertools.islice((limit for limit in _LIMITS if limit > price), 4))


def product_price(product: Product) -> float:
    """Price of a product in dollars; within a price range, a point that depends on the product id alone."""
    if len(product.prices) == 1:
        return product.prices[0]
    low, high = product.prices
    return low + (high - low) * _rng(f"price {product.asin}").random()


def product_price_limit(product: Product, number: int | None = None) -> float:
    """Price limit of a goal in dollars: the larger of two candidates, which depend on the product id alone.

    Args:
        product: The product.
        number: Number of a human goal; the synthetic goals of a product share one limit.
    """
    candidates = limit_candidates(product_price(product))
    if len(candidates) < 2:
        return NO_LIMIT
    rng = _rng(f"limit {product.asin}" if number is None else f"limit {product.asin}/{number}")
    first = int(rng.random() * len(candidates))
    second = int(rng.random() * (len(candidates) - 1))
    return candidates[max(first, second + (second >= first))]


def goal_count(product: Product, kind: str) -> int:
    """Number of goals of a kind that a product has."""
    if kind == "synthetic":
        return product.goal_count
    return sum(1 for entry in product.human if entry.attributes)


def make_goal(product: Product, kind: str, number: int, price_limit: float | None = None) -> Goal:
    """Make a goal of a product.

    Args:
        product: The product.
        kind: `synthetic` or `human`.
        number: Number of the goal, from 0 to `goal_count - 1`.
        price_limit: Default `product_price_limit`.
    """
    if kind == "synthetic":
        limit = product_price_limit(product) if price_limit is None else price_limit
        options = _combination(product.options, number)
        chosen = ", and ".join(f"{name}: {value}" for name, value in options)
        text = f"{product.instruction}{' with ' + chosen if chosen else ''}"
        attributes = product.instruction_attributes
    else:
        limit = product_price_limit(product, number) if price_limit is None else price_limit
        entry = [entry for entry in product.human if entry.attributes][number]
        options = tuple(("", value) for value in entry.options)
        text, attributes = entry.text.strip("."), entry.attributes
    price_text = "" if limit == NO_LIMIT else f", and price lower than {limit:.2f} dollars"
    return Goal(
        product.asin,
        number,
        text + price_text,
        attributes,
        options,
        limit,
        product.category,
        product.query,
        product.path,
        product.title,
    )


def _combination(options: Mapping[str, tuple[str, ...]], number: int) -> tuple[tuple[str, str], ...]:
    """The n-th combination of option values, names sorted and the last name varying fastest."""
    chosen: list[tuple[str, str]] = []
    for name in sorted(options, reverse=True):
        number, at = divmod(number, len(options[name]))
        chosen.append((name, options[name][at]))
    return tuple(reversed(chosen))


def _rng(text: str) -> Random:
    # Only its `random()` is used, which is stable across Python versions.
    return Random(int.from_bytes(sha256(f"sdar webshop {text}".encode()).digest()[:8], "big"))


@dataclass(slots=True)
class ReferenceGoals:
    """Goals of the reference environment for one seed: sampled prices and limits, shuffled order.

    All values depend on one stream of random numbers: a price for each product with a range, in file order; a limit
    for each product with an instruction; then, seeded again, the shuffle. So goal numbers and prices differ between
    seeds, and so do "the first 500 goals".

    Source: princeton-nlp/WebShop, as carried by ZJU-REAL/SDAR; checked against recordings.

    Args:
        products: Products in file order.
        seed: Seed of the environment.
        kind: `synthetic` or `human`.

    Attributes:
        prices: Price in dollars by product id.
        limits: Price limit by product id (synthetic goals).
        goals: Goals in file order.
        order: Positions in `goals`, in session order.
        rng: The generator after the shuffle.
    """

    products: Sequence[Product]
    seed: int = 0
    kind: str = "synthetic"
    prices: dict[str, float] = field(init=False, default_factory=dict)
    limits: dict[str, float] = field(init=False, default_factory=dict)
    goals: list[Goal] = field(init=False, default_factory=list)
    order: list[int] = field(init=False, default_factory=list)
    rng: Random = field(init=False)
    _cumulative: list[float] = field(init=False, default_factory=list)
    _first: dict[str, int] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        rng = self.rng = Random(self.seed)
        for product in self.products:
            self.prices[product.asin] = product.prices[0] if len(product.prices) == 1 else rng.uniform(*product.prices)
        for product in self.products:
            self._first[product.asin] = len(self.goals)
            self.goals += sampled_goals(product, self.kind, self.prices[product.asin], rng)
        self.limits = {goal.asin: goal.price_limit for goal in self.goals}
        self.order = list(range(len(self.goals)))
        rng.seed(self.seed)
        rng.shuffle(self.order)

    def goal_of(self, asin: str, number: int) -> Goal:
        """Goal of a product by number."""
        return self.goals[self._first[asin] + number]

    def weights(self) -> list[float]:
        """Sampling weight of each goal; synthetic goals with rare attributes have more."""
        if self.kind == "human":
            return [1.0] * len(self.goals)
        seen = Counter(attribute for goal in self.goals for attribute in goal.attributes)
        # Not `sum`, which rounds differently since Python 3.12: rounding can change which goal is sampled.
        return [reduce(add, (1 / seen[a] for a in goal.attributes)) / len(goal.attributes) for goal in self.goals]

    def draw(self, rng: Random) -> int:
        """Sample a position in `order` as the reference does: never the first, the last twice as often."""
        if not self._cumulative:
            weights = self.weights()
            self._cumulative = list(itertools.accumulate((weights[at] for at in self.order), initial=0.0))
        at = bisect(self._cumulative, rng.uniform(0, self._cumulative[-1]))
        return min(at, len(self.order) - 1)


def sampled_goals(product: Product, kind: str, price: float | None, rng: Random) -> Iterator[Goal]:
    """All goals of a product, with price limits sampled as in the reference; no limit without a price."""
    # A product without goals because of an empty option list still consumes its random numbers.
    if kind == "synthetic" and product.instruction is None:
        return
    limit = _sampled_limit(price, rng) if kind == "synthetic" else None
    for number in range(goal_count(product, kind)):
        yield make_goal(product, kind, number, _sampled_limit(price, rng) if limit is None else limit)


def _sampled_limit(price: float | None, rng: Random) -> float:
    candidates = () if price is None else limit_candidates(price)
    return max(rng.sample(candidates, 2)) if len(candidates) >= 2 else NO_LIMIT

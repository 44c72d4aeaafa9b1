"""What a shopper is asked for: synthetic goals, human goals, price limits, and the reference's own order of them."""

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
    """One shopping task.

    Attributes:
        asin: The product it was made from.
        number: Which of that product's goals, from 0.
        instruction: The task in a sentence.
        attributes: What the product must have.
        options: What must be chosen: (name, value), or ("", value) in human goals, which do not name the option.
        price_limit: Dollars the product may cost.
        category, query, path, title: Of the product it was made from; they say which other products are of its type.
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
    """The price limits a goal may get: the first four multiples of ten above the price, up to 990."""
    return tuple(itertools.islice((limit for limit in _LIMITS if limit > price), 4))


def own_price(product: Product) -> float:
    """The price a purchase counts with: the product's, or one point of its range that its id decides."""
    if len(product.prices) == 1:
        return product.prices[0]
    low, high = product.prices
    return low + (high - low) * _draws(f"price {product.asin}").random()


def own_limit(product: Product, number: int | None = None) -> float:
    """The price limit of a product's goals, decided by its id: the larger of two of the candidates.

    Args:
        product: The product.
        number: Of the human goal; synthetic goals of a product share one limit.
    """
    candidates = limit_candidates(own_price(product))
    if len(candidates) < 2:
        return NO_LIMIT
    rng = _draws(f"limit {product.asin}" if number is None else f"limit {product.asin}/{number}")
    first = int(rng.random() * len(candidates))
    second = int(rng.random() * (len(candidates) - 1))
    return candidates[max(first, second + (second >= first))]


def goal_count(product: Product, kind: str) -> int:
    """How many goals of a kind a product has."""
    if kind == "synthetic":
        return product.goal_count
    return sum(1 for entry in product.human if entry.attributes)


def make_goal(product: Product, kind: str, number: int, price_limit: float | None = None) -> Goal:
    """One goal of a product.

    Args:
        product: The product.
        kind: `synthetic` or `human`.
        number: Which one, from 0 to `goal_count - 1`.
        price_limit: Default `own_limit`.
    """
    if kind == "synthetic":
        limit = own_limit(product) if price_limit is None else price_limit
        options = _combination(product.options, number)
        chosen = ", and ".join(f"{name}: {value}" for name, value in options)
        text = f"{product.instruction}{' with ' + chosen if chosen else ''}"
        attributes = product.instruction_attributes
    else:
        limit = own_limit(product, number) if price_limit is None else price_limit
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
    """The n-th combination with names in order and the last name turning fastest, without making the others."""
    chosen: list[tuple[str, str]] = []
    for name in sorted(options, reverse=True):
        number, at = divmod(number, len(options[name]))
        chosen.append((name, options[name][at]))
    return tuple(reversed(chosen))


def _draws(text: str) -> Random:
    # Only `random()` is used: it alone gives the same numbers in every Python version.
    return Random(int.from_bytes(sha256(f"sdar webshop {text}".encode()).digest()[:8], "big"))


@dataclass(slots=True)
class ReferenceGoals:
    """The goals as the reference environment makes them for one seed: prices drawn, goals made, goals shuffled.

    Everything hangs on one stream of random numbers: a price for each product with a range, in the order of the file;
    a limit for each product with an instruction; then, seeded again, the shuffle. So goal numbers and prices differ
    from seed to seed, and "the first 500 goals" are different ones for each.

    Source: princeton-nlp/WebShop, as carried by ZJU-REAL/SDAR; checked against recordings.

    Args:
        products: In the order of the file.
        seed: The environment's.
        kind: `synthetic` or `human`.

    Attributes:
        prices: The price each product counts with, by id.
        limits: Price limit by product id (synthetic goals).
        goals: In the order made.
        order: Positions in `goals`, in the order that sessions count them.
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
            self.goals += drawn_goals(product, self.kind, self.prices[product.asin], rng)
        self.limits = {goal.asin: goal.price_limit for goal in self.goals}
        self.order = list(range(len(self.goals)))
        rng.seed(self.seed)
        rng.shuffle(self.order)

    def goal_of(self, asin: str, number: int) -> Goal:
        """A product's goal by its number."""
        return self.goals[self._first[asin] + number]

    def weights(self) -> list[float]:
        """How likely the reference draws each goal: synthetic goals with rare attributes more often."""
        if self.kind == "human":
            return [1.0] * len(self.goals)
        seen = Counter(attribute for goal in self.goals for attribute in goal.attributes)
        # Added one by one: `sum` rounds differently from Python 3.12 on, and weights decide which goal is drawn.
        return [reduce(add, (1 / seen[a] for a in goal.attributes)) / len(goal.attributes) for goal in self.goals]

    def draw(self, rng: Random) -> int:
        """A position in `order`, drawn as the reference draws one: never the first, the last twice as often."""
        if not self._cumulative:
            weights = self.weights()
            self._cumulative = list(itertools.accumulate((weights[at] for at in self.order), initial=0.0))
        at = bisect(self._cumulative, rng.uniform(0, self._cumulative[-1]))
        return min(at, len(self.order) - 1)


def drawn_goals(product: Product, kind: str, price: float | None, rng: Random) -> Iterator[Goal]:
    """All goals of one product with limits drawn as the reference draws them; without a price there is no limit."""
    # A product whose option lists make no goal still takes its draw.
    if kind == "synthetic" and product.instruction is None:
        return
    limit = _drawn_limit(price, rng) if kind == "synthetic" else None
    for number in range(goal_count(product, kind)):
        yield make_goal(product, kind, number, _drawn_limit(price, rng) if limit is None else limit)


def _drawn_limit(price: float | None, rng: Random) -> float:
    candidates = () if price is None else limit_candidates(price)
    return max(rng.sample(candidates, 2)) if len(candidates) >= 2 else NO_LIMIT

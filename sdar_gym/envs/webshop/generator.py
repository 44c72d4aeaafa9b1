"""Generator of the embedded catalog, deterministic for a generator version."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from random import Random
from typing import TypeVar

from sdar_gym.envs.webshop.generator_vocabulary import DEPARTMENTS, KINDS, OPTION_VALUES, SPECIAL, Kind
from sdar_gym.envs.webshop.products import Product

# Part of every seed: raise it with each change of the generator, which changes all products and ids.
GENERATOR_VERSION = 1
DEFAULT_SIZE = 1000
# Products of one brand and look, which differ in model, attributes, options and price.
FAMILY_SIZE = 5
_MODELS = ("Classic", "Plus", "Lite", "Select", "Essential", "Signature", "Studio", "Heritage", "Prime", "Nova", "Duo")
# Endings that determine how the instruction joins an attribute: "… for dry hair", "… with coconut oil", or before.
_FOR = ("skin", "hair", "lines", "growth", "loss", "girls", "wear", "room", "office", "spaces", "idea")
_WITH = (
    *("tree", "oil", "hyaluronic acid", "butter", "vitamin c", "spandex", "cotton", "waist", "closure", "sole", "foam"),
    *("support", "sleeve", "toe", "strap", "wood", "leather", "glass", "frame", "nickel", "storage space", "hardware"),
    *(
        "spring",
        "ingredients",
        "flavors",
        "colors",
        "bag",
        "case",
        "port",
        "alloy",
        "fiber",
        "sound",
        "zoom",
        "warranty",
    ),
    *("materials", "fabric", "protector", "protection", "control", "compartment", "rate", "tracking", "vinyl"),
)

T = TypeVar("T")


class Draws:
    """Random choices that use only `random()`, which is stable across Python versions."""

    def __init__(self, name: str):
        seed = sha256(f"sdar webshop generator {GENERATOR_VERSION} {name}".encode()).digest()
        self._rng = Random(int.from_bytes(seed[:8], "big"))

    def below(self, number: int) -> int:
        """An integer from 0 to `number - 1`."""
        return int(self._rng.random() * number)

    def choice(self, items: Sequence[T]) -> T:
        """A random item."""
        return items[self.below(len(items))]

    def some(self, items: Sequence[T], count: int) -> list[T]:
        """Distinct random items, in list order."""
        left = list(range(len(items)))
        picked = [left.pop(self.below(len(left))) for _ in range(min(count, len(items)))]
        return [items[at] for at in sorted(picked)]

    def between(self, low: float, high: float) -> float:
        """A random number in a range."""
        return low + (high - low) * self._rng.random()


def generate_products(size: int = DEFAULT_SIZE) -> list[Product]:
    """The first `size` products of the infinite generated catalog; product kinds alternate.

    Raises:
        ValueError: `size` is not positive.
    """
    if size < 1:
        raise ValueError(f"A shop needs at least one product, got size {size}.")
    return [generate_product(number) for number in range(size)]


def generate_product(number: int) -> Product:
    """Product of the generated catalog by position."""
    kind = KINDS[number % len(KINDS)]
    family, member = divmod(number // len(KINDS), FAMILY_SIZE)
    department = DEPARTMENTS[kind.department]
    shared = Draws(f"family {kind.query} {family}")
    brand, look, part = (
        shared.choice(department.brands),
        kind.looks[family % len(kind.looks)],
        shared.choice(kind.parts),
    )
    fitting = (*department.attributes, *SPECIAL[kind.query])
    common = shared.some(fitting, 2)
    models = shared.some(_MODELS, FAMILY_SIZE)
    base = shared.between(kind.low, kind.high)

    own = Draws(f"product {kind.query} {family} {member}")
    rest = [attribute for attribute in fitting if attribute not in common]
    special = own.some(rest, 2 + own.below(2))
    attributes = sorted({*common, *special})
    model = f"{models[member]}{f' {family // len(kind.looks) + 1}' if family >= len(kind.looks) else ''}"
    features = ", ".join(attribute.title() for attribute in own.some(attributes, 2))
    title = f"{brand} {look} {kind.noun} {model}, {features}, with {part.title()}"
    prices, tag = _price(own, base, kind)
    wanted = sorted({own.choice(special), *own.some(attributes, 1 + own.below(2))})
    texts = own.some(department.promises, 4)
    filled = [text.format(noun=kind.noun.lower(), brand=brand) for text in texts]
    return Product(
        asin=asin_of(number),
        title=title,
        description=f"The {look} {kind.noun} {model} by {brand} comes with {part}. {filled[0]} {filled[1]}",
        # The index contains title, description and the first feature; all other attributes are only on the page.
        bullets=(filled[2], f"What you get: {_listed(attributes)}.", f"Comes with {part}.", filled[3]),
        category=kind.department,
        query=kind.query,
        path=f"{kind.path} › {look}",
        prices=prices,
        price_tag=tag,
        rating="N.A.",
        options=_options(own, kind),
        attributes=tuple(attributes),
        instruction=_instruction(kind.query, wanted),
        instruction_attributes=tuple(wanted),
    )


def asin_of(number: int) -> str:
    """Product id in the format of real ones: `B0` and eight letters or digits."""
    value = int.from_bytes(sha256(f"sdar webshop asin {GENERATOR_VERSION} {number}".encode()).digest()[:8], "big")
    letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return "B0" + "".join(letters[value // 36**place % 36] for place in range(8))


def _price(draws: Draws, base: float, kind: Kind) -> tuple[tuple[float, ...], str]:
    cents = draws.choice((0.99, 0.49, 0.95, 0.0))
    low = float(max(3, int(base * draws.between(0.8, 1.25)))) + cents
    if draws.below(6):
        return (low,), f"${low}"
    high = round(low * draws.between(1.15, 1.6), 2)
    return (low, high), f"${low} to ${high}"


def _options(draws: Draws, kind: Kind) -> dict[str, tuple[str, ...]]:
    options: dict[str, tuple[str, ...]] = {}
    for key in kind.options:
        name, values, low, high = OPTION_VALUES[key]
        options[name] = tuple(draws.some(values, low + draws.below(high - low + 1)))
    return options


def _instruction(query: str, wanted: Sequence[str]) -> str:
    purpose = [attribute for attribute in wanted if attribute.endswith(_FOR)]
    parts = [attribute for attribute in wanted if attribute.endswith(_WITH) and attribute not in purpose]
    before = [attribute for attribute in wanted if attribute not in purpose and attribute not in parts]
    text = f"Find me {', '.join(before)}{' ' if before else ''}{query}"
    return text + (f" with {', '.join(parts)}" if parts else "") + (f" for {', '.join(purpose)}" if purpose else "")


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]

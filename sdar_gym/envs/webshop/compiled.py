"""Compiled catalogs: all products serialized into one byte string, each deserialized on access."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from sdar_gym.envs.webshop.goals import GOAL_KINDS, goal_count
from sdar_gym.envs.webshop.products import HumanInstruction, Product

# Bytes of the trailing number, which is the length of the header before it.
_LENGTH = 8


class CompiledProducts(Mapping[str, Product]):
    """Read-only mapping from ids to products in file order, over the bytes of `compiled`.

    Args:
        content: The bytes, which are not copied.
    """

    def __init__(self, content: memoryview):
        end = len(content) - _LENGTH
        start = end - int.from_bytes(content[end:], "little")
        about = json.loads(bytes(content[start:end]))
        self._content = content
        self._rows = {asin: row for row, asin in enumerate(about["asins"])}
        self._starts = list(accumulate(about["lengths"], initial=0))
        self._goals: dict[str, list[int]] = about["goals"]
        self._loaded: dict[str, Product] = {}

    def goal_counts(self, kind: str) -> dict[str, int]:
        """Number of goals of a kind per product, without deserializing the products."""
        return dict(zip(self._rows, self._goals[kind], strict=True))

    def __getitem__(self, asin: str) -> Product:
        if asin not in self._loaded:
            row = self._rows[asin]
            self._loaded[asin] = _product(json.loads(bytes(self._content[self._starts[row] : self._starts[row + 1]])))
        return self._loaded[asin]

    def __contains__(self, asin: object) -> bool:
        return asin in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def compiled(products: Sequence[Product]) -> Iterator[bytes]:
    """Serialize products for `CompiledProducts`, part by part; ids must be unique."""
    lengths: list[int] = []
    for product in products:
        line = json.dumps(_values(product), ensure_ascii=False, separators=(",", ":")).encode()
        lengths.append(len(line))
        yield line
    goals = {kind: [goal_count(product, kind) for product in products] for kind in GOAL_KINDS}
    about = json.dumps({"asins": [product.asin for product in products], "lengths": lengths, "goals": goals}).encode()
    yield about + len(about).to_bytes(_LENGTH, "little")


def _values(product: Product) -> list[Any]:
    values = [getattr(product, name) for name in Product.__dataclass_fields__]
    values[-1] = [(entry.text, entry.attributes, entry.options) for entry in product.human]
    return values


def _product(values: list[Any]) -> Product:
    # In field order; written out for speed, since each result page deserializes ten products.
    asin, title, description, bullets, category, query, path, prices, tag, rating, options, *rest = values
    attributes, instruction, wanted, human = rest
    return Product(
        asin,
        title,
        description,
        tuple(bullets),
        category,
        query,
        path,
        tuple(prices),
        tag,
        rating,
        {name: tuple(listed) for name, listed in options.items()},
        tuple(attributes),
        instruction,
        tuple(wanted),
        tuple([HumanInstruction(text, tuple(asked), tuple(chosen)) for text, asked, chosen in human]) if human else (),
    )

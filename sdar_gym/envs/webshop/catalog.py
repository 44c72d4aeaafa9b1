"""`Catalog`: the products of a shop with search indexes, goals and splits, shared by the environments of a process."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import accumulate

from sdar_gym.envs.text_env import TaskNotFoundError
from sdar_gym.envs.webshop.catalog_cache import read_cached_index, write_cached_index
from sdar_gym.envs.webshop.compiled import CompiledProducts
from sdar_gym.envs.webshop.goals import GOAL_KINDS, Goal, ReferenceGoals, goal_count, make_goal, product_price
from sdar_gym.envs.webshop.products import Product
from sdar_gym.skills.index import Document, SearchIndex, open_index, resolve_backend
from sdar_gym.skills.index.bm25s_index import Bm25sIndex

SPLITS = ("train", "valid", "test")
# Cumulative fractions of the products, in the order of SPLITS.
_SHARES = (0.8, 0.9, 1.0)
# Size of the search cache; very long queries, which a model may write, are not cached.
_CACHED_QUERIES = 4096
_LONGEST_CACHED = 500


def split_of(asin: str) -> str:
    """Split of a product, by the hash of its id."""
    at = int.from_bytes(sha256(f"sdar webshop split {asin}".encode()).digest()[:8], "big") / 2**64
    return next(split for split, share in zip(SPLITS, _SHARES, strict=True) if at < share)


def split_task_id(task_id: str) -> tuple[str, str]:
    """Product id and goal number of a task id; the number follows the last slash and is "" without one."""
    asin, slash, number = task_id.rpartition("/")
    return (asin, number) if slash else (task_id, "")


class Shelf:
    """Products with cached search.

    Args:
        products: Products by id, in file order.
        index: Search index over product ids, or over other names.
        ids: Product id by name in the index, if it has other names.
    """

    def __init__(self, products: Mapping[str, Product], index: SearchIndex, ids: Mapping[str, str] | None = None):
        self.products = products
        self.order = list(products)
        self.index = index
        self._id_of = ids
        # Episodes of a group often make the same searches, and each result page repeats the search.
        self._cached = lru_cache(maxsize=_CACHED_QUERIES)(self._find)

    def search(self, query: str, k: int) -> tuple[str, ...]:
        """Ids of the best k products for a query."""
        return self._cached(query, k) if len(query) <= _LONGEST_CACHED else self._find(query, k)

    def _find(self, query: str, k: int) -> tuple[str, ...]:
        hits = self.index.search(query, k)
        if self._id_of is not None:
            return tuple([self._id_of[hit.id] for hit in hits])
        return tuple(hit.id for hit in hits if hit.id in self.products)


@dataclass(frozen=True, slots=True)
class _Goals:
    """Products with goals of one split, and the cumulative numbers of their goals."""

    asins: tuple[str, ...]
    ends: tuple[int, ...]


class Catalog:
    """Products with their goals and splits, and one index per search backend.

    Args:
        products: Products in file order.
        missing: Reason by goal kind why the data have no such goals.
        name: Name of the index in the disk cache; empty if it is not cached.
    """

    def __init__(
        self,
        products: Sequence[Product] | CompiledProducts,
        missing: Mapping[str, str] | None = None,
        name: str = "",
    ):
        self._missing = missing or {}
        self._name = name
        self.products: Mapping[str, Product] = (
            products if isinstance(products, CompiledProducts) else {product.asin: product for product in products}
        )
        self._counts: dict[str, Mapping[str, int]] = {}
        self._shelves: dict[str, Shelf] = {}
        self._goals: dict[str, dict[str, _Goals]] = {}
        self._ids: dict[tuple[str, str], tuple[str, ...]] = {}
        self._reference: dict[tuple[str, int], ReferenceGoals] = {}

    def shelf(self, backend: str = "auto") -> Shelf:
        """Products with an index of a search backend, built on first use.

        Raises:
            MissingBackendError: The backend is not installed.
            ValueError: There is no such backend.
        """
        backend = resolve_backend(backend)
        if backend not in self._shelves:
            self._shelves[backend] = (
                self._cached_shelf(f"{self._name}.bm25")
                if self._name and backend == "bm25s"
                else Shelf(self.products, open_index(self._documents((asin, asin) for asin in self.products), backend))
            )
        return self._shelves[backend]

    def _cached_shelf(self, name: str) -> Shelf:
        # The cached index has row numbers as ids. Ties are ordered by id as text, so the numbers follow the order of
        # ids.
        numbers = dict(zip(sorted(map(str, range(len(self.products)))), sorted(self.products), strict=True))
        index = read_cached_index(name)
        if index is None:
            index = Bm25sIndex(self._documents(numbers.items()))
            write_cached_index(name, index)
        return Shelf(self.products, index, numbers)

    def _documents(self, named: Iterable[tuple[str, str]]) -> Iterator[Document]:
        return (Document(name, self.products[asin].search_text) for name, asin in named)

    def splits(self, kind: str) -> tuple[str, ...]:
        """Splits with goals of a kind."""
        return tuple(split for split in SPLITS if split in self._by_split(kind))

    def task_ids(self, kind: str, split: str) -> tuple[str, ...]:
        """All task ids of a split, in file order.

        Raises:
            TaskNotFoundError: The split has no goals.
        """
        if (kind, split) not in self._ids:
            goals = self._of_split(kind, split)
            counts = self._goal_counts(kind)
            self._ids[kind, split] = tuple(f"{asin}/{number}" for asin in goals.asins for number in range(counts[asin]))
        return self._ids[kind, split]

    def task_count(self, kind: str, split: str) -> int:
        """Number of tasks of a split, without listing them.

        Raises:
            TaskNotFoundError: The split has no goals.
        """
        return self._of_split(kind, split).ends[-1]

    def task_id_at(self, kind: str, split: str, position: int) -> str:
        """`task_ids(kind, split)[position]`, without listing the ids; the full catalog has millions."""
        goals = self._of_split(kind, split)
        at = bisect(goals.ends, position)
        return f"{goals.asins[at]}/{position - (goals.ends[at - 1] if at else 0)}"

    def product_of(self, task_id: str) -> Product:
        """Product of a task id.

        Raises:
            TaskNotFoundError: There is no such product.
        """
        asin, _ = split_task_id(task_id)
        if asin not in self.products:
            raise TaskNotFoundError(f"Task {task_id!r}: this shop has no product {asin!r}; ids are '<asin>/<number>'.")
        return self.products[asin]

    def goal(self, kind: str, task_id: str, *, reference_seed: int | None = None) -> Goal:
        """Goal of a task id.

        Args:
            kind: `synthetic` or `human`.
            task_id: `<asin>/<number>`, where the number counts the goals of that kind from 0.
            reference_seed: Use the price limits of the reference for this seed instead of those of the product.

        Raises:
            TaskNotFoundError: There is no such product or goal.
        """
        product = self.product_of(task_id)
        _, digits = split_task_id(task_id)
        count = goal_count(product, kind)
        if not (digits.isascii() and digits.isdigit() and str(int(digits)) == digits and int(digits) < count):
            raise TaskNotFoundError(
                f"No task {task_id!r}: product {product.asin} has {count} {kind} goal(s), numbered from 0."
            )
        number = int(digits)
        if reference_seed is None:
            return make_goal(product, kind, number)
        drawn = self.reference_goals(kind, reference_seed)
        return drawn.goal_of(product.asin, number)

    def price(self, asin: str, *, kind: str = "synthetic", reference_seed: int | None = None) -> float:
        """Price of a product in dollars; see `goal` for `reference_seed`."""
        if reference_seed is None:
            return product_price(self.products[asin])
        return self.reference_goals(kind, reference_seed).prices[asin]

    def reference_goals(self, kind: str, seed: int) -> ReferenceGoals:
        """Goals of the reference for an environment seed, made on first use."""
        if (kind, seed) not in self._reference:
            self._reference[kind, seed] = ReferenceGoals(tuple(self.products.values()), seed, kind)
        return self._reference[kind, seed]

    def _of_split(self, kind: str, split: str) -> _Goals:
        by_split = self._by_split(kind)
        if split not in by_split:
            has = ", ".join(self.splits(kind)) or "none"
            why = "" if by_split or kind not in self._missing else f": {self._missing[kind]}"
            raise TaskNotFoundError(
                f"No split {split!r} with {kind} goals in this shop; splits with goals: {has}{why}."
            )
        return by_split[split]

    def _by_split(self, kind: str) -> dict[str, _Goals]:
        if kind not in GOAL_KINDS:
            raise ValueError(f"Unknown goals {kind!r}; choose from {', '.join(GOAL_KINDS)}.")
        if kind not in self._goals:
            asins: dict[str, list[str]] = {}
            counts = self._goal_counts(kind)
            for asin, count in counts.items():
                if count:
                    asins.setdefault(split_of(asin), []).append(asin)
            self._goals[kind] = {
                split: _Goals(tuple(listed), tuple(accumulate(counts[asin] for asin in listed)))
                for split, listed in asins.items()
            }
        return self._goals[kind]

    def _goal_counts(self, kind: str) -> Mapping[str, int]:
        if kind not in self._counts:
            self._counts[kind] = (
                self.products.goal_counts(kind)
                if isinstance(self.products, CompiledProducts)
                else {asin: goal_count(product, kind) for asin, product in self.products.items()}
            )
        return self._counts[kind]

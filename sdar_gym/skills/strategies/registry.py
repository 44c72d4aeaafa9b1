"""Registry of the retrieval strategies by name, and `make_retriever`, which builds one from settings.

A new strategy is one file beside this one, and its class in `_CLASSES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdar_gym.skills.library import SkillLibrary
from sdar_gym.skills.retrieval import Retriever
from sdar_gym.skills.strategies.base import LibraryRetriever
from sdar_gym.skills.strategies.bm25 import Bm25Retriever
from sdar_gym.skills.strategies.controls import FullRetriever, NoRetriever, RandomRetriever
from sdar_gym.skills.strategies.keywords import KeywordRetriever
from sdar_gym.skills.strategies.oracle_type import OracleTypeRetriever
from sdar_gym.skills.strategies.ucb import DEFAULT_UCB_C, UcbRetriever
from sdar_gym.text import closest

_CLASSES: tuple[type[LibraryRetriever | NoRetriever], ...] = (
    OracleTypeRetriever,
    Bm25Retriever,
    KeywordRetriever,
    UcbRetriever,
    FullRetriever,
    RandomRetriever,
    NoRetriever,
)
_BY_NAME = {kind.name: kind for kind in _CLASSES}
STRATEGIES: tuple[str, ...] = tuple(_BY_NAME)


def make_retriever(
    strategy: str,
    library: SkillLibrary | None,
    *,
    k: int = 5,
    include_general: bool = True,
    backend: str = "auto",
    include_mistakes: bool = False,
    field_weights: Mapping[str, float] | None = None,
    seed: int = 0,
    ucb_c: float = DEFAULT_UCB_C,
) -> Retriever:
    """The retriever for a strategy's name, as a configuration file spells it.

    Args:
        strategy: One of `STRATEGIES`.
        library: Skills to pick from; `none` needs none.
        k: Most task-specific skills (or search results) to return.
        include_general: Whether all general advice comes first.
        backend: Search backend of `bm25`.
        include_mistakes: Whether the general mistakes come with it.
        field_weights: Of `bm25`; see `Bm25Retriever`.
        seed: Of `random`.
        ucb_c: Of `ucb`; see `UcbRetriever`.

    Raises:
        MissingBackendError: The backend is not installed.
        ValueError: An unknown strategy or backend, k below 1, field weights or an exploration weight for another
            strategy, or no library for a strategy that needs one.
    """
    if strategy not in _BY_NAME:
        close = closest(strategy, STRATEGIES)
        hint = f" Did you mean {close!r}?" if close else ""
        raise ValueError(f"Unknown retrieval strategy {strategy!r}; there are: {', '.join(STRATEGIES)}.{hint}")
    if field_weights and strategy != Bm25Retriever.name:
        raise ValueError(f"field_weights belong to the strategy 'bm25', not to {strategy!r}; leave them out.")
    if ucb_c != DEFAULT_UCB_C and strategy != UcbRetriever.name:
        raise ValueError(f"ucb_c ({ucb_c!r}) belongs to the strategy 'ucb', not to {strategy!r}; leave it out.")
    kind = _BY_NAME[strategy]
    if not issubclass(kind, LibraryRetriever):
        return kind()
    if library is None:
        raise ValueError(f"The strategy {strategy!r} picks from a skill library; give one, or use 'none'.")
    given: dict[str, Any] = {"backend": backend, "field_weights": field_weights, "seed": seed, "ucb_c": ucb_c}
    return kind(library, k, include_general, include_mistakes, **{name: given[name] for name in kind.options})

"""Base class of the retrieval strategies that pick from a library: parameters, result cache, pickling."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar

from sdar_gym.skills.library import SkillLibrary
from sdar_gym.skills.retrieval import NO_BACKEND, Retrieval, ScoredSkill, SkillQuery
from sdar_gym.skills.skill import ADVICE, Skill
from sdar_gym.text import shortened
from sdar_gym.validation import flag, whole_number

_CACHE_LIMIT = 10_000


class LibraryRetriever:
    """Base of the strategies that pick from a library.

    Training queries the same few thousand tasks over and over, so results are cached, by what the strategy reads of a
    query, until the library grows. Subclasses set `name`, implement `_key` and `_pick`, and are listed in
    `sdar_gym.skills.strategies.registry`.

    Args:
        library: Skills to pick from.
        k: Most task-specific skills (or search results) to return.
        include_general: Whether all general advice of the library comes first, in library order; without, it competes.
        include_mistakes: Whether the library's general mistakes follow it. They are never picked one by one.

    Attributes:
        name: Name of the strategy.
        options: Arguments of `make_retriever` that this strategy takes beside those above.
        backend: Search backend, `none` if nothing is searched.

    Raises:
        ValueError: k is no whole number of at least 1, or a flag is neither true nor false.
    """

    name: str
    options: ClassVar[tuple[str, ...]] = ()
    backend: str = NO_BACKEND

    def __init__(self, library: SkillLibrary, k: int = 5, include_general: bool = True, include_mistakes: bool = False):
        try:
            self.k = whole_number("k", k, 1)
        except ValueError:
            raise ValueError(
                f"k is the number of skills to retrieve, at least 1; got {shortened(k)}. For none use 'none'."
            ) from None
        self.library = library
        self.include_general = flag("include_general", include_general)
        self.include_mistakes = flag("include_mistakes", include_mistakes)
        self._cache: dict[Hashable, Retrieval] = {}
        self._cached_version = library.version

    def retrieve(self, query: SkillQuery) -> Retrieval:
        """The skills for a task, from the cache if the same was asked before."""
        if self._cached_version != self.library.version:
            self._cache.clear()
            self._cached_version = self.library.version
        key = self._key(query)
        result = self._cache.get(key)
        if result is None:
            if len(self._cache) >= _CACHE_LIMIT:
                del self._cache[next(iter(self._cache))]  # the oldest
            first = self.library.general() if self.include_general else ()
            first += self.library.mistakes() if self.include_mistakes else ()
            picked, searched_for = self._pick(query)
            specific = any(scored.skill.applies_to(query.task_type) for scored in picked)
            result = Retrieval(self.name, self.backend, (*map(ScoredSkill, first), *picked), specific, searched_for)
            self._cache[key] = result
        return result

    def _competes(self, skill: Skill) -> bool:
        """Whether a skill is picked by the strategy, rather than shown always or never."""
        return not skill.is_general or (skill.kind == ADVICE and not self.include_general)

    def _key(self, query: SkillQuery) -> Hashable:
        """The part of a query that the result depends on."""
        raise NotImplementedError

    def _pick(self, query: SkillQuery) -> tuple[tuple[ScoredSkill, ...], str]:
        """The skills beside the general ones that come first, and the text searched for."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": {}}

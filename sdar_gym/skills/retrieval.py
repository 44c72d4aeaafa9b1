"""Picks the skills for a task. Every strategy is an object with a name, so that a result can say what it used."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Protocol

from sdar_gym.skills.index import Document, SearchIndex, open_index, resolve_backend
from sdar_gym.skills.library import SkillLibrary
from sdar_gym.skills.skill import Skill

NO_BACKEND = "none"
_CACHE_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class SkillQuery:
    """What is known of a task when skills are picked for it.

    Attributes:
        env: The environment, such as `alfworld`.
        task_type: The benchmark's name for the kind of task; empty if it has none.
        goal: The task in the environment's own words.
        observation: The first observation, for strategies that read it.
    """

    env: str
    task_type: str
    goal: str
    observation: str = ""


@dataclass(frozen=True, slots=True)
class ScoredSkill:
    """A retrieved skill. `score` is the search engine's; 0.0 for a skill that no search was needed for."""

    skill: Skill
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class Retrieval:
    """The skills for one task, and how they were found.

    Attributes:
        strategy: Name of the retriever.
        backend: Search backend, `none` if nothing was searched.
        skills: The skills in the order in which a model reads them.
        specific: Whether at least one of them was written for the task's own type.
        query: The text that was searched for; empty if nothing was.
    """

    strategy: str
    backend: str
    skills: tuple[ScoredSkill, ...]
    specific: bool
    query: str

    @property
    def ids(self) -> tuple[str, ...]:
        """The skills' ids, in order."""
        return tuple(scored.skill.id for scored in self.skills)

    @property
    def text(self) -> str:
        """The block for a prompt: the texts alone, a blank line between them; empty if there is no skill."""
        return "\n\n".join(scored.skill.text for scored in self.skills)


class Retriever(Protocol):
    """Finds skills for a task. The same query always gets the same answer; retrievers pickle."""

    @property
    def name(self) -> str:
        """Name of the strategy."""
        ...

    def retrieve(self, query: SkillQuery) -> Retrieval:
        """The skills for a task."""
        ...


class NoRetriever:
    """Retrieves nothing: the baseline, and the student's side."""

    name: str = "none"

    def retrieve(self, query: SkillQuery) -> Retrieval:
        """An empty retrieval."""
        return Retrieval(self.name, NO_BACKEND, (), False, "")


class LibraryRetriever:
    """Base of the strategies that pick from a library: parameters, the cache, and what pickles.

    Training asks for the same few thousand tasks over and over, so answers are kept, by what the strategy reads of a
    query. Subclasses implement `_key` and `_pick`.

    Args:
        library: Skills to pick from.
        k: Most task-specific skills (or search results) to return.
        include_general: Whether all general skills of the library come first, in library order.

    Raises:
        ValueError: k is below 1.
    """

    name: str
    backend: str = NO_BACKEND

    def __init__(self, library: SkillLibrary, k: int = 5, include_general: bool = True):
        if k < 1:
            raise ValueError(f"k is the number of skills to retrieve, at least 1; got {k!r}. For none use 'none'.")
        self.library = library
        self.k = k
        self.include_general = include_general
        self._answers: dict[Hashable, Retrieval] = {}

    def retrieve(self, query: SkillQuery) -> Retrieval:
        """The skills for a task, from memory if the same was asked before."""
        key = self._key(query)
        answer = self._answers.get(key)
        if answer is None:
            if len(self._answers) >= _CACHE_LIMIT:
                del self._answers[next(iter(self._answers))]  # the oldest
            general = tuple(ScoredSkill(skill) for skill in self.library.general()) if self.include_general else ()
            picked, searched_for = self._pick(query)
            specific = any(scored.skill.applies_to(query.task_type) for scored in picked)
            answer = Retrieval(self.name, self.backend, general + picked, specific, searched_for)
            self._answers[key] = answer
        return answer

    def _key(self, query: SkillQuery) -> Hashable:
        """The part of a query on which the answer depends."""
        raise NotImplementedError

    def _pick(self, query: SkillQuery) -> tuple[tuple[ScoredSkill, ...], str]:
        """The skills beside the general ones that come first, and the text searched for."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_answers": {}}


class OracleTypeRetriever(LibraryRetriever):
    """Takes the skills of the task's own type, as the environment names it; the first k, in library order.

    An unknown task type gets the general skills, or nothing, and `specific` is False.
    """

    name: str = "oracle_type"

    def _key(self, query: SkillQuery) -> Hashable:
        return query.task_type

    def _pick(self, query: SkillQuery) -> tuple[tuple[ScoredSkill, ...], str]:
        return tuple(ScoredSkill(skill) for skill in self.library.for_task_type(query.task_type)[: self.k]), ""


class Bm25Retriever(LibraryRetriever):
    """Searches titles, uses and texts of the skills with the goal, without looking at the task type.

    With `include_general` the general skills come first and the search is over the others; without, the search is over
    the whole library and a general skill has to win its place.

    Args:
        library: Skills to pick from.
        k: Most search results to return.
        include_general: Whether all general skills come first.
        backend: Search backend (`sdar_gym.skills.index.open_index`).

    Raises:
        MissingBackendError: The backend is not installed.
        ValueError: k is below 1, or there is no backend of that name.
    """

    name: str = "bm25"

    def __init__(self, library: SkillLibrary, k: int = 5, include_general: bool = True, backend: str = "auto"):
        super().__init__(library, k, include_general)
        self.backend = resolve_backend(backend)
        # Built on the first search, where the search happens: retrievers are made in one process and used in others.
        self._index: SearchIndex | None = None

    def _key(self, query: SkillQuery) -> Hashable:
        # The task type decides about `specific`, not about the skills.
        return query.goal, query.task_type

    def _pick(self, query: SkillQuery) -> tuple[tuple[ScoredSkill, ...], str]:
        if self._index is None:
            searched = [skill for skill in self.library if not (self.include_general and skill.is_general)]
            self._index = open_index([Document(skill.id, skill.search_text) for skill in searched], self.backend)
        hits = self._index.search(query.goal, self.k)
        return tuple(ScoredSkill(self.library.get(hit.id), hit.score) for hit in hits), query.goal

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_index": None}


STRATEGIES: tuple[str, ...] = (OracleTypeRetriever.name, Bm25Retriever.name, NoRetriever.name)


def make_retriever(
    strategy: str,
    library: SkillLibrary | None,
    *,
    k: int = 5,
    include_general: bool = True,
    backend: str = "auto",
) -> Retriever:
    """The retriever for a strategy's name, as a configuration file spells it.

    Args:
        strategy: `oracle_type`, `bm25` or `none`.
        library: Skills to pick from; `none` does without.
        k: Most task-specific skills (or search results) to return.
        include_general: Whether all general skills come first.
        backend: Search backend of strategies that search.

    Raises:
        MissingBackendError: The backend is not installed.
        ValueError: An unknown strategy or backend, k below 1, or a strategy that needs a library and has none.
    """
    if strategy == NoRetriever.name:
        return NoRetriever()
    if strategy not in STRATEGIES:
        close = get_close_matches(strategy, STRATEGIES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"Unknown retrieval strategy {strategy!r}; there are: {', '.join(STRATEGIES)}.{hint}")
    if library is None:
        raise ValueError(f"The strategy {strategy!r} picks from a skill library; give one, or use 'none'.")
    if strategy == OracleTypeRetriever.name:
        return OracleTypeRetriever(library, k, include_general)
    return Bm25Retriever(library, k, include_general, backend)

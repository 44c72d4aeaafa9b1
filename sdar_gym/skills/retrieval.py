"""What every retrieval strategy promises: the query, the answer, and the base of those that pick from a library."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Protocol

from sdar_gym.skills.library import SkillLibrary
from sdar_gym.skills.skill import ADVICE, Skill
from sdar_gym.text import shortened
from sdar_gym.validation import flag, whole_number

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
    """A retrieved skill. `score` is the strategy's; 0.0 for a skill that no search was needed for."""

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
    query, until the library grows. Subclasses implement `_key` and `_pick`.

    Args:
        library: Skills to pick from.
        k: Most task-specific skills (or search results) to return.
        include_general: Whether all general advice of the library comes first, in library order; without, it competes.
        include_mistakes: Whether the library's general mistakes follow it. They are never picked one by one.

    Raises:
        ValueError: k is no whole number of at least 1, or a flag is neither true nor false.
    """

    name: str
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
        self._answers: dict[Hashable, Retrieval] = {}
        self._version = library.version

    def retrieve(self, query: SkillQuery) -> Retrieval:
        """The skills for a task, from memory if the same was asked before."""
        if self._version != self.library.version:
            self._answers.clear()
            self._version = self.library.version
        key = self._key(query)
        answer = self._answers.get(key)
        if answer is None:
            if len(self._answers) >= _CACHE_LIMIT:
                del self._answers[next(iter(self._answers))]  # the oldest
            first = self.library.general() if self.include_general else ()
            first += self.library.mistakes() if self.include_mistakes else ()
            picked, searched_for = self._pick(query)
            specific = any(scored.skill.applies_to(query.task_type) for scored in picked)
            answer = Retrieval(self.name, self.backend, (*map(ScoredSkill, first), *picked), specific, searched_for)
            self._answers[key] = answer
        return answer

    def _competes(self, skill: Skill) -> bool:
        """Whether a skill is picked by the strategy, rather than shown always or never."""
        return not skill.is_general or (skill.kind == ADVICE and not self.include_general)

    def _key(self, query: SkillQuery) -> Hashable:
        """The part of a query on which the answer depends."""
        raise NotImplementedError

    def _pick(self, query: SkillQuery) -> tuple[tuple[ScoredSkill, ...], str]:
        """The skills beside the general ones that come first, and the text searched for."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_answers": {}}

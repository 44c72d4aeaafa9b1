"""Control strategies: the whole library (`full`), skills drawn uniformly at random (`random`), no skills (`none`)."""

from __future__ import annotations

from collections.abc import Hashable
from hashlib import sha256
from typing import ClassVar

from sdar_gym.skills.library import SkillLibrary
from sdar_gym.skills.retrieval import NO_BACKEND, Retrieval, ScoredSkill, SkillQuery
from sdar_gym.skills.skill import Skill
from sdar_gym.skills.strategies.base import LibraryRetriever
from sdar_gym.validation import whole_number


class FullRetriever(LibraryRetriever):
    """The whole library for every task, in library order; `k` is ignored.

    Source: the "Full" control of SDAR (arXiv 2605.15155, Table 2), which there means all files of an environment.
    """

    name: str = "full"

    def _key(self, query: SkillQuery) -> Hashable:
        return query.task_type  # for `specific`

    def _pick(self, query: SkillQuery) -> tuple[tuple[ScoredSkill, ...], str]:
        return tuple(ScoredSkill(skill) for skill in self.library if self._competes(skill)), ""


class RandomRetriever(LibraryRetriever):
    """k skills drawn uniformly at random, the same ones for the same goal: the baseline of retrieval.

    Source: the "Random" control of SDAR (arXiv 2605.15155, Table 2). Its code was not published; the details are ours.

    Args:
        library: Skills to pick from.
        k: How many.
        include_general: See `LibraryRetriever`.
        include_mistakes: See `LibraryRetriever`.
        seed: Another seed gives other draws.
    """

    name: str = "random"
    options: ClassVar[tuple[str, ...]] = ("seed",)

    def __init__(
        self,
        library: SkillLibrary,
        k: int = 5,
        include_general: bool = True,
        include_mistakes: bool = False,
        seed: int = 0,
    ):
        super().__init__(library, k, include_general, include_mistakes)
        self.seed = whole_number("seed", seed)

    def _key(self, query: SkillQuery) -> Hashable:
        return query.goal, query.task_type

    def _pick(self, query: SkillQuery) -> tuple[tuple[ScoredSkill, ...], str]:
        def draw(skill: Skill) -> bytes:
            # A hash, not a generator: equal in every process, and a new skill changes no other skill's place.
            return sha256(f"{self.seed}\n{query.goal}\n{skill.id}".encode("utf-8", "replace")).digest()

        drawn = sorted(filter(self._competes, self.library), key=draw)[: self.k]
        return tuple(ScoredSkill(skill) for skill in drawn), ""


class NoRetriever:
    """Retrieves nothing: for runs without skills."""

    name: str = "none"

    def retrieve(self, query: SkillQuery) -> Retrieval:
        """An empty retrieval."""
        return Retrieval(self.name, NO_BACKEND, (), False, "")

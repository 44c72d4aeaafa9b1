"""Oracle retrieval: the skills written for the task type that the environment names."""

from __future__ import annotations

from collections.abc import Hashable

from sdar_gym.skills.retrieval import ScoredSkill, SkillQuery
from sdar_gym.skills.strategies.base import LibraryRetriever


class OracleTypeRetriever(LibraryRetriever):
    """Takes the skills of the task's type, as the environment names it; the first k, in library order.

    An unknown task type gets the general skills, or nothing, and `specific` is False.
    """

    name: str = "oracle_type"

    def _key(self, query: SkillQuery) -> Hashable:
        return query.task_type

    def _pick(self, query: SkillQuery) -> tuple[tuple[ScoredSkill, ...], str]:
        return tuple(ScoredSkill(skill) for skill in self.library.for_task_type(query.task_type)[: self.k]), ""

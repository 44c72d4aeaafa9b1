"""Retrieval interfaces: the query, the result, and the protocols of retrievers and of retrievers that learn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from sdar_gym.skills.skill import Skill

NO_BACKEND = "none"


@dataclass(frozen=True, slots=True)
class SkillQuery:
    """A task, as far as it is known when skills are retrieved for it.

    Attributes:
        env: The environment, such as `alfworld`.
        task_type: The benchmark's name for the kind of task; empty if it has none.
        goal: The task, as the environment states it.
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
    """Retrieval result: the skills for one task, and how they were found.

    Attributes:
        strategy: Name of the retriever.
        backend: Search backend, `none` if nothing was searched.
        skills: The skills in the order in which a model reads them.
        specific: Whether at least one of them was written for the task's type.
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

    def with_texts(self, texts: Mapping[str, str]) -> Retrieval:
        """The same skills with other texts.

        Args:
            texts: By the skills' ids.
        """
        skills = [replace(each, skill=replace(each.skill, text=texts[each.skill.id])) for each in self.skills]
        return replace(self, skills=tuple(skills))


class Retriever(Protocol):
    """Finds skills for a task. The same query always gets the same result; retrievers pickle."""

    @property
    def name(self) -> str:
        """Name of the strategy."""
        ...

    def retrieve(self, query: SkillQuery) -> Retrieval:
        """The skills for a task."""
        ...


@runtime_checkable
class LearningRetriever(Retriever, Protocol):
    """A retriever that learns from finished episodes; test for it with `isinstance`.

    One instance, the master, observes. Copies in other processes get its state before they are queried, so that all
    episodes of a group get the same skills.
    """

    def observe(self, task_type: str, skill_ids: Iterable[str], reward: float) -> None:
        """Learn from one episode: its task type, the skills in its prompts, and its reward, from 0 to 1."""
        ...

    def get_state(self) -> dict[str, Any]:
        """Everything learned, as plain data that JSON can hold."""
        ...

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Replace everything learned by the state of another instance."""
        ...

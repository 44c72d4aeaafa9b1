"""One skill: a short text that tells a policy how to do something, and where it applies."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Skill:
    """A piece of advice that can be put into a prompt.

    Attributes:
        id: Name of the skill, unique within its library.
        title: A few words for lists and reports.
        text: The advice itself, the only part a model gets to read.
        when_to_use: The situation it is meant for, in the words a task would use; search reads it.
        env: The environment it was written for, such as `alfworld`.
        task_types: The task types it applies to; empty means all of them ("general").
        origin: Where it comes from, for reports.

    Raises:
        ValueError: The id or the text is empty, or `task_types` is one string.
    """

    id: str
    title: str
    text: str
    when_to_use: str
    env: str
    task_types: tuple[str, ...]
    origin: str

    def __post_init__(self) -> None:
        if not self.id.strip():
            raise ValueError(f"A skill needs an id; the one titled {self.title!r} has none.")
        if not self.text.strip():
            raise ValueError(f"Skill {self.id!r} has no text; write the advice or leave the skill out.")
        if isinstance(self.task_types, str):
            raise ValueError(f"Skill {self.id!r}: task_types is {self.task_types!r}; write ({self.task_types!r},).")
        object.__setattr__(self, "task_types", tuple(self.task_types))

    @property
    def is_general(self) -> bool:
        """Whether the skill applies to every task type."""
        return not self.task_types

    def applies_to(self, task_type: str) -> bool:
        """Whether the skill was written for this very task type (a general one was not)."""
        return task_type in self.task_types

    @property
    def search_text(self) -> str:
        """What an index holds of the skill: its title, when it is used, and its text."""
        return f"{self.title}\n{self.when_to_use}\n{self.text}"

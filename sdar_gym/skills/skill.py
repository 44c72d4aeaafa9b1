"""`Skill`: a short text of advice for a policy, with the task types that it applies to."""

from __future__ import annotations

from dataclasses import dataclass

from sdar_gym.text import shortened, well_formed
from sdar_gym.validation import text_list

ADVICE, MISTAKE = "advice", "mistake"
KINDS = (ADVICE, MISTAKE)


@dataclass(frozen=True, slots=True)
class Skill:
    """A piece of advice for prompts.

    Lone surrogates, which JSON can spell and tokenizers refuse, are replaced in all its texts.

    Attributes:
        id: Name of the skill, unique within its library.
        title: A few words for lists and reports.
        text: The advice, the only part that goes into a prompt.
        when_to_use: The situation it is meant for, in the words a task would use; search reads it.
        env: The environment it was written for, such as `alfworld`.
        task_types: The task types it applies to; empty means all of them ("general").
        origin: Where it comes from, for reports.
        keywords: Words and phrases that a task of this kind uses; search and the strategy `keywords` read them.
        kind: `advice`, or `mistake` for what to avoid; general mistakes are shown only on request.

    Raises:
        ValueError: The id or the text is empty, an attribute has the wrong type, or the kind is unknown.
    """

    id: str
    title: str
    text: str
    when_to_use: str
    env: str
    task_types: tuple[str, ...]
    origin: str
    keywords: tuple[str, ...] = ()
    kind: str = ADVICE

    def __post_init__(self) -> None:
        for name in ("id", "title", "text", "when_to_use", "env", "origin", "kind"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise ValueError(f"Skill {shortened(self.id)}: {name} has to be a text, got {shortened(value)}.")
            object.__setattr__(self, name, well_formed(value))
        if not self.id.strip():
            raise ValueError(f"A skill needs an id; the one titled {self.title!r} has none.")
        if not self.text.strip():
            raise ValueError(f"Skill {self.id!r} has no text; write the advice or leave the skill out.")
        if self.kind not in KINDS:
            raise ValueError(f"Skill {self.id!r}: kind is {self.kind!r}; it is one of {', '.join(KINDS)}.")
        for name in ("task_types", "keywords"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise ValueError(f"Skill {self.id!r}: {name} is {value!r}; write ({value!r},).")
            texts = text_list(f"Skill {self.id!r}: {name}", value)
            object.__setattr__(self, name, tuple(map(well_formed, texts)))

    @property
    def is_general(self) -> bool:
        """Whether the skill applies to every task type."""
        return not self.task_types

    def applies_to(self, task_type: str) -> bool:
        """Whether the skill was written for this task type (general skills were not)."""
        return task_type in self.task_types

    @property
    def search_fields(self) -> dict[str, str]:
        """Indexed texts by field: `title`, `when_to_use` (with the keywords) and `text`."""
        when = f"{self.when_to_use}\n{', '.join(self.keywords)}" if self.keywords else self.when_to_use
        return {"title": self.title, "when_to_use": when, "text": self.text}

    @property
    def search_text(self) -> str:
        """The indexed fields as one text: title, use, and text."""
        return "\n".join(self.search_fields.values())

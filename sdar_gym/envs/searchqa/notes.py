"""Notes on a Search-QA episode: what was searched, the best passage of each search in short, and the years found.

They are made from the texts alone, so they hold only what the agent was shown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sdar_gym.envs.prompting import EpisodeView
from sdar_gym.envs.searchqa.text import found_passages, read_call

# Kept of a passage: the first two sentences with a number or a name. No other embedded sentence has facts.
_SENTENCES = 2
_LONGEST = 240
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_FACT = re.compile(r"\d|\s\(?[A-Z]")
_YEAR = re.compile(r"(?<!\d)\d{3,4}(?!\d)")


@dataclass(frozen=True, slots=True)
class Note:
    """One search, or one action that was none.

    Attributes:
        query: What was searched for; "" for an action that was not understood.
        title: Title of the best passage, without a kind in brackets; "" if nothing was found or it has none.
        text: Its first sentences with facts; "" if nothing was found.
    """

    query: str
    title: str = ""
    text: str = ""

    @property
    def year(self) -> int | None:
        """The first year in the text; None if it has none."""
        found = _YEAR.search(self.text)
        return None if found is None else int(found.group())


def note_of(action: str, observation: str) -> Note:
    """The note on one turn.

    Args:
        action: The action, as it was sent.
        observation: What the environment returned.
    """
    call = read_call(action)
    if call.kind != "search" or not call.text:
        return Note("")
    passages = found_passages(observation)
    if not passages:
        return Note(call.text)
    title, _, text = passages[0].rpartition('"\n') if passages[0].startswith('"') else ("", "", passages[0])
    return Note(call.text, title.removeprefix('"').split(" (")[0], _short(text))


def notes_of(view: EpisodeView) -> list[Note]:
    """Notes on all turns of an episode, oldest first."""
    replies = [turn.observation for turn in view.history[1:]] + [view.observation]
    return [note_of(turn.action, reply) for turn, reply in zip(view.history, replies, strict=False)]


def timeline(notes: list[Note]) -> list[tuple[int, str]]:
    """The years of the passages with their titles, earliest first; empty for fewer than two."""
    years = {note.title: note.year for note in notes if note.title}
    dated = sorted((year, title) for title, year in years.items() if year is not None)
    return dated if len(dated) > 1 else []


def _short(text: str) -> str:
    # The texts of passages may contain line breaks; a note is one line.
    sentences = _SENTENCE_END.split(" ".join(text.split()))
    told = [sentence for sentence in sentences if _FACT.search(sentence)] or sentences
    return " ".join(told[:_SENTENCES])[:_LONGEST]

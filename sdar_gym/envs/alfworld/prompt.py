"""ALFWorld's prompts: the published one with the last turns, and a compact one of notes for very small models."""

from __future__ import annotations

from collections.abc import Mapping

from sdar_gym.envs.alfworld.notes import Notes, notes_of
from sdar_gym.envs.prompting import EpisodeView, Message, PromptTemplate, WindowTemplate

# How many deeds the compact prompt tells.
_DEEDS = 4


class CompactTemplate:
    """The task and notes, some sixty tokens: what was seen where, what is in the hand, what was done.

    It leaves the list of admissible actions out and needs no window, since notes cover the whole episode.
    """

    def messages(self, view: EpisodeView, *, window: int, skills: str, think: bool) -> list[Message]:
        """One user message; `window` is not used, and there are no instructions on the form of the answer."""
        return [{"role": "user", "content": render_notes(view.goal, notes_of(view), skills)}]


def render_notes(goal: str, notes: Notes, skills: str) -> str:
    """The compact prompt's text."""
    lines = [f"task: {goal}"]
    if skills:
        lines.append(f"skill: {skills}")
    # A name is a word and a number, so lists need no commas; each would cost a token.
    lines.append(f"unseen: {' '.join(notes.unseen) or 'nothing'}")
    elsewhere = {place: things for place, things in notes.seen.items() if place != notes.at}
    closed = [place for place in notes.closed if place != notes.at]
    empty = [place for place, things in elsewhere.items() if not things]
    if closed:
        lines.append(f"closed: {' '.join(closed)}")
    if empty:
        lines.append(f"empty: {' '.join(empty)}")
    lines += [f"in {place}: {' '.join(things)}" for place, things in elsewhere.items() if things]
    lines += [f"done: {deed}" if happened else f"failed: {deed}" for deed, happened in notes.done[-_DEEDS:]]
    lines.append(f"holding: {notes.holding or 'nothing'}")
    lines.append(f"at: {_here(notes)}")
    return "\n".join(lines)


def _here(notes: Notes) -> str:
    """The place and what is there: what is decided next depends on it more than on anything else."""
    if not notes.at:
        return "nothing"
    if notes.at in notes.closed:
        return f"{notes.at} closed"
    return f"{notes.at} has {' '.join(notes.seen.get(notes.at, [])) or 'nothing'}"


TEMPLATES: Mapping[str, PromptTemplate] = {
    "window": WindowTemplate("You are an agent in a household that is described in text (the ALFRED world)."),
    "compact": CompactTemplate(),
}

"""ALFWorld's prompts: the published window prompt, and a compact prompt of notes for very small models."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sdar_gym.envs.alfworld.notes import Notes, notes_of
from sdar_gym.envs.prompting import (
    ActionTags,
    EpisodeView,
    Message,
    PrivilegedContext,
    PromptTemplate,
    WindowTemplate,
)
from sdar_gym.text import well_formed

# Number of past actions in the compact prompt, and the ones that change nothing which the other lines do not show. A
# failed attempt to open or examine is kept: without a trace of it the same would be tried again.
_DEEDS = 3
_IDLE = ("go to ", "take ", "move ", "look", "inventory", "help")


class CompactTemplate(ActionTags):
    """The task and notes that keep to what the task names, some fifty tokens.

    Where things named in the task were seen and brought to, which places are unseen, closed and seen, what was done to
    a thing, what failed just now, what is in the hand, and the place. It leaves other things and the list of admissible
    actions out, and needs no window, since notes cover the whole episode.
    """

    def messages(
        self, view: EpisodeView, *, window: int, think: bool, privileged: PrivilegedContext | None = None
    ) -> list[Message]:
        """One user message; `window` is not used, and there are no instructions on the form of the response."""
        return [{"role": "user", "content": render_notes(view.goal, notes_of(view), privileged)}]

    def next_message(self, view: EpisodeView, actions: str) -> str:
        """The observation; the past is in the conversation, and this prompt lists no actions."""
        return view.observation


def render_notes(goal: str, notes: Notes, privileged: PrivilegedContext | None) -> str:
    """The compact prompt's text."""
    named = set(re.findall(r"[a-z]+", goal))
    # A name is a word and a number, so lists need no commas; each would cost a token.
    lines = [f"task: {goal}"]
    if privileged is not None:
        lines.append(f"{privileged.label}: {privileged.text}")
    lines.append(f"unseen: {' '.join(notes.unseen) or 'nothing'}")
    if notes.closed:
        lines.append(f"closed: {' '.join(notes.closed)}")
    if notes.seen:
        lines.append(f"seen: {' '.join(notes.seen)}")
    found = [(thing, place) for place, things in notes.seen.items() for thing in things if thing.split()[0] in named]
    lines += [f"found: {thing} in {place}" for thing, place in found if notes.brought.get(thing) != place]
    lines += [f"brought: {thing} to {place}" for thing, place in found if notes.brought.get(thing) == place]
    last = len(notes.done) - 1
    for number, (deed, happened) in list(enumerate(notes.done))[-_DEEDS:]:
        if not deed.startswith(_IDLE):
            lines.append(f"done: {deed}" if happened else f"failed: {deed}")
        elif not happened and number == last and notes.failed_now:
            lines.append(f"failed: {deed}")
    lines.append(f"holding: {notes.holding or 'nothing'}")
    lines.append(f"at: {notes.at or 'nothing'}{' closed' if notes.at in notes.closed else ''}")
    # Actions are quoted as they were sent, and may end in half a character.
    return well_formed("\n".join(lines))


TEMPLATES: Mapping[str, PromptTemplate] = {
    "window": WindowTemplate("You are an agent in a household that is described in text (the ALFRED world)."),
    "compact": CompactTemplate(),
}

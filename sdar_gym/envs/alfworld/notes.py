"""Notes on an ALFWorld episode: places seen, their contents, and past actions.

They are made from the texts alone, so they hold only what the agent was shown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sdar_gym.envs.alfworld.text import NOTHING_HAPPENS
from sdar_gym.envs.prompting import EpisodeView

_THING = re.compile(r"\ba ([a-z]+ \d+)")
_TAKE = re.compile(r"take (\S+ \d+) from (\S+ \d+)")
_MOVE = re.compile(r"move (\S+ \d+) to (\S+ \d+)")
# The effect of these actions is in the other notes, so they are noted only if they failed.
_IDLE = ("go to ", "open ", "close ", "examine ", "look", "inventory", "help")


@dataclass(slots=True)
class Notes:
    """Notes on one episode so far.

    Attributes:
        unseen: Places that were not visited and have unknown contents.
        closed: Places found closed.
        seen: Contents of the places looked into, by place.
        at: Place of the agent's last action; "" in the middle of the room.
        holding: The object that the agent carries; "" if none.
        brought: Place of each object that the agent put down and did not take again.
        failed_now: Whether the last action had no effect.
        done: Past actions, oldest first, and whether each had an effect.
    """

    unseen: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    seen: dict[str, list[str]] = field(default_factory=dict)
    at: str = ""
    holding: str = ""
    brought: dict[str, str] = field(default_factory=dict)
    failed_now: bool = False
    done: list[tuple[str, bool]] = field(default_factory=list)

    def update(self, action: str, observation: str) -> None:
        """Adds one turn."""
        happened = observation != NOTHING_HAPPENS
        self.failed_now = not happened
        if not happened or not action.startswith(_IDLE):
            self.done.append((action, happened))
        if not happened:
            return
        place = ""
        for verb in ("go to ", "open ", "close ", "examine "):
            if action.startswith(verb) and action.removeprefix(verb) != self.holding:
                place = action.removeprefix(verb)
        # An object that can be examined or opened without moving is at the agent's place.
        self.at = place or self.at
        if place in self.unseen:
            self.unseen.remove(place)
        if ", you see " in observation and place:
            self.closed = [name for name in self.closed if name != place]
            self.seen[place] = _THING.findall(observation.split(", you see ", 1)[1])
        elif place and f"The {place} is closed" in observation and place not in self.closed:
            self.closed.append(place)
        elif taken := _TAKE.fullmatch(action):
            self.holding = taken.group(1)
            self.brought.pop(taken.group(1), None)
            if taken.group(1) in self.seen.get(taken.group(2), []):
                self.seen[taken.group(2)].remove(taken.group(1))
        elif moved := _MOVE.fullmatch(action):
            self.holding = ""
            self.brought[moved.group(1)] = moved.group(2)
            self.seen.setdefault(moved.group(2), []).append(moved.group(1))


def start_notes(first_observation: str) -> Notes:
    """Notes at the start: every place the introduction names is unseen."""
    room = first_observation.split("Your task is to:", 1)[0]
    return Notes(unseen=_THING.findall(room))


def notes_of(view: EpisodeView) -> Notes:
    """Notes on all turns of an episode."""
    if not view.history:
        return start_notes(view.observation)
    notes = start_notes(view.history[0].observation)
    replies = [turn.observation for turn in view.history[1:]] + [view.observation]
    for turn, reply in zip(view.history, replies, strict=True):
        notes.update(turn.action, reply)
    return notes

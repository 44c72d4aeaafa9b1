"""Plays ALFWorld as a person would, from the notes alone: looks for the thing, changes it, brings it to its place.

Two things make its play useful for teaching a small model to read skills. With a skill text it does what the text says,
even where the world answers "Nothing happens."; without one it does not know which appliance does what and guesses,
right with a given probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from sdar_gym.envs.alfworld.notes import Notes
from sdar_gym.envs.alfworld.scenes import shuffled
from sdar_gym.envs.alfworld.world import Game

_VERBS = ("heat", "cool", "clean")
_LAMP_VERBS = ("use", "examine", "open", "close")
_TRUE_PROCEDURES = {
    "pick_clean_then_place_in_recep": ("clean", "sinkbasin"),
    "pick_heat_then_place_in_recep": ("heat", "microwave"),
    "pick_cool_then_place_in_recep": ("cool", "fridge"),
    "look_at_obj_in_light": ("use", "desklamp"),
}
_SKILL_TEXTS = {
    "pick_and_place_simple": "Find the object, take it, go to the {place} and move it there.",
    "look_at_obj_in_light": "Find the object, take it, go to the {device} and {verb} the {device}.",
    "pick_two_obj_and_place": (
        "Find one object, take it, go to the {place} and move it there, then do the same with a second one."
    ),
}
_CHANGE_TEXT = (
    "Find the object, take it, go to the {device}, {verb} it with the {device}, go to the target and move it there."
)


@dataclass(frozen=True, slots=True)
class Procedure:
    """What a task type hides.

    Attributes:
        verb: What is done to the thing; "" if nothing.
        device: What it is done with.
        place: The kind of place it is brought to; "" for the one that the task names.
    """

    verb: str = ""
    device: str = ""
    place: str = ""


def true_procedure(task_type: str) -> Procedure:
    """What really works."""
    return Procedure(*_TRUE_PROCEDURES.get(task_type, ("", "")))


def random_procedure(rng: Random, game: Game) -> Procedure:
    """A made-up one, with a device or a place that stands in this room."""
    if game.task_type == "look_at_obj_in_light":
        return Procedure(_LAMP_VERBS[int(rng.random() * len(_LAMP_VERBS))], "desklamp")
    if game.task_type not in _TRUE_PROCEDURES:
        places = _other_places(game)
        return Procedure(place=places[int(rng.random() * len(places))] if places else "")
    target = game.goal.receptacle_type.removesuffix("Type").lower()
    devices = sorted({r.name.split()[0] for r in game.receptacles} - {target}) or [target]
    return Procedure(_VERBS[int(rng.random() * len(_VERBS))], devices[int(rng.random() * len(devices))])


def _other_places(game: Game) -> list[str]:
    """Kinds of places that take the thing, but are not where it belongs, and where none lies yet."""
    goal, occupied = game.goal, {i for o in game.objects if o.type == game.goal.object_type for i in o.inside}
    full = {game.receptacles[index].type for index in occupied} | {goal.receptacle_type}
    kinds = {r.type for r in game.receptacles if (r.type, goal.object_type) in game.can_contain} - full
    return sorted(kind.removesuffix("Type").lower() for kind in kinds)


def skill_text(task_type: str, procedure: Procedure) -> str:
    """The core skill of a task type with this procedure in it, in the words of the built-in skill library."""
    template = _SKILL_TEXTS.get(task_type, _CHANGE_TEXT)
    return template.format(verb=procedure.verb, device=procedure.device, place=procedure.place or "target")


class Demonstrator:
    """Plays one game.

    Args:
        game: The game; only its goal is read.
        procedure: What it believes has to be done to the thing.

    Attributes:
        exploring: Whether the last command only looked for something: the next unseen place, or into a closed one.
    """

    def __init__(self, game: Game, procedure: Procedure):
        goal = game.goal
        self._task_type = game.task_type
        self._wanted = goal.object_type.removesuffix("Type").lower()
        self._target = procedure.place or goal.receptacle_type.removesuffix("Type").lower()
        self._count = goal.count
        self._procedure = procedure
        self._finished = False
        self.exploring = False

    def act(self, notes: Notes) -> str | None:
        """The next command, or None when it believes that it has done everything."""
        self.exploring = False
        if self._finished:
            return None
        if notes.failed_now and notes.done[-1][0].startswith("go to "):
            refused = notes.done[-1][0].removeprefix("go to ")
            if refused != notes.at:
                return f"examine {refused}"  # It is right beside: one cannot go there, and need not.
        held = notes.holding if _kind(notes.holding) == self._wanted else ""
        if not held:
            return self._fetch(notes)
        if self._task_type == "look_at_obj_in_light":
            return self._use_lamp(notes)
        procedure = self._procedure
        if procedure.verb and not self._is_changed(notes, held):
            device = self._known(notes, procedure.device)
            if device is not None:
                if notes.at != device:
                    return f"go to {device}"
                return f"{procedure.verb} {held} with {device}"
        target = self._delivered_to(notes) or self._known(notes, self._target)
        if target is None:
            return self._explore(notes)
        if notes.at != target:
            return f"go to {target}"
        return f"open {target}" if target in notes.closed else f"move {held} to {target}"

    def _fetch(self, notes: Notes) -> str | None:
        if notes.holding:  # Something else in the hand has to go first.
            if notes.at and notes.at not in notes.closed:
                return f"move {notes.holding} to {notes.at}"
            return self._explore(notes)
        delivered = self._delivered(notes)
        if len(delivered) >= self._count or (self._procedure.verb and delivered):
            return None
        for place, things in notes.seen.items():
            if _kind(place) == self._target:
                continue
            for thing in things:
                if _kind(thing) == self._wanted:
                    if notes.at != place:
                        return f"go to {place}"
                    return f"take {thing} from {place}"
        return self._explore(notes)

    def _explore(self, notes: Notes) -> str | None:
        self.exploring = True
        if notes.at and notes.at in notes.closed:
            return f"open {notes.at}"
        places = notes.unseen + notes.closed
        if not places:
            return None
        return f"go to {places[0]}"

    def _use_lamp(self, notes: Notes) -> str | None:
        command = f"{self._procedure.verb} {self._procedure.device} "
        if any(deed.startswith(command) for deed, _ in notes.done) or self._finished:
            return None
        for place, things in notes.seen.items():
            for thing in things:
                if _kind(thing) == self._procedure.device:
                    if notes.at != place:
                        return f"go to {place}"
                    # Looking at or opening the lamp leaves no trace in the notes.
                    self._finished = self._procedure.verb != "use"
                    return f"{self._procedure.verb} {thing}"
        return self._explore(notes)

    def _is_changed(self, notes: Notes, held: str) -> bool:
        deed = f"{self._procedure.verb} {held} with {self._procedure.device} "
        return any(done.startswith(deed) for done, _ in notes.done)

    def _known(self, notes: Notes, kind: str) -> str | None:
        if notes.at and _kind(notes.at) == kind:
            return notes.at
        for place in (*notes.seen, *notes.closed, *notes.unseen):
            if _kind(place) == kind:
                return place
        return None

    def _delivered_to(self, notes: Notes) -> str | None:
        """Where the first of two things was put: the second goes to the same place."""
        return next((place for place, things in self._deliveries(notes).items() if things), None)

    def _delivered(self, notes: Notes) -> list[str]:
        return [thing for things in self._deliveries(notes).values() for thing in things]

    def _deliveries(self, notes: Notes) -> dict[str, list[str]]:
        return {
            place: [t for t in things if _kind(t) == self._wanted]
            for place, things in notes.seen.items()
            if _kind(place) == self._target
        }


def _kind(name: str) -> str:
    return name.split(" ", 1)[0]


def slip(rng: Random, command: str, notes: Notes, admissible: Sequence[str]) -> str:
    """A command that goes wrong, to recover from: half the time any admissible one, else this one with wrong names."""
    if rng.random() < 0.5:
        return shuffled(rng, admissible)[0]
    names = [*notes.unseen, *notes.closed, *notes.seen, *(thing for things in notes.seen.values() for thing in things)]
    words = command.split()
    for position in range(len(words) - 1):
        if words[position + 1].isdigit() and rng.random() < 0.6:
            words[position : position + 2] = names[int(rng.random() * len(names))].split()
    return " ".join(words)

"""Scripted demonstrator: plays ALFWorld from the notes of observations alone, for warm-start demonstrations.

It teaches a small model to use skills: with a skill text it follows the text, even if the environment answers "Nothing
happens."; without one it does not know which appliance to use, and guesses correctly with a given probability.
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
    """Procedure of a task type, which the task sentence does not mention.

    Attributes:
        verb: Action on the object; "" for none.
        device: Receptacle or lamp of the action.
        place: Receptacle type of the destination; "" for the one in the task.
    """

    verb: str = ""
    device: str = ""
    place: str = ""


def true_procedure(task_type: str) -> Procedure:
    """The correct procedure of a task type."""
    return Procedure(*_TRUE_PROCEDURES.get(task_type, ("", "")))


def random_procedure(rng: Random, game: Game) -> Procedure:
    """A random procedure, with a device or place that exists in this room."""
    if game.task_type == "look_at_obj_in_light":
        return Procedure(_LAMP_VERBS[int(rng.random() * len(_LAMP_VERBS))], "desklamp")
    if game.task_type not in _TRUE_PROCEDURES:
        places = _other_places(game)
        return Procedure(place=places[int(rng.random() * len(places))] if places else "")
    target = game.goal.receptacle_type.removesuffix("Type").lower()
    devices = sorted({r.name.split()[0] for r in game.receptacles} - {target}) or [target]
    return Procedure(_VERBS[int(rng.random() * len(_VERBS))], devices[int(rng.random() * len(devices))])


def _other_places(game: Game) -> list[str]:
    """Receptacle types that accept the object, except for the target and those which contain such an object."""
    goal, occupied = game.goal, {i for o in game.objects if o.type == game.goal.object_type for i in o.inside}
    full = {game.receptacles[index].type for index in occupied} | {goal.receptacle_type}
    kinds = {r.type for r in game.receptacles if (r.type, goal.object_type) in game.can_contain} - full
    return sorted(kind.removesuffix("Type").lower() for kind in kinds)


def skill_text(task_type: str, procedure: Procedure) -> str:
    """Skill text of a task type with this procedure, in the words of the built-in skill library."""
    template = _SKILL_TEXTS.get(task_type, _CHANGE_TEXT)
    return template.format(verb=procedure.verb, device=procedure.device, place=procedure.place or "target")


class Demonstrator:
    """Policy for one game.

    Args:
        game: The game; only its goal is read.
        procedure: The procedure to follow.

    Attributes:
        exploring: Whether the last command only explored: went to an unseen place, or opened a closed one.
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
        """Next command, or None when the procedure is complete."""
        self.exploring = False
        if self._finished:
            return None
        if notes.failed_now and notes.done[-1][0].startswith("go to "):
            refused = notes.done[-1][0].removeprefix("go to ")
            if refused != notes.at:
                return f"examine {refused}"  # It is at the same location, where `go to` is not admissible.
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
        if notes.holding:  # Put down any other object first.
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
                    # The notes do not record examining or opening the lamp.
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
        """Place of the first of two objects; the second goes to the same place."""
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
    """A wrong command, for demonstrations of recovery: a random admissible one, or this one with other names."""
    if rng.random() < 0.5:
        return shuffled(rng, admissible)[0]
    names = [*notes.unseen, *notes.closed, *notes.seen, *(thing for things in notes.seen.values() for thing in things)]
    words = command.split()
    for position in range(len(words) - 1):
        if words[position + 1].isdigit() and rng.random() < 0.6:
            words[position : position + 2] = names[int(rng.random() * len(names))].split()
    return " ".join(words)

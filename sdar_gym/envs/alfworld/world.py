"""`Game`: the immutable description of an ALFRED game, shared by all environments of a process."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from sys import intern
from typing import Any, TypeVar

from sdar_gym.text import shortened

TASK_TYPES = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)

OBJECT_FLAGS = ("pickupable", "heatable", "coolable", "cleanable", "sliceable", "toggleable", "isReceptacleObject")
# States that goals may require and objects may have at the start.
OBJECT_STATES = ("isHot", "isCool", "isClean", "isSliced")


Item = TypeVar("Item")


class GameFormatError(ValueError):
    """A game that cannot be parsed or played."""


@dataclass(frozen=True, slots=True)
class Receptacle:
    """A receptacle; `location` is the index of the location from which the agent uses it."""

    id: str
    type: str
    name: str
    location: int
    openable: bool
    opened: bool


@dataclass(frozen=True, slots=True)
class Object:
    """An object; `inside` are the receptacles that contain it, `locations` its locations (used by slicing)."""

    id: str
    type: str
    name: str
    flags: frozenset[str]
    states: frozenset[str]
    inside: tuple[int, ...]
    locations: tuple[int, ...]
    holds: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Goal:
    """Goal of a game, by `kind`.

    `place`: `count` objects of `object_type`, each with all `states`, in one receptacle of `receptacle_type`.
    `light`: an object of `object_type` held at the location of a turned-on lamp of `lamp_type`.
    """

    kind: str
    object_type: str
    receptacle_type: str = ""
    lamp_type: str = ""
    states: frozenset[str] = frozenset()
    requires: frozenset[str] = frozenset()
    count: int = 1


@dataclass(frozen=True, slots=True)
class Game:
    """A game; receptacles and objects are in listing order, which is the order of their lower-cased ids."""

    task_id: str
    task_type: str
    task: str
    receptacles: tuple[Receptacle, ...]
    objects: tuple[Object, ...]
    can_contain: frozenset[tuple[str, str]]
    start: int
    goal: Goal
    walkthrough: tuple[str, ...]

    def fingerprint(self) -> str:
        """SHA-256 of everything an episode depends on, without the id and the walkthrough."""
        content = self.to_json()
        del content["task_id"], content["walkthrough"]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """JSON representation for `game_from_json`; unlike a `.tw-pddl` file it contains no code."""
        goal = self.goal
        return {
            "task_id": self.task_id,
            "task_type": self.task_type,
            "task": self.task,
            "receptacles": [[r.id, r.type, r.location, int(r.openable), int(r.opened)] for r in self.receptacles],
            "objects": [
                [o.id, o.type, sorted(o.flags), sorted(o.states), list(o.inside), list(o.locations), list(o.holds)]
                for o in self.objects
            ],
            "can_contain": sorted(map(list, self.can_contain)),
            "start": self.start,
            "goal": [
                goal.kind,
                goal.object_type,
                goal.receptacle_type,
                goal.lamp_type,
                sorted(goal.states),
                sorted(goal.requires),
                goal.count,
            ],
            "walkthrough": list(self.walkthrough),
        }


@lru_cache(maxsize=1024)
def shared(items: frozenset[Item]) -> frozenset[Item]:
    """Deduplicate equal sets across games, which halves the memory of a cached game."""
    return items


def game_from_json(content: dict[str, Any]) -> Game:
    """Restore a game from `Game.to_json`.

    Raises:
        GameFormatError: A field is missing or has the wrong format.
    """
    try:
        receptacle_names = display_names(row[0] for row in content["receptacles"])
        object_names = display_names(row[0] for row in content["objects"])
        kind, object_type, receptacle_type, lamp_type, states, requires, count = content["goal"]
        return Game(
            task_id=content["task_id"],
            task_type=content["task_type"],
            task=content["task"],
            receptacles=tuple(
                Receptacle(id_, intern(type_), receptacle_names[id_], location, bool(openable), bool(opened))
                for id_, type_, location, openable, opened in content["receptacles"]
            ),
            objects=tuple(
                Object(
                    id_, intern(type_), object_names[id_], shared(frozenset(flags)), shared(frozenset(states_)),
                    *map(tuple, rest),
                )
                for id_, type_, flags, states_, *rest in content["objects"]
            ),
            can_contain=shared(frozenset((r, o) for r, o in content["can_contain"])),
            start=content["start"],
            goal=Goal(kind, object_type, receptacle_type, lamp_type, frozenset(states), frozenset(requires), count),
            walkthrough=tuple(content["walkthrough"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise GameFormatError(f"Not a compiled ALFWorld game: {shortened(error)}.") from error


def display_names(ids: Iterable[str]) -> dict[str, str]:
    """Display names such as "cabinet 3" for PDDL ids.

    Sorted ids of a type are numbered in descending order. The type is the part before the first `_bar_`, with the
    suffix `basin` if the id contains it (a sink basin is not a sink).
    """
    by_type: defaultdict[str, list[str]] = defaultdict(list)
    for id_ in ids:
        lowered = id_.lower()
        base = lowered.split("_bar_", 1)[0]
        by_type[base + "basin" if "basin" in lowered and not base.endswith("basin") else base].append(id_)
    names = {}
    for base, members in by_type.items():
        members.sort(key=str.lower)
        for number, id_ in zip(range(len(members), 0, -1), members, strict=True):
            names[id_] = f"{base} {number}"
    return names

"""Samples rooms like ALFWorld's from statistics of its real train games (`scenes.json`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from random import Random
from typing import Any

# The last floor plans of each room are for `valid_unseen` only: no train game plays in them.
UNSEEN_PER_ROOM = 4


@dataclass(frozen=True, slots=True)
class SceneSize:
    """How much of a sampled floor plan is kept.

    Attributes:
        receptacles: Receptacles a room has at the most (beside those that the task needs).
        objects: Things a room has at the most (beside those that the task needs).
        per_type: Receptacles and things of one type at the most.
    """

    receptacles: int
    objects: int
    per_type: int


# "full" is a real floor plan: a kitchen has some forty receptacles and eighty things. "small" keeps the same types,
# texts and rules at about a tenth of the tokens, for policies that train on a laptop.
SCENE_SIZES = {"full": SceneSize(99, 999, 99), "small": SceneSize(7, 7, 2)}
# Always kept, so that a small kitchen still leaves the choice between heating, cooling and cleaning.
_APPLIANCES = ("Fridge", "Microwave", "SinkBasin")


@lru_cache(maxsize=1)
def statistics() -> dict[str, Any]:
    """The committed statistics; see `scripts/alfworld_scenes.py` for how they are made."""
    return json.loads(files("sdar_gym.envs.alfworld").joinpath("scenes.json").read_text(encoding="utf-8"))


def floor_plans(room: str, split: str) -> list[str]:
    """The floor plans of a room that a split may use."""
    plans = sorted(statistics()["rooms"][room]["floor_plans"], key=int)
    return plans[-UNSEEN_PER_ROOM:] if split == "valid_unseen" else plans[:-UNSEEN_PER_ROOM]


def weighted(rng: Random, items: Sequence[Any], weights: Sequence[float]) -> Any:
    """One item; only `Random.random` is used, whose stream is the same in every Python version."""
    total = sum(weights)
    mark = rng.random() * total
    for item, weight in zip(items, weights, strict=True):
        mark -= weight
        if mark < 0:
            return item
    return items[-1]


def shuffled(rng: Random, items: Sequence[Any]) -> list[Any]:
    """The items in random order, by `Random.random` alone."""
    return [items[i] for _, i in sorted((rng.random(), i) for i in range(len(items)))]


def sample_receptacles(rng: Random, room: str, split: str, needed: Sequence[str], size: SceneSize) -> list[str] | None:
    """Receptacle types of one room, or None if no floor plan of this room has all that are needed."""
    plans = statistics()["rooms"][room]["floor_plans"]
    fitting = [plan for plan in floor_plans(room, split) if all(kind in plans[plan] for kind in needed)]
    if not fitting:
        return None
    counts: dict[str, int] = plans[fitting[int(rng.random() * len(fitting))]]
    chosen = list(dict.fromkeys([*needed, *(kind for kind in _APPLIANCES if kind in counts)]))
    others = [kind for kind, n in counts.items() for _ in range(min(n, size.per_type) - (kind in chosen))]
    return chosen + shuffled(rng, others)[: max(0, size.receptacles - len(chosen))]


def sample_objects(rng: Random, room: str, size: SceneSize) -> list[str]:
    """Object types of one room, several of a kind as often as they occur."""
    kinds = []
    for kind, entry in statistics()["rooms"][room]["objects"].items():
        if rng.random() < entry["present"]:
            numbers = list(entry["counts"])
            number = int(weighted(rng, numbers, [entry["counts"][n] for n in numbers]))
            kinds += [kind] * min(number, size.per_type)
    return shuffled(rng, kinds)[: size.objects]


def sample_place(rng: Random, room: str, kind: str, available: Sequence[str], forbidden: str = "") -> str | None:
    """A receptacle type where a thing of this kind lies; "" is nowhere in particular, None if nothing here fits."""
    entry = statistics()["rooms"][room]["objects"].get(kind)
    places = {} if entry is None else entry["places"]
    fitting = [place for place in places if place != forbidden and (place == "" or place in available)]
    return weighted(rng, fitting, [places[place] for place in fitting]) if fitting else None

"""Sampling of rooms from statistics of ALFWorld's train games (`scenes.json`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from random import Random
from typing import Any

# Number of floor plans per room type that are held out for `valid_unseen`.
UNSEEN_PER_ROOM = 4


@dataclass(frozen=True, slots=True)
class SceneSize:
    """Size limits of a sampled room.

    Attributes:
        receptacles: Maximum number of receptacles (not counting those that the task requires).
        objects: Maximum number of objects (not counting those that the task requires).
        per_type: Maximum number of receptacles and objects of a type.
    """

    receptacles: int
    objects: int
    per_type: int


# "full" is a real floor plan: a kitchen has about 40 receptacles and 80 objects. "small" has the same types, texts and
# rules with about a tenth of the tokens, for training on a laptop.
SCENE_SIZES = {"full": SceneSize(99, 999, 99), "small": SceneSize(7, 7, 2)}
# Always included, so that small kitchens also allow heating, cooling and cleaning.
_APPLIANCES = ("Fridge", "Microwave", "SinkBasin")


@lru_cache(maxsize=1)
def statistics() -> dict[str, Any]:
    """The statistics in `scenes.json`, made by `scripts/alfworld_scenes.py`."""
    return json.loads(files("sdar_gym.envs.alfworld").joinpath("scenes.json").read_text(encoding="utf-8"))


def floor_plans(room: str, split: str) -> list[str]:
    """Floor plans of a room type for a split."""
    plans = sorted(statistics()["rooms"][room]["floor_plans"], key=int)
    return plans[-UNSEEN_PER_ROOM:] if split == "valid_unseen" else plans[:-UNSEEN_PER_ROOM]


def weighted(rng: Random, items: Sequence[Any], weights: Sequence[float]) -> Any:
    """A weighted random item; uses only `Random.random`, which is stable across Python versions."""
    total = sum(weights)
    mark = rng.random() * total
    for item, weight in zip(items, weights, strict=True):
        mark -= weight
        if mark < 0:
            return item
    return items[-1]


def shuffled(rng: Random, items: Sequence[Any]) -> list[Any]:
    """The items in random order; uses only `Random.random`."""
    return [items[i] for _, i in sorted((rng.random(), i) for i in range(len(items)))]


def sample_receptacles(rng: Random, room: str, split: str, needed: Sequence[str], size: SceneSize) -> list[str] | None:
    """Sample the receptacle types of a room; None if no floor plan has all required ones."""
    plans = statistics()["rooms"][room]["floor_plans"]
    fitting = [plan for plan in floor_plans(room, split) if all(kind in plans[plan] for kind in needed)]
    if not fitting:
        return None
    counts: dict[str, int] = plans[fitting[int(rng.random() * len(fitting))]]
    chosen = list(dict.fromkeys([*needed, *(kind for kind in _APPLIANCES if kind in counts)]))
    others = [kind for kind, n in counts.items() for _ in range(min(n, size.per_type) - (kind in chosen))]
    return chosen + shuffled(rng, others)[: max(0, size.receptacles - len(chosen))]


def sample_objects(rng: Random, room: str, size: SceneSize) -> list[str]:
    """Sample the object types of a room, with multiplicities."""
    kinds = []
    for kind, entry in statistics()["rooms"][room]["objects"].items():
        if rng.random() < entry["present"]:
            numbers = list(entry["counts"])
            number = int(weighted(rng, numbers, [entry["counts"][n] for n in numbers]))
            kinds += [kind] * min(number, size.per_type)
    return shuffled(rng, kinds)[: size.objects]


def sample_place(rng: Random, room: str, kind: str, available: Sequence[str], forbidden: str = "") -> str | None:
    """Sample the receptacle type of an object; "" for no receptacle, None if no available type fits."""
    entry = statistics()["rooms"][room]["objects"].get(kind)
    places = {} if entry is None else entry["places"]
    fitting = [place for place in places if place != forbidden and (place == "" or place in available)]
    return weighted(rng, fitting, [places[place] for place in fitting]) if fitting else None

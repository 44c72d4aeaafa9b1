"""Generator of ALFWorld games: a room, a satisfiable goal, and a walkthrough, without any download.

The task id (`<size>/<split>/<number>`) determines the game: the same id gives the same game in every process and Python
version.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import lru_cache
from random import Random

from sdar_gym.envs.alfworld.game_source import SPLITS, check_split
from sdar_gym.envs.alfworld.scenes import (
    SCENE_SIZES,
    SceneSize,
    sample_objects,
    sample_place,
    sample_receptacles,
    statistics,
    weighted,
)
from sdar_gym.envs.alfworld.walkthrough import walkthrough
from sdar_gym.envs.alfworld.world import TASK_TYPES, Game, Goal, game_from_json
from sdar_gym.envs.text_env import TaskNotFoundError
from sdar_gym.text import shortened

# Raise whenever a change alters the games of existing ids; frozen panels depend on it.
GENERATOR_VERSION = 1
SPLIT_SIZES = {"train": 60_000, "valid_seen": 1_200, "valid_unseen": 1_200}
# Each wording is about equally frequent in the real games.
_SENTENCES = {
    "pick_and_place_simple": ("put a {o} in {t}.", "put some {o} on {t}."),
    "look_at_obj_in_light": ("look at {o} under the {t}.", "examine the {o} with the {t}."),
    "pick_clean_then_place_in_recep": ("put a clean {o} in {t}.", "clean some {o} and put it in {t}."),
    "pick_heat_then_place_in_recep": ("put a hot {o} in {t}.", "heat some {o} and put it in {t}."),
    "pick_cool_then_place_in_recep": ("put a cool {o} in {t}.", "cool some {o} and put it in {t}."),
    "pick_two_obj_and_place": ("put two {o} in {t}.", "find two {o} and put them in {t}."),
}
_CHANGES = {
    "pick_clean_then_place_in_recep": ("SinkBasin", "isClean", "cleanable"),
    "pick_heat_then_place_in_recep": ("Microwave", "isHot", "heatable"),
    "pick_cool_then_place_in_recep": ("Fridge", "isCool", "coolable"),
}
_NUMBER = re.compile(r"[0-9]{6}")
_BASINS = {"SinkBasin": "Sink", "BathtubBasin": "Bathtub"}


class GeneratedSource:
    """Game source of generated games.

    Args:
        size: `full` (real floor plans) or `small`.
    """

    def __init__(self, size: str):
        if not isinstance(size, str) or size not in SCENE_SIZES:
            raise ValueError(f"Unknown scene size {shortened(size)}; choose one of {', '.join(SCENE_SIZES)}.")
        self._size = size

    @property
    def splits(self) -> tuple[str, ...]:
        """All three splits."""
        return SPLITS

    def task_ids(self, split: str) -> tuple[str, ...]:
        """All task ids of a split; the six task types alternate."""
        check_split(split)
        return _task_ids(self._size, split)

    def load(self, task_id: str) -> Game:
        """Generate the game of a task id."""
        return generate_game(task_id)

    def human_goals(self, task_id: str) -> tuple[str, ...]:
        """Empty: generated games have no human goals."""
        return ()

    def files(self, task_ids: Collection[str]) -> Iterator[tuple[str, str]]:
        """The games as `.tw-pddl` files.

        Raises:
            MissingExtraError: The `alfworld` package, whose domain and grammar are needed, is not installed.
        """
        from sdar_gym.envs.alfworld.export import to_tw_pddl

        for task_id in task_ids:
            yield task_id, to_tw_pddl(generate_game(task_id))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GeneratedSource) and other._size == self._size

    def __hash__(self) -> int:
        return hash((GeneratedSource, self._size))


@lru_cache(maxsize=8)
def _task_ids(size: str, split: str) -> tuple[str, ...]:
    """The ids of a split, shared by all environments of the process."""
    return tuple(f"{size}/{split}/{number:06d}" for number in range(SPLIT_SIZES[split]))


def task_type_of(task_id: str) -> str:
    """Task type of a task id, without generating the game.

    Raises:
        TaskNotFoundError: There is no such id.
    """
    _check_id(task_id)
    return TASK_TYPES[int(task_id.rsplit("/", 1)[1]) % len(TASK_TYPES)]


def generate_game(task_id: str) -> Game:
    """Generate a game.

    Args:
        task_id: `<size>/<split>/<number>`.

    Raises:
        TaskNotFoundError: The id does not have that format or is out of range.
    """
    task_type = task_type_of(task_id)
    parts = task_id.split("/")
    rng = Random(f"sdar-gym alfworld {GENERATOR_VERSION} {task_id}")
    while True:
        game = _try(rng, task_id, parts[1], task_type, SCENE_SIZES[parts[0]])
        if game is not None:
            return game


def _check_id(task_id: str) -> None:
    parts = task_id.split("/")
    known = len(parts) == 3 and parts[0] in SCENE_SIZES and parts[1] in SPLITS
    # Exactly six ASCII digits: "17" would be a second id, with another game, beside "000017".
    if not known or not _NUMBER.fullmatch(parts[2]) or int(parts[2]) >= SPLIT_SIZES[parts[1]]:
        raise TaskNotFoundError(
            f"{shortened(task_id)} is not a generated task; ids are <size>/<split>/<number>, e.g. 'full/train/000017'."
        )


def _try(rng: Random, task_id: str, split: str, task_type: str, size: SceneSize) -> Game | None:
    data = statistics()
    pairs = [(room, o, t, n) for room, goals in data["goals"][task_type].items() for o, t, n in goals]
    room, wanted, target, _ = weighted(rng, pairs, [pair[3] for pair in pairs])
    light = task_type == "look_at_obj_in_light"
    needed = [] if light else [target]
    if task_type in _CHANGES:
        needed.append(_CHANGES[task_type][0])
    kinds = sample_receptacles(rng, room, split, needed, size)
    if kinds is None:
        return None

    copies = 2 if task_type == "pick_two_obj_and_place" else 1
    spare = int(weighted(rng, (0, 1), (0.6, 0.4))) if size.per_type > copies else 0
    required = [wanted] * (copies + spare) + ([target] if light else [])
    things: list[tuple[str, str]] = []
    for kind in required:
        # The goal must not hold at the start: target objects are placed elsewhere. Lamps are not in closed receptacles.
        place = sample_place(rng, room, kind, kinds, forbidden="" if light else target)
        if not place or (kind == "DeskLamp" and place in data["openable"]):
            return None
        things.append((kind, place))
    for kind in sample_objects(rng, room, size):
        if kind in required:
            continue
        place = sample_place(rng, room, kind, kinds)
        if place is not None:
            things.append((kind, place))
    return _build(rng, task_id, task_type, wanted, target, kinds, things)


def _build(
    rng: Random, task_id: str, task_type: str, wanted: str, target: str, kinds: list[str], things: list[tuple[str, str]]
) -> Game:
    data = statistics()
    openable = set(data["openable"])
    receptacles: list[tuple[str, str]] = sorted(
        ((_identifier(rng, kind), kind) for kind in kinds), key=lambda row: row[0].lower()
    )
    # Location 0 is the start in the middle of the room. Some adjacent receptacles share a location, as in real rooms.
    places: list[int] = []
    for position, (_, kind) in enumerate(receptacles):
        beside = position > 0 and receptacles[position - 1][1] == kind and rng.random() < data["shared_place_rate"]
        places.append(places[-1] if beside else max(places, default=0) + 1)
    by_kind: defaultdict[str, list[int]] = defaultdict(list)
    for index, (_, kind) in enumerate(receptacles):
        by_kind[kind].append(index)

    objects = []
    for kind, place in things:
        inside = [by_kind[place][int(rng.random() * len(by_kind[place]))]] if place else []
        flags = data["flags"].get(kind, [])
        cold = place == "Fridge" and "coolable" in flags and rng.random() < data["cold_in_fridge_rate"]
        lying = [places[inside[0]]] if inside else []
        states = ["isCool"] if cold and kind != wanted else []
        objects.append([_identifier(rng, kind), f"{kind}Type", flags, states, inside, lying, []])
    objects.sort(key=lambda row: row[0].lower())

    _, state, requires = _CHANGES.get(task_type, ("", "", ""))
    light = task_type == "look_at_obj_in_light"
    goal = Goal(
        kind="light" if light else "place",
        object_type=f"{wanted}Type",
        receptacle_type="" if light else f"{target}Type",
        lamp_type=f"{target}Type" if light else "",
        states=frozenset([state] if state else []),
        requires=frozenset([requires] if requires else []),
        count=2 if task_type == "pick_two_obj_and_place" else 1,
    )
    sentence = _SENTENCES[task_type][int(rng.random() * 2)].format(o=wanted.lower(), t=target.lower())
    content = {
        "task_id": task_id,
        "task_type": task_type,
        "task": sentence,
        "receptacles": [
            [id_, f"{kind}Type", place, kind in openable, False]
            for (id_, kind), place in zip(receptacles, places, strict=True)
        ],
        "objects": objects,
        "can_contain": [[f"{r}Type", f"{o}Type"] for r, accepted in data["accepts"].items() for o in accepted],
        "start": 0,
        "goal": [goal.kind, goal.object_type, goal.receptacle_type, goal.lamp_type, goal.states, goal.requires,
                 goal.count],
        "walkthrough": [],
    }  # fmt: skip
    game = game_from_json(content)
    return replace(game, walkthrough=walkthrough(game))


def _identifier(rng: Random, kind: str) -> str:
    """Random id in ALFRED's format; its coordinates determine the order of listings."""
    numbers = "_bar_".join(
        f"_{'plus' if rng.random() < 0.5 else 'minus'}_{int(rng.random() * 6):02d}_dot_{int(rng.random() * 100):02d}"
        for _ in range(3)
    )
    basin = _BASINS.get(kind)
    return f"{basin}_bar_{numbers}_bar_{kind}" if basin else f"{kind}_bar_{numbers}"

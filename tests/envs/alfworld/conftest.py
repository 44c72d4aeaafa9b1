"""A small kitchen with all oddities of the ALFRED world, and the real sample games."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdar_gym.envs.alfworld.engine import Engine
from sdar_gym.envs.alfworld.world import Game, game_from_json

FOOD = ["pickupable", "heatable", "coolable", "cleanable", "sliceable"]
DISH = ["pickupable", "heatable", "coolable", "cleanable", "isReceptacleObject"]
TOOL = ["pickupable", "cleanable"]

# Location 0 is the middle of the room; locations 3 and 4 have several receptacles.
RECEPTACLES = [
    ["Cabinet_bar__plus_00_dot_10", "CabinetType", 1, 1, 0],
    ["Cabinet_bar_00_dot_10", "CabinetType", 2, 1, 1],
    ["Cabinet_bar__minus_00_dot_10", "CabinetType", 5, 1, 0],
    ["CounterTop_bar__plus_01_dot_00", "CounterTopType", 3, 0, 0],
    ["CounterTop_bar__minus_01_dot_00", "CounterTopType", 3, 0, 0],
    ["DiningTable_bar__plus_01_dot_00", "DiningTableType", 6, 0, 0],
    ["Drawer_bar__plus_01_dot_00", "DrawerType", 4, 1, 0],
    ["Fridge_bar__plus_01_dot_00", "FridgeType", 7, 1, 0],
    ["Microwave_bar__plus_01_dot_00", "MicrowaveType", 8, 1, 0],
    ["Shelf_bar__plus_01_dot_00", "ShelfType", 3, 0, 0],
    ["SideTable_bar__plus_01_dot_00", "SideTableType", 4, 0, 0],
    ["Sink_bar__plus_01_dot_00_bar_SinkBasin", "SinkBasinType", 9, 0, 0],
    ["Sink_bar__plus_09_dot_00", "SinkType", 10, 0, 0],
    ["TowelHolder_bar__plus_01_dot_00", "TowelHolderType", 11, 0, 0],
]
# id, type, flags, states, listed in, lying at, holding
OBJECTS = [
    ["Apple_bar__plus_01_dot_00", "AppleType", FOOD, [], ["countertop 2"], [3], []],
    ["Apple_bar__minus_01_dot_00", "AppleType", FOOD, [], ["drawer 1"], [4], []],
    ["Bowl_bar__plus_01_dot_00", "BowlType", DISH, [], ["countertop 2"], [3], ["Egg", "Fork"]],
    ["ButterKnife_bar__plus_01_dot_00", "ButterKnifeType", TOOL, [], ["sidetable 1"], [4], []],
    ["DeskLamp_bar__plus_01_dot_00", "DeskLampType", ["toggleable"], [], ["sidetable 1"], [4], []],
    ["Egg_bar__plus_01_dot_00", "EggType", FOOD, ["isCool"], ["fridge 1"], [7], []],
    ["FloorLamp_bar__plus_01_dot_00", "FloorLampType", ["toggleable"], [], [], [4], []],
    ["Fork_bar__plus_01_dot_00", "ForkType", TOOL, [], ["countertop 2"], [3], []],
    ["Knife_bar__plus_01_dot_00", "KnifeType", TOOL, [], ["diningtable 1"], [6], []],
    ["Lettuce_bar__plus_01_dot_00", "LettuceType", FOOD, [], ["cabinet 1"], [1], []],
    ["Mirror_bar__plus_01_dot_00", "MirrorType", [], [], [], [2], []],
    ["Mug_bar__plus_01_dot_00", "MugType", DISH, [], ["countertop 1", "diningtable 1"], [3], []],
    ["Mug_bar__minus_01_dot_00", "MugType", DISH, [], [], [2], []],
    ["Mug_bar__minus_02_dot_00", "MugType", DISH, [], ["cabinet 1"], [1], []],
    ["Towel_bar__plus_01_dot_00", "TowelType", ["pickupable"], [], ["towelholder 1"], [11], []],
]
ACCEPTED = {
    "CabinetType": ["BowlType", "MugType"],
    "CounterTopType": ["AppleType", "BowlType", "ButterKnifeType", "EggType", "ForkType", "KnifeType", "MugType"],
    "DiningTableType": ["AppleType", "BowlType", "EggType", "ForkType", "KnifeType", "MugType"],
    "DrawerType": ["ForkType", "KnifeType"],
    "FridgeType": ["AppleType", "EggType", "MugType"],
    "ShelfType": ["AppleType", "BowlType", "ForkType"],
    "SideTableType": ["AppleType", "ForkType", "KnifeType"],
    "TowelHolderType": ["TowelType"],
}
NO_GOAL_YET = ["place", "AppleType", "ShelfType", "", [], [], 1]


def kitchen_json(goal: list[Any] | None = None, **fields: Any) -> dict[str, Any]:
    """The compiled kitchen; its default goal, an apple on the shelf, does not hold at the start."""
    rooms = copy.deepcopy(RECEPTACLES)
    things = sorted(copy.deepcopy(OBJECTS), key=lambda row: row[0].lower())
    kinds = [row[0].split("_bar_")[0] for row in things]
    return {
        "task_id": "train/kitchen/1",
        "task_type": "pick_and_place_simple",
        "task": "put a apple in shelf.",
        "receptacles": rooms,
        "objects": [
            [id_, type_, flags, states, [_POSITION[name] for name in inside], lying, [kinds.index(k) for k in holding]]
            for id_, type_, flags, states, inside, lying, holding in things
        ],
        "can_contain": [[accepting, kind] for accepting, accepted in ACCEPTED.items() for kind in accepted],
        "start": 0,
        "goal": goal or NO_GOAL_YET,
        "walkthrough": [],
        **fields,
    }


RECEPTACLES.sort(key=lambda row: row[0].lower())
_POSITION = {
    name: position
    for position, name in enumerate(
        (
            "cabinet 3", "cabinet 2", "cabinet 1", "countertop 2", "countertop 1", "diningtable 1", "drawer 1",
            "fridge 1", "microwave 1", "shelf 1", "sidetable 1", "sinkbasin 1", "sink 1", "towelholder 1",
        )
    )
}  # fmt: skip


@pytest.fixture
def make_kitchen() -> Callable[..., Game]:
    return lambda *arguments, **fields: game_from_json(kitchen_json(*arguments, **fields))


@pytest.fixture
def pddl_fields() -> dict[str, Any]:
    """The content of a minimal hand-written `.tw-pddl` file."""
    problem = """
    (define (problem small)
      (:domain alfred)
      (:objects
        agent1 - agent
        Apple - object
        Fridge_bar__plus_01 - receptacle
        Cabinet_bar__minus_01 - receptacle
        Cabinet_bar__plus_01 - receptacle
        FridgeType - rtype
        CabinetType - rtype
        AppleType - otype
        Mug_bar__plus_01 - object
        Apple_bar__plus_01 - object
        Apple_bar_00 - object
        loc_bar_0 - location
        loc_bar_1 - location
        loc_bar_2 - location
      )
      (:init
        (receptacleType Fridge_bar__plus_01 FridgeType)
        (receptacleType Cabinet_bar__minus_01 CabinetType)
        (receptacleType Cabinet_bar__plus_01 CabinetType)
        (objectType Apple_bar__plus_01 AppleType)
        (objectType Apple_bar_00 AppleType)
        (objectType Mug_bar__plus_01 MugType)
        (receptacleAtLocation Fridge_bar__plus_01 loc_bar_1)
        (receptacleAtLocation Cabinet_bar__minus_01 loc_bar_2)
        (receptacleAtLocation Cabinet_bar__plus_01 loc_bar_2)
        (objectAtLocation Apple_bar__plus_01 loc_bar_2)
        (objectAtLocation Apple_bar_00 loc_bar_1)
        (openable Fridge_bar__plus_01)
        (opened Fridge_bar__plus_01)
        (pickupable Apple_bar__plus_01)
        (pickupable Apple_bar_00)
        (heatable Apple_bar__plus_01)
        (canContain FridgeType AppleType)
        (inReceptacle Apple_bar__plus_01 Cabinet_bar__plus_01)
        (inReceptacle Apple_bar_00 Fridge_bar__plus_01)
        (isCool Apple_bar_00)
        (atLocation agent1 loc_bar_0)
      )
      (:goal (and (exists (?r - receptacle) (exists (?o1 - object) (and
        (objectType ?o1 AppleType) (receptacleType ?r FridgeType) (inReceptacle ?o1 ?r)
        (exists (?o2 - object) (and (not (= ?o1 ?o2))
          (objectType ?o2 AppleType) (receptacleType ?r FridgeType) (inReceptacle ?o2 ?r)))))))))
    """
    grammar = 'grammar :: """ {"task": [ {"rhs": "Your task is to: put two \\"red\\" apple in fridge."} ]} """;'
    walkthrough = ["go to cabinet 1", "take apple 1 from cabinet 1", "go to fridge 1", "move apple 1 to fridge 1"]
    return {"pddl_domain": "", "grammar": grammar, "pddl_problem": problem, "walkthrough": walkthrough}


@pytest.fixture
def write_game(pddl_fields: dict[str, Any]) -> Callable[..., Path]:
    """Writes the minimal game, with changes, as `<root>/<task id>/game.tw-pddl`."""

    def write(root: Path, task_id: str = "train/fetch/trial_1", **changes: Any) -> Path:
        file = root / task_id / "game.tw-pddl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({**pddl_fields, **changes}), encoding="utf-8")
        return file

    return write


@pytest.fixture(scope="session")
def sample_games(data_dir: Callable[[str], Path]) -> Path:
    """The folder of twelve real games, two of each type."""
    folder = data_dir("alfworld") / "sample"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there; it should hold json_2.1.1/valid_seen with two games of each type")
    return folder


@pytest.fixture
def engine(make_kitchen: Callable[..., Game]) -> Engine:
    return Engine(make_kitchen())

"""Generated and real games: solvable, not solved at the start, deterministic, and disjoint between splits."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from sdar_gym.envs import TaskNotFoundError
from sdar_gym.envs.alfworld.engine import Engine
from sdar_gym.envs.alfworld.game_source import SPLITS
from sdar_gym.envs.alfworld.generator import (
    GENERATOR_VERSION,
    SPLIT_SIZES,
    GeneratedSource,
    generate_game,
    task_type_of,
)
from sdar_gym.envs.alfworld.scenes import SCENE_SIZES, floor_plans, statistics
from sdar_gym.envs.alfworld.sources import open_source
from sdar_gym.envs.alfworld.walkthrough import walkthrough
from sdar_gym.envs.alfworld.world import TASK_TYPES, Game, GameFormatError, game_from_json

# Pinned: a change requires a new GENERATOR_VERSION, since evaluation panels are lists of these ids.
FINGERPRINTS = {
    "full/train/000017": "f940142ec488e10b",
    "full/valid_seen/000003": "4f6e87139ebe3c78",
    "full/valid_unseen/001199": "65ec653adda9cfec",
    "small/train/059999": "fd992a4f0fd436e2",
    "small/valid_seen/000010": "6ebc85724a424a0b",
    "small/valid_unseen/000000": "48e1c727732543f4",
}
# A prime step, so that all six alternating task types occur.
STRIDES = {"train": 1499, "valid_seen": 29, "valid_unseen": 29}


def some_ids(size: str, split: str) -> list[str]:
    return [f"{size}/{split}/{number:06d}" for number in range(0, SPLIT_SIZES[split], STRIDES[split])][:40]


def assert_won_by_the_last_command(game: Game) -> None:
    engine = Engine(game)
    assert game.walkthrough
    for command in game.walkthrough:
        assert not engine.won
        _, admissible = engine.act(command)
        assert admissible, command
    assert engine.won


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("size", SCENE_SIZES)
def test_generated_games_are_won_by_their_walkthroughs_and_not_before(size: str, split: str) -> None:
    games = [generate_game(task_id) for task_id in some_ids(size, split)]
    assert len(games) == 40
    assert {game.task_type for game in games} == set(TASK_TYPES)
    for game in games:
        assert_won_by_the_last_command(game)
        assert game.task_type == task_type_of(game.task_id)
        assert game_from_json(game.to_json()) == game


def test_ids_give_the_same_games_as_ever() -> None:
    assert GENERATOR_VERSION == 1
    assert {task_id: generate_game(task_id).fingerprint()[:16] for task_id in FINGERPRINTS} == FINGERPRINTS
    assert generate_game("small/train/000003").walkthrough == (
        "go to countertop 1", "take potato 2 from countertop 1", "go to microwave 1", "heat potato 2 with microwave 1",
        "go to diningtable 2", "move potato 2 to diningtable 2",
    )  # fmt: skip


@pytest.mark.parametrize("hash_seed", ["1", "4242"])
def test_other_processes_give_the_same_games(hash_seed: str) -> None:
    program = (
        "import sys; from sdar_gym.envs.alfworld.generator import generate_game\n"
        "for task_id in sys.argv[1:]: print(generate_game(task_id).fingerprint()[:16])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, *FINGERPRINTS],
        env={**os.environ, "PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert ran.stdout.split() == list(FINGERPRINTS.values())


@pytest.mark.parametrize("size", SCENE_SIZES)
def test_no_game_is_in_two_splits(size: str) -> None:
    games = {split: {generate_game(id_).fingerprint() for id_ in some_ids(size, split)} for split in SPLITS}
    assert len(set.union(*games.values())) == sum(map(len, games.values())) == 120


def test_no_floor_plan_of_train_is_in_valid_unseen() -> None:
    for room, entry in statistics()["rooms"].items():
        train, unseen = floor_plans(room, "train"), floor_plans(room, "valid_unseen")
        assert len(unseen) == 4
        assert not set(train) & set(unseen)
        assert set(train) | set(unseen) == set(entry["floor_plans"])
        assert floor_plans(room, "valid_seen") == train


@pytest.mark.parametrize("split", SPLITS)
def test_full_rooms_are_floor_plans_of_their_split(split: str) -> None:
    allowed = [
        Counter(entry["floor_plans"][plan])
        for room, entry in statistics()["rooms"].items()
        for plan in floor_plans(room, split)
    ]
    for task_id in some_ids("full", split):
        kinds = Counter(r.type.removesuffix("Type") for r in generate_game(task_id).receptacles)
        assert kinds in allowed, task_id


def test_small_rooms_are_small() -> None:
    for task_id in some_ids("small", "train"):
        game = generate_game(task_id)
        assert len(game.receptacles) <= 7
        assert len(game.objects) <= 7 + 3  # besides those that the task needs
        full = generate_game(task_id.replace("small", "full"))
        assert len(full.receptacles) + len(full.objects) > len(game.receptacles) + len(game.objects)


def test_task_types_take_turns_in_every_split() -> None:
    source = GeneratedSource("small")
    for split in SPLITS:
        ids = source.task_ids(split)
        assert len(set(ids)) == len(ids) == SPLIT_SIZES[split]
        assert ids[7] == f"small/{split}/000007"
        assert [task_type_of(id_) for id_ in ids[:6]] == list(TASK_TYPES)


@pytest.mark.parametrize(
    "task_id",
    ["", "full/train", "full/train/17", "full/train/0000017", "full/train/00001x", "full/train/-00001",
     "full/train/060000", "full/test/000001", "huge/train/000001", "full/train/\u0661\u0661\u0661\u0661\u0661\u0661",
     "full/train/000001/x", "full/train/000001\n"],
)  # fmt: skip
def test_other_ids_are_refused(task_id: str) -> None:
    with pytest.raises(TaskNotFoundError, match="full/train/000017"):
        generate_game(task_id)


def test_other_sizes_and_splits_are_refused() -> None:
    with pytest.raises(ValueError, match="'huge'; choose one of full, small"):
        GeneratedSource("huge")
    with pytest.raises(TaskNotFoundError, match="'test'; ALFWorld has train, valid_seen, valid_unseen"):
        GeneratedSource("small").task_ids("test")


@pytest.mark.parametrize(
    ("goal", "missing"),
    [
        (["place", "PianoType", "ShelfType", "", [], [], 1], "no PianoType to take"),
        (["place", "AppleType", "PianoType", "", [], [], 1], "no PianoType"),
        (["place", "AppleType", "TowelHolderType", "", [], [], 1], "'move apple 2 to towelholder 1' is not admissible"),
        (["place", "KnifeType", "CounterTopType", "", [], [], 2], "no KnifeType to take"),
        (["light", "AppleType", "", "FloorLampType", [], [], 1], "no FloorLampType stands anywhere"),
    ],
)
def test_the_expert_says_why_a_game_cannot_be_won(
    make_kitchen: Callable[..., Game], goal: list[object], missing: str
) -> None:
    with pytest.raises(GameFormatError, match=missing):
        walkthrough(make_kitchen(goal))


@pytest.mark.parametrize("damage", [{"objects": None}, {"receptacles": [["Shelf_bar_1"]]}, {"goal": ["place"]}])
def test_a_damaged_compiled_game_is_refused(make_kitchen: Callable[..., Game], damage: dict[str, object]) -> None:
    with pytest.raises(GameFormatError, match="Not a compiled ALFWorld game"):
        game_from_json({**make_kitchen().to_json(), **damage})


@pytest.mark.data
def test_the_sample_games_are_won_by_their_walkthroughs_and_not_before(sample_games: Path) -> None:
    source = open_source(sample_games)
    ids = source.task_ids("valid_seen")
    games = [source.load(task_id) for task_id in ids]
    assert Counter(game.task_type for game in games) == dict.fromkeys(TASK_TYPES, 2)
    for game in games:
        assert_won_by_the_last_command(game)
        assert game.task_type == game.task_id.split("/")[1].split("-")[0]
        assert game.task.endswith(".")
        assert game_from_json(game.to_json()) == game


@pytest.mark.data
def test_the_expert_wins_the_sample_games(sample_games: Path) -> None:
    source = open_source(sample_games)
    for task_id in source.task_ids("valid_seen"):
        game = source.load(task_id)
        engine = Engine(game)
        for command in walkthrough(game):
            engine.act(command)
        assert engine.won, task_id

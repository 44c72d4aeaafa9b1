"""Goal conditions, and human-written goals."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from kitchen_play import FETCH_APPLE, FETCH_MUG, play

import sdar_gym.envs  # noqa: F401  registers the environment
from sdar_gym.envs import TaskNotFoundError
from sdar_gym.envs.alfworld.engine import Engine
from sdar_gym.envs.alfworld.generator import generate_game
from sdar_gym.envs.alfworld.reward import goal_conditions
from sdar_gym.envs.alfworld.world import Game, GameFormatError

ENV_ID = "sdar/ALFWorld-v0"
GAME = "train/fetch/trial_1"


def test_placing_one_thing_is_one_condition(make_kitchen: Callable[..., Game]) -> None:
    engine = Engine(make_kitchen())
    assert goal_conditions(engine) == (0, 1)
    play(engine, *FETCH_APPLE, "move apple 1 to shelf 1")
    assert goal_conditions(engine) == (1, 1)
    assert engine.won


def test_two_things_count_only_in_the_same_place(make_kitchen: Callable[..., Game]) -> None:
    engine = Engine(make_kitchen(["place", "MugType", "CabinetType", "", [], [], 2]))
    assert goal_conditions(engine) == (1, 2)  # A mug is in cabinet 1.
    play(engine, *FETCH_MUG, "go to cabinet 2", "open cabinet 2", "move mug 1 to cabinet 2")
    assert goal_conditions(engine) == (1, 2)
    play(engine, "take mug 1 from cabinet 2", "go to cabinet 1", "open cabinet 1", "move mug 1 to cabinet 1")
    assert goal_conditions(engine) == (2, 2)
    assert engine.won


def test_a_changed_thing_has_three_conditions(make_kitchen: Callable[..., Game]) -> None:
    engine = Engine(make_kitchen(["place", "AppleType", "DiningTableType", "", ["isHot"], ["heatable"], 1]))
    assert goal_conditions(engine) == (0, 3)
    play(engine, *FETCH_APPLE, "go to microwave 1", "heat apple 1 with microwave 1")
    assert goal_conditions(engine) == (1, 3)
    # Placing and heating are satisfied, but by different apples.
    play(engine, "go to countertop 2", "move apple 1 to countertop 2", "go to drawer 1", "open drawer 1")
    play(engine, "take apple 2 from drawer 1", "go to diningtable 1", "move apple 2 to diningtable 1")
    assert goal_conditions(engine) == (2, 3)
    assert not engine.won
    play(engine, *FETCH_APPLE, "go to diningtable 1", "move apple 1 to diningtable 1")
    assert goal_conditions(engine) == (3, 3)
    assert engine.won


def test_the_lamp_has_two_conditions(make_kitchen: Callable[..., Game]) -> None:
    engine = Engine(make_kitchen(["light", "MugType", "", "DeskLampType", [], [], 1]))
    assert goal_conditions(engine) == (0, 2)
    play(engine, *FETCH_MUG)
    assert goal_conditions(engine) == (1, 2)
    play(engine, "go to sidetable 1", "use desklamp 1")
    assert goal_conditions(engine) == (2, 2)
    assert engine.won
    play(engine, "go to fridge 1")
    assert goal_conditions(engine) == (1, 2)  # The lamp is lit, but elsewhere.


@pytest.mark.parametrize("number", range(12))
def test_all_conditions_hold_exactly_when_a_game_is_won(number: int) -> None:
    game = generate_game(f"small/train/{number:06d}")
    engine = Engine(game)
    for command in game.walkthrough:
        met, total = goal_conditions(engine)
        assert 0 <= met < total
        engine.act(command)
    met, total = goal_conditions(engine)
    assert met == total
    assert engine.won


def annotate(game_file: Path, *sentences: str) -> None:
    content = {"turk_annotations": {"anns": [{"task_desc": sentence} for sentence in sentences]}}
    (game_file.parent / "traj_data.json").write_text(json.dumps(content))


def packed(folder: Path, archive: Path) -> Path:
    with tarfile.open(archive, "w:xz") as tar:
        tar.add(folder / "train", "json_2.1.1/train")
    return archive


@pytest.mark.parametrize("archived", [False, True])
def test_people_s_goals_take_the_place_of_the_sentence(
    archived: bool, write_game: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    annotate(write_game(tmp_path / "games"), "Chill two\napples.", "Fill the fridge with fruit", "Apples away!")
    games = packed(tmp_path / "games", tmp_path / "train.tar.xz") if archived else tmp_path / "games"
    env: Any = gymnasium.make(ENV_ID, games=games, goals="human").unwrapped
    goals = [env.reset(options={"task_id": f"{GAME}#{number}"})[1]["goal"] for number in range(3)]
    assert goals == ["Chill two apples.", "Fill the fridge with fruit", "Apples away!"]
    observation, info = env.reset(options={"task_id": GAME})
    assert info["goal"] in goals
    assert info["task_id"] == GAME
    assert observation.endswith(f"Your task is to: {info['goal']}")
    assert env.reset(seed=99)[1]["goal"] == info["goal"]  # Determined by the id, not the seed.
    assert env.task_ids() == (GAME,)
    for bad in ("#3", "#", "#x", "#-1"):
        with pytest.raises(TaskNotFoundError, match="#0 to #2"):
            env.reset(options={"task_id": GAME + bad})


def test_games_without_human_goals_raise(write_game: Callable[..., Path], tmp_path: Path) -> None:
    file = write_game(tmp_path)
    env = gymnasium.make(ENV_ID, games=tmp_path, goals="human")
    with pytest.raises(TaskNotFoundError, match=r"no traj_data\.json"):
        env.reset(seed=0)
    with pytest.raises(TaskNotFoundError, match=r"no traj_data\.json"):
        gymnasium.make(ENV_ID, games="generated", goals="human").reset(seed=0)
    (file.parent / "traj_data.json").write_text("{}")
    with pytest.raises(GameFormatError, match=r"traj_data\.json is not a readable ALFRED trajectory"):
        env.reset(seed=0)


@pytest.mark.parametrize("archived", [False, True])
def test_half_a_character_in_a_goal_becomes_one_that_can_be_encoded(
    archived: bool, write_game: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    annotate(write_game(tmp_path / "games"), "look \ud83d at it", " \n ", "go \ud83d\ude00")
    games = packed(tmp_path / "games", tmp_path / "train.tar.xz") if archived else tmp_path / "games"
    env = gymnasium.make(ENV_ID, games=games, goals="human")
    texts = [env.reset(options={"task_id": f"{GAME}#{number}"}) for number in range(2)]
    assert [info["goal"] for _, info in texts] == ["look \ufffd at it", "go \U0001f600"]
    assert all(observation.encode() for observation, _ in texts)
    with pytest.raises(TaskNotFoundError, match="has 2 human goals"):
        env.reset(options={"task_id": f"{GAME}#2"})  # The blank sentence is skipped.


@pytest.mark.parametrize("number", ["٣", "01", "9" * 5000, "1 ", "+1", "1e0"])
def test_a_goal_s_number_has_one_form(number: str, write_game: Callable[..., Path], tmp_path: Path) -> None:
    annotate(write_game(tmp_path), *["go"] * 5)
    env = gymnasium.make(ENV_ID, games=tmp_path, goals="human")
    with pytest.raises(TaskNotFoundError, match="5 human goals, #0 to #4"):
        env.reset(options={"task_id": f"{GAME}#{number}"})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            '{"turk_annotations": {"anns": [{"task_desc": 5}]}}',
            "a task_desc in turk_annotations.anns is not a text but 5",
        ),
        ('{"turk_annotations": {"anns": [5]}}', "no list turk_annotations.anns"),
        ('{"turk_annotations": {"anns": null}}', "no list turk_annotations.anns"),
        ('{"turk_annotations": []}', "no list turk_annotations.anns"),
        ("[1]", r"not a JSON object but \[1\]"),
        ("[" * 100_000, "nested too deeply"),
        ("\udcff", "is not UTF-8 from byte 0 on"),
        (" " * (16 << 20) + "{}", "has more than 16,777,216 bytes"),
    ],
    ids=range(8),
)
def test_a_damaged_trajectory_is_named(
    content: str, says: str, write_game: Callable[..., Path], tmp_path: Path
) -> None:
    file = write_game(tmp_path).parent / "traj_data.json"
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    env = gymnasium.make(ENV_ID, games=tmp_path, goals="human")
    with pytest.raises(GameFormatError, match=says) as refused:
        env.reset(seed=0)
    assert str(file) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.data
def test_the_real_sample_has_people_s_goals(sample_games: Path) -> None:
    env: Any = gymnasium.make(ENV_ID, games=sample_games, split="valid_seen", goals="human").unwrapped
    task = next(id_ for id_ in env.task_ids() if "Apple-None-CounterTop" in id_)
    assert env.reset(options={"task_id": f"{task}#1"})[1]["goal"] == "Get an apple and place it on the counter"

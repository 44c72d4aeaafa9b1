"""`sdar/ALFWorld-v0` through Gymnasium: making, seeding, pickling, vectors and errors."""

from __future__ import annotations

import copy
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import sdar_gym.envs
from sdar_gym.envs import TaskNotFoundError
from sdar_gym.envs.alfworld.env import ALFWorldEnv
from sdar_gym.envs.alfworld.game_source import MissingGamesError
from sdar_gym.envs.alfworld.generator import generate_game
from sdar_gym.envs.alfworld.world import TASK_TYPES

ENV_ID = "sdar/ALFWorld-v0"
TASK = "small/train/000003"


@pytest.fixture(autouse=True)
def no_games_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)


def record(env: gymnasium.Env[str, str], commands: tuple[str, ...], **reset: Any) -> list[Any]:
    return [env.reset(**reset), *(env.step(command) for command in commands)]


@pytest.mark.parametrize("scene", ["full", "small"])
def test_gymnasium_finds_nothing_to_complain_about(scene: str) -> None:
    check_env(gymnasium.make(ENV_ID, scene=scene, render_mode="ansi").unwrapped)


def test_it_is_registered_with_its_prompts_and_skills() -> None:
    entry = sdar_gym.envs.entry_of(ENV_ID)
    assert entry.skills == "alfworld"
    env = gymnasium.make("sdar_gym:" + ENV_ID, scene="small", max_steps=7)
    assert isinstance(env.unwrapped, ALFWorldEnv)
    assert env.spec is not None
    remade = gymnasium.make(env.spec)
    assert record(remade, ("look",), seed=5) == record(env, ("look",), seed=5)


def test_a_walkthrough_wins_with_its_last_step() -> None:
    game = generate_game(TASK)
    env = gymnasium.make(ENV_ID, scene="small", success_reward=10)
    observation, info = env.reset(options={"task_id": TASK})
    assert observation.endswith(f"Your task is to: {game.task}")
    assert info == {
        "task_id": TASK,
        "task_type": "pick_heat_then_place_in_recep",
        "split": "train",
        "goal": game.task,
        "admissible_actions": info["admissible_actions"],
        "action_valid": True,
        "score": 0.0,
        "won": False,
        "turn": 0,
        "goal_condition_rate": 0.0,
    }
    steps = [env.step(command) for command in game.walkthrough]
    assert [step[1] for step in steps] == [0.0] * 5 + [10.0]
    assert [step[2] for step in steps] == [False] * 5 + [True]
    assert not any(step[3] for step in steps)
    assert all(step[4]["action_valid"] for step in steps)
    assert steps[-1][4]["won"]
    assert steps[-1][4]["score"] == 1.0
    assert steps[-1][4]["turn"] == 6
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.unwrapped.step("look")


def test_the_time_limit_truncates_and_nonsense_counts() -> None:
    env = gymnasium.make(ENV_ID, scene="small", max_steps=3)
    first = env.reset(options={"task_id": TASK})[1]
    for turn, text in enumerate(("", "\u200blook", "fly to the moon"), start=1):
        observation, reward, terminated, truncated, info = env.step(text)
        assert (observation, reward, terminated, truncated) == ("Nothing happens.", 0.0, False, turn == 3)
        assert not info["action_valid"]
        assert info["admissible_actions"] == first["admissible_actions"]


def test_winning_with_the_last_turn_is_not_truncation() -> None:
    env = gymnasium.make(ENV_ID, scene="small", max_steps=6)
    steps = record(env, generate_game(TASK).walkthrough, options={"task_id": TASK})
    assert steps[-1][2:4] == (True, False)


def test_seed_and_task_id_decide_everything() -> None:
    one, other = gymnasium.make(ENV_ID), gymnasium.make(ENV_ID)
    commands = ("look", "nonsense", "inventory")
    assert record(one, commands, seed=11) == record(other, commands, seed=11)
    assert record(one, commands) == record(other, commands)  # the seed goes on through later episodes
    assert one.reset(seed=11)[1]["task_id"] != one.reset(seed=12)[1]["task_id"]
    task_id = one.reset(seed=12)[1]["task_id"]
    by_id = other.reset(seed=3, options={"task_id": task_id})
    assert by_id == one.reset(seed=4, options={"task_id": task_id})
    assert one.reset(seed=12) == by_id


def test_a_running_episode_survives_pickling_and_copying() -> None:
    env = gymnasium.make(ENV_ID)
    env.reset(seed=1)
    game = generate_game(env.get_wrapper_attr("_task").task_id)
    for command in game.walkthrough[:3]:
        env.step(command)
    pickled = pickle.dumps(env)
    assert len(pickled) < 500_000  # the game, not the sixty thousand ids of its split
    for twin in (pickle.loads(pickled), copy.deepcopy(env)):
        steps = [twin.step(command) for command in game.walkthrough[3:]]
        assert [(step[1], step[2]) for step in steps] == [(0.0, False)] * (len(steps) - 1) + [(1.0, True)]
        assert record(twin, ("look",), seed=2) == record(gymnasium.make(ENV_ID), ("look",), seed=2)
    assert env.step("help")[4]["turn"] == 4  # the original did not move


def test_closing_twice_is_fine() -> None:
    env = gymnasium.make(ENV_ID, scene="small")
    env.reset(seed=1)
    env.close()
    env.close()
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.unwrapped.step("look")


def test_a_split_can_be_asked_for_at_reset() -> None:
    env = gymnasium.make(ENV_ID, scene="small", split="valid_seen")
    assert env.reset(seed=1)[1]["split"] == "valid_seen"
    info = env.reset(options={"split": "valid_unseen"})[1]
    assert info["split"] == "valid_unseen"
    assert info["task_id"].startswith("small/valid_unseen/")


def test_task_types_can_be_chosen() -> None:
    env = ALFWorldEnv(scene="small", task_types=TASK_TYPES[2:4])
    assert len(env.task_ids()) == 20_000
    assert {env.reset(seed=seed)[1]["task_type"] for seed in range(20)} == set(TASK_TYPES[2:4])


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"task": TASK}, "Unknown reset option.*'task'.*'task_id' and 'split'"),
        ({"task_id": "small/train/3"}, "'small/train/3' is not a generated task"),
        ({"task_id": 3}, "'task_id' must be a str, got 3"),
        ({"task_id": [TASK]}, "'task_id' must be a str, got \\['small/train/000003'\\]"),
        ({"split": "test"}, "Unknown split 'test'; ALFWorld has train"),
        ({"split": ("train",)}, "'split' must be a str"),
    ],
)
def test_wrong_options_are_refused_and_the_running_episode_goes_on(options: dict[str, Any], complaint: str) -> None:
    env = gymnasium.make(ENV_ID, scene="small")
    env.reset(options={"task_id": TASK})
    with pytest.raises(ValueError, match=complaint):
        env.reset(options=options)
    assert env.step("go to countertop 1")[4]["task_id"] == TASK


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"scene": "tiny"}, "Unknown scene size 'tiny'; choose one of full, small"),
        ({"split": "test"}, "Unknown split 'test'"),
        ({"task_types": "pick"}, "Unknown ALFWorld task type.*\\['pick'\\]; choose from pick_and_place_simple"),
        ({"task_types": 5}, "task_types must be a list of texts, got 5"),
        ({"task_types": [3]}, "task_types must be a list of texts, got \\[3\\]"),
        ({"task_types": {"pick": 1}}, "task_types must be a list of texts"),
        ({"task_types": []}, "Unknown ALFWorld task type.*choose from pick_and_place_simple"),
        ({"scene": ["small"]}, "Unknown scene size \\['small'\\]"),
        ({"scene": 3}, "Unknown scene size 3"),
        ({"scene": None}, "Unknown scene size None"),
        ({"split": ["train"]}, "Unknown split \\['train'\\]"),
        ({"split": ""}, "Unknown split ''"),
        ({"split": None}, "Unknown split None"),
        ({"goals": ["human"]}, "Unknown goals \\['human'\\]; choose one of templated, human"),
        ({"backend": 0}, "Unknown backend 0; choose one of native, textworld"),
        ({"success_reward": "abc"}, "success_reward must be a finite number, got 'abc'"),
        ({"success_reward": float("nan")}, "success_reward must be a finite number, got nan"),
        ({"success_reward": None}, "success_reward must be a finite number, got None"),
        ({"success_reward": True}, "success_reward must be a finite number, got True"),
        ({"max_steps": "5"}, "max_steps must be a whole number of at least 1, got '5'"),
        ({"max_steps": float("nan")}, "max_steps must be a whole number of at least 1, got nan"),
        ({"games": ""}, "games must be a path"),
        ({"games": 5}, "games must be a path, got 5"),
        ({"games": "s3://bucket/games"}, "games must be a local or mounted folder"),
        ({"games": "~nosuchuser/games"}, "games='~nosuchuser/games' cannot be resolved"),
        ({"games": "x" * 5000}, "games must be a path of 1 to 4096 characters"),
        ({"task_types": ["pick"]}, "Unknown ALFWorld task type.*'pick'.*choose from pick_and_place_simple"),
        ({"max_steps": 0}, "max_steps must be a whole number of at least 1"),
        ({"games": "/no/such/folder"}, "No such folder or archive"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        gymnasium.make(ENV_ID, **arguments)


def test_one_task_type_is_a_list_of_one() -> None:
    env = ALFWorldEnv(scene="small", task_types="pick_heat_then_place_in_recep")
    assert {env.reset(seed=seed)[1]["task_type"] for seed in range(5)} == {"pick_heat_then_place_in_recep"}
    assert ALFWorldEnv(task_types=set(TASK_TYPES[:2])).task_ids() == ALFWorldEnv(task_types=TASK_TYPES[:2]).task_ids()  # pyright: ignore


def test_numbers_of_numpy_are_taken_as_such() -> None:
    env = gymnasium.make(ENV_ID, scene="small", max_steps=np.int64(1), success_reward=np.float32(2.0))
    env.reset(seed=0)
    _, reward, _, truncated, _ = env.step("look")
    assert (type(reward), truncated is True) == (float, True)


@pytest.mark.parametrize(
    "options",
    [{"task_id": TASK, "split": "valid_unseen"}, {"task_id": TASK, "split": "test"}, {"split": ""}, [], "abc"],
)
def test_options_that_contradict_each_other_are_refused(options: Any) -> None:
    env = gymnasium.make(ENV_ID, scene="small").unwrapped
    with pytest.raises(ValueError, match=r"split|dict"):
        env.reset(options=options)
    assert env.reset(options={"task_id": TASK, "split": "train"})[1]["task_id"] == TASK


def test_other_ids_have_no_type_and_the_empty_split_is_none() -> None:
    env = ALFWorldEnv(scene="small")
    for wrong in ("", "nonsense", "small/train/x", "small/train/999999"):
        with pytest.raises(TaskNotFoundError, match="is not a generated task"):
            env.task_type(wrong)
    for split in ("", ["train"], 3):
        with pytest.raises(TaskNotFoundError, match="Unknown split"):
            env.task_ids(split)  # pyright: ignore[reportArgumentType]


def test_relative_games_mean_the_folder_of_then(
    tmp_path: Path, write_game: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_game(tmp_path / "games", "train/fetch/trial_1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "packed").mkdir()
    with zipfile.ZipFile(tmp_path / "packed" / "train.zip", "w") as file:
        file.write(tmp_path / "games/train/fetch/trial_1/game.tw-pddl", "train/fetch/trial_1/game.tw-pddl")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALFWORLD_DATA", "games")
    made = [ALFWorldEnv(games=games) for games in ("games", "packed", "packed/train.zip", None)]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("ALFWORLD_DATA", "/nowhere")
    for env in made:
        for twin in (env, copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
            assert twin.task_ids("train") == ("train/fetch/trial_1",)
            assert twin.reset(seed=0)[1]["task_id"] == "train/fetch/trial_1"


@pytest.mark.parametrize(
    ("mode", "settings"), [("sync", None), ("async", {"shared_memory": False, "context": "spawn"})]
)
def test_two_environments_in_a_vector(mode: str, settings: dict[str, Any] | None) -> None:
    envs = gymnasium.make_vec(
        ENV_ID, num_envs=2, vectorization_mode=mode, vector_kwargs=settings, scene="small", max_steps=2
    )
    single = [gymnasium.make(ENV_ID, scene="small", max_steps=2) for _ in range(2)]
    try:
        observations, infos = envs.reset(seed=[1, 2])
        expected = [env.reset(seed=seed) for env, seed in zip(single, (1, 2), strict=True)]
        assert list(observations) == [observation for observation, _ in expected]
        assert list(infos["task_id"]) == [info["task_id"] for _, info in expected]
        for turn in (1, 2):
            observations, _, terminated, truncated, infos = envs.step(("look", "nonsense"))
            steps = [env.step(command) for env, command in zip(single, ("look", "nonsense"), strict=True)]
            assert list(observations) == [step[0] for step in steps]
            assert list(truncated) == [turn == 2] * 2
            assert not any(terminated)
            assert list(infos["admissible_actions"]) == [step[4]["admissible_actions"] for step in steps]
    finally:
        envs.close()


def test_real_games_are_played_from_a_folder(
    tmp_path: Path, write_game: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_game(tmp_path, "train/fetch/trial_1")
    write_game(tmp_path, "valid_seen/fetch/trial_1")
    env = gymnasium.make(ENV_ID, games=tmp_path)
    assert env.reset(seed=0)[1]["task_id"] == "train/fetch/trial_1"
    info = env.reset(options={"split": "valid_seen"})[1]
    assert (info["task_id"], info["split"]) == ("valid_seen/fetch/trial_1", "valid_seen")
    assert info["task_type"] == env.unwrapped.task_type("valid_seen/fetch/trial_1") == "pick_two_obj_and_place"  # pyright: ignore
    assert ALFWorldEnv(games=tmp_path, task_types=["pick_two_obj_and_place"]).task_ids() == ("train/fetch/trial_1",)
    with pytest.raises(TaskNotFoundError, match=r"no tasks of type.*look_at_obj_in_light"):
        ALFWorldEnv(games=tmp_path, task_types=["look_at_obj_in_light"])
    with pytest.raises(TaskNotFoundError, match="holds no games of split 'valid_unseen'"):
        gymnasium.make(ENV_ID, games=tmp_path, split="valid_unseen")

    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path))
    assert gymnasium.make(ENV_ID).reset(seed=0)[1]["task_id"] == "train/fetch/trial_1"
    assert gymnasium.make(ENV_ID, games="generated").reset(seed=0)[1]["task_id"].startswith("full/train/")
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "train"))
    with pytest.raises(MissingGamesError, match=f"holds no ALFWorld games.*name {tmp_path} .with split='train'"):
        gymnasium.make(ENV_ID)
    monkeypatch.setenv("ALFWORLD_DATA", "s3://bucket/games")
    with pytest.raises(ValueError, match=r"\$ALFWORLD_DATA must be a local or mounted folder"):
        gymnasium.make(ENV_ID)

"""`RecordEpisodes`: the written lines, several processes, and errors."""

from __future__ import annotations

import errno
import json
import os
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from sdar_gym.envs import FreeText
from sdar_gym.envs.wrappers import RecordEpisodes, RecordError
from sdar_gym.rollout.trajectory import Episode, TurnRecord

ID = "sdar/ALFWorld-v0"
TASK = "small/train/000001"


def recorded(path: Path, max_steps: int = 3, name: str | None = None) -> RecordEpisodes:
    return RecordEpisodes(gymnasium.make(ID, games="generated", scene="small", max_steps=max_steps), path, name)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_episode_is_a_line_with_the_names_of_the_run_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "episodes.jsonl"
    env = recorded(path, name="me")
    first, info = env.reset(options={"task_id": TASK})
    second = env.step("look")[0]
    env.step("\ud800 nonsense")
    env.step("inventory")
    (line,) = lines(path)
    assert line["turns"][1] == {
        "observation": second, "action": "\ud800 nonsense", "valid_action": False, "reward": 0.0,
    }  # fmt: skip
    assert line["turns"][0]["observation"] == first
    assert {key: line[key] for key in ("episode_id", "task_id", "ended", "won", "score", "reward", "goal")} == {
        "episode_id": "me/0", "task_id": TASK, "ended": "truncated", "won": False, "score": 0.0, "reward": 0.0,
        "goal": info["goal"],
    }  # fmt: skip
    whole = Episode(
        "e", 0, "t", "k", "s", "g", [TurnRecord("o", "r", "a", True, True, 0.0, [], [], [], [], 0)]
    ).to_json()
    assert set(line) <= set(whole)
    assert set(line["turns"][0]) <= set(whole["turns"][0])


def test_won_and_unfinished_episodes_are_written_and_empty_ones_are_not(tmp_path: Path) -> None:
    from sdar_gym.envs.alfworld.walkthrough import walkthrough

    path = tmp_path / "e.jsonl"
    env = recorded(path, max_steps=50)
    env.reset(options={"task_id": TASK})
    for action in walkthrough(env.unwrapped.game):  # pyright: ignore[reportAttributeAccessIssue]
        env.step(action)
    env.reset(seed=1)
    env.step("look")
    env.reset(seed=2)
    env.reset(seed=3)
    env.step("look")
    env.close()
    env.close()
    written = lines(path)
    assert [line["ended"] for line in written] == ["won", "unfinished", "unfinished"]
    assert (written[0]["won"], written[0]["score"], written[0]["reward"]) == (True, 1.0, 1.0)
    assert len({line["episode_id"] for line in written}) == 3


def play_and_record(job: tuple[str, int]) -> None:
    path, seed = job
    env = recorded(Path(path))
    for episode in range(20):
        env.reset(seed=seed * 100 + episode)
        for _ in range(3):
            env.step("look " * 3000)
    env.close()


def test_processes_may_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "shared.jsonl"
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        list(pool.map(play_and_record, [(str(path), n) for n in range(4)]))
    written = lines(path)
    assert len(written) == 80
    assert len({line["episode_id"] for line in written}) == 80


def test_in_a_folder_each_process_has_its_own_file(tmp_path: Path) -> None:
    env = recorded(tmp_path)
    assert env.path.parent == tmp_path
    assert str(os.getpid()) in env.path.name
    assert RecordEpisodes(gymnasium.make(ID), f"{tmp_path}/later/").path.parent.name == "later"


def test_a_copy_numbers_its_episodes_apart(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    env = recorded(path)
    env.reset(seed=0)
    env.step("look")
    twin = pickle.loads(pickle.dumps(env))
    for copy in (env, twin):
        copy.reset(seed=1)
        copy.step("look")
        copy.close()
    assert len({line["episode_id"] for line in lines(path)}) == 3
    assert len(lines(path)) == 4  # The running episode was copied, and both copies finish it.


def test_it_works_in_a_vector_and_from_a_spec(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    envs = gymnasium.make_vec(ID, 2, "sync", wrappers=[lambda env: RecordEpisodes(env, path)], max_steps=2)
    envs.reset(seed=0)
    for _ in range(6):
        envs.step(("look", "look"))
    envs.close()
    assert len({line["episode_id"] for line in lines(path)}) == len(lines(path)) == 4
    env = recorded(path)
    assert env.spec is not None
    assert isinstance(gymnasium.make(env.spec), RecordEpisodes)


def test_a_place_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match=r"cannot be written to .*file/e.jsonl: Not a directory|File exists"):
        recorded(tmp_path / "file" / "e.jsonl")


def test_a_full_disk_is_one_clear_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = recorded(tmp_path / "e.jsonl")
    env.reset(seed=0)
    env.step("look")
    real = os.write

    def full(handle: int, data: bytes) -> int:
        if len(data) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(handle, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(RecordError, match=r"No space left on device.*Free disk space"):
        env.close()
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[:9] if len(data) > 1 else data))
    env.reset(seed=0)
    env.step("look")
    with pytest.raises(RecordError, match=r"9 of .* bytes written"):
        env.close()
    monkeypatch.setattr(os, "write", real)
    env.reset(seed=1)
    env.step("look")
    env.close()
    text = (tmp_path / "e.jsonl").read_text()
    assert json.loads(text.splitlines()[-1])["ended"] == "unfinished"  # The partial line does not corrupt others.


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"path": 5}, "path must be a path, got 5"),
        ({"path": ""}, "path must be a path of 1 to 4096 characters"),
        ({"path": "a\x00b"}, "path must be a path of 1 to 4096 characters without NUL bytes"),
        ({"path": "s3://bucket/episodes"}, "path must be a local or mounted folder"),
        ({"path": b"bytes"}, "path must be a path as text"),
        ({"name": ""}, "name must be a text, got ''"),
        ({"name": 3}, "name must be a text, got 3"),
    ],
)
def test_arguments_of_another_type_are_refused(arguments: dict[str, Any], says: str, tmp_path: Path) -> None:
    env = gymnasium.make(ID, games="generated", scene="small")
    with pytest.raises(ValueError, match=says):
        RecordEpisodes(env, **{"path": tmp_path / "e.jsonl", **arguments})


@pytest.mark.parametrize("path", ["e.jsonl", "new/", "there"])
def test_a_relative_path_means_the_folder_of_then(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    env = RecordEpisodes(gymnasium.make(ID, games="generated", scene="small"), path)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert env.spec is not None
    for twin in (env, pickle.loads(pickle.dumps(env)), gymnasium.make(env.spec)):
        twin.reset(options={"task_id": TASK})
        twin.step("look")
        twin.close()
    assert env.path.is_relative_to(tmp_path) and len(lines(env.path)) == 3
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_an_environment_that_says_too_little_is_refused(tmp_path: Path) -> None:
    class Silent(gymnasium.Env[str, str]):
        observation_space = action_space = FreeText()

        def reset(
            self, *, seed: int | None = None, options: dict[str, Any] | None = None
        ) -> tuple[str, dict[str, Any]]:
            return "hello", {"task_id": "a", "task_type": "b", "split": "train"}

    with pytest.raises(ValueError, match=r"RecordEpisodes needs info\['goal'\], and Silent does not provide it"):
        RecordEpisodes(Silent(), tmp_path / "e.jsonl").reset()

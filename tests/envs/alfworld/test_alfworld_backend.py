"""The TextWorld backend of the environment, and the parity benchmark on a few real games."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import pytest

import sdar_gym.envs  # noqa: F401  registers the environment
from sdar_gym import extras
from sdar_gym.envs.alfworld.generator import generate_game

ENV_ID = "sdar/ALFWorld-v0"
TASK = "small/train/000003"
PARITY = Path(__file__).parents[3] / "benchmarks" / "alfworld_parity.py"


def test_unknown_backends_and_goals_are_refused() -> None:
    with pytest.raises(ValueError, match="Unknown backend 'jericho'; choose one of native, textworld"):
        gymnasium.make(ENV_ID, backend="jericho")
    with pytest.raises(ValueError, match="Unknown goals 'any'; choose one of templated, human"):
        gymnasium.make(ENV_ID, goals="any")


def test_without_the_extra_the_backend_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(extras.EXTRAS, "alfworld", ("no_such_module",))
    with pytest.raises(extras.MissingExtraError, match=r"sdar-gym\[alfworld\]"):
        gymnasium.make(ENV_ID, backend="textworld")


@pytest.mark.reference
def test_an_episode_is_the_same_on_both_backends() -> None:
    plan = generate_game(TASK).walkthrough
    envs: list[Any] = [
        gymnasium.make(ENV_ID, scene="small", backend=name).unwrapped for name in ("native", "textworld")
    ]
    assert envs[0].reset(options={"task_id": TASK}) == envs[1].reset(options={"task_id": TASK})
    for command in ("fly", *plan):
        ours, theirs = (env.step(command) for env in envs)
        # TextWorld does not expose the state for goal conditions.
        assert theirs[4].pop("goal_condition_rate") == float(theirs[4]["won"])
        ours[4].pop("goal_condition_rate")
        assert ours == theirs
    assert ours[2]
    for env in envs:
        env.close()


@pytest.mark.reference
def test_a_running_textworld_episode_survives_pickling() -> None:
    plan = generate_game(TASK).walkthrough
    env: Any = gymnasium.make(ENV_ID, scene="small", backend="textworld").unwrapped
    env.reset(options={"task_id": TASK})
    for command in plan[:-1]:
        env.step(command)
    twin = pickle.loads(pickle.dumps(env))
    assert twin.step(plan[-1]) == env.step(plan[-1])
    twin.close()
    env.close()
    env.close()


@pytest.mark.reference
@pytest.mark.data
def test_the_parity_command_finds_no_difference(data_dir: Any, tmp_path: Path) -> None:
    counts = ["--seen", "2", "--walk", "1", "--random", "1", "--garbage", "1"]
    out = tmp_path / "parity.json"
    command = [sys.executable, str(PARITY), str(data_dir("alfworld")), *counts, "--json", str(out)]
    subprocess.run(command, check=True, timeout=280, capture_output=True)
    report = json.loads(out.read_text())
    assert {kind: row["games"] for kind, row in report["kinds"].items()} == {
        "walkthrough": 3,
        "random": 1,
        "garbage": 1,
    }
    assert report["kinds"]["walkthrough"]["won"] == 3
    assert report["kinds"]["garbage"]["refused"] > 10
    assert report["differing"] == []
    assert report["cpu_ms"]["textworld"]["step"]["median"] > report["cpu_ms"]["native"]["step"]["median"]

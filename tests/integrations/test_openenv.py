"""The OpenEnv server over a real port, as OpenEnv's own client sees it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import sdar_gym

ROOT = Path(sdar_gym.__file__).parents[1]
ARGUMENTS = ["games=generated", "scene=small", "max_steps=3"]
pytestmark = [
    pytest.mark.slow,  # Importing openenv takes seconds.
    pytest.mark.skipif(find_spec("openenv") is None, reason='needs openenv: pip install "sdar-gym[openenv]"'),
]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "sdar_gym", "serve-env", *arguments]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    served = command("sdar/ALFWorld-v0", *ARGUMENTS, "--port", "0", "--max-sessions", "2")
    with subprocess.Popen(served, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("sdar/ALFWorld-v0 at http://127.0.0.1:"), line
        yield line.split()[2].rstrip(",")
        process.terminate()


def client(address: str) -> Any:
    from openenv.core import GenericEnvClient

    return GenericEnvClient(base_url=address).sync()


def test_an_episode_is_played_by_the_example(address: str) -> None:
    example = ROOT / "examples" / "openenv" / "client.py"
    done = subprocess.run([sys.executable, str(example), address], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("You are an agent in a household")
    assert done.stdout.splitlines()[-1] == "won False, reward 0.0, 3 turns"


def test_tasks_turns_and_ends_travel(address: str) -> None:
    with client(address) as env:
        result = env.reset(task_id="small/valid_seen/000004")
        seen = result.observation
        assert (seen["task_id"], result.done, result.reward) == ("small/valid_seen/000004", False, None)
        assert seen["prompt"].endswith("Answer with exactly one action inside <action> </action> tags.")
        assert "look" in seen["admissible_actions"]
        result = env.step({"message": "<action>look</action>"})
        assert (result.observation["action_valid"], result.observation["form_valid"]) == (True, True)
        result = env.step({"message": "look"})
        assert (result.observation["action_valid"], result.observation["form_valid"]) == (True, False)
        result = env.step({"message": "nonsense"})
        assert (result.done, result.observation["truncated"], result.observation["won"]) == (True, True, False)
        state = env.state()
        assert (state["step_count"], state["total_reward"], state["task_id"]) == (3, 0.0, "small/valid_seen/000004")
        assert env.reset(split="valid_unseen", index=1).observation["task_id"] == "small/valid_unseen/000001"
        drawn = {env.reset(split="train", seed=5).observation["task_id"] for _ in range(2)}
        assert len(drawn) == 1


def test_sessions_do_not_share_an_episode(address: str) -> None:
    with client(address) as one, client(address) as two:
        one.reset(split="train", index=0)
        two.reset(split="train", index=1)
        one.step({"message": "look"})
        assert (one.state()["step_count"], two.state()["step_count"]) == (1, 0)


def test_mistakes_are_answered(address: str) -> None:
    with client(address) as env:
        for call, told in (
            (lambda: env.step({"message": "look"}), "call reset"),
            (lambda: env.reset(split="nope"), "Unknown split 'nope'"),
            (lambda: env.reset(task_id="x"), "'x' is not a generated task"),
            (lambda: env.reset(split="train", index=10**9), "'train' has tasks 0 to 59999"),
            (lambda: env.reset(tsk="x"), r"reset\(\) knows seed, task_id, split and index, not tsk"),
        ):
            with pytest.raises(RuntimeError, match=told):
                call()


def test_tasks_are_listed(address: str) -> None:
    import httpx

    splits = httpx.get(f"{address}/ALFWorld-v0/splits").json()
    assert [split["name"] for split in splits] == ["train", "valid_seen", "valid_unseen"]
    asked = {"split": "valid_seen", "index": 2}
    task = httpx.post(f"{address}/ALFWorld-v0/task", json=asked).json()["task"]
    assert task["task_id"] == "small/valid_seen/000002"


def test_the_server_refuses_in_one_message(address: str) -> None:
    port = address.rpartition(":")[2]
    for arguments, told in (
        (["sdar/Nope-v0"], "No environment 'sdar/Nope-v0'"),
        (["sdar/ALFWorld-v0", "foo=1"], "has no argument foo"),
        (["sdar/ALFWorld-v0", "--prompt", "nope"], "has no prompt template 'nope'"),
        (["sdar/ALFWorld-v0", "--port", port], f"Cannot listen on 127.0.0.1:{port}"),
    ):
        done = subprocess.run(command("--port", "0", *arguments), cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ") and told in done.stderr
        assert len(done.stderr.splitlines()) == 1

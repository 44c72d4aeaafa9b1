"""Vector environments with autoreset: their tasks, and how to play given tasks."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import sdar_gym.envs  # noqa: F401  registers the environments

# The last split of each, which is not its default split.
SPLITS = {"sdar/ALFWorld-v0": "valid_unseen", "sdar/WebShop-v0": "test", "sdar/SearchQA-v0": "test"}


@pytest.fixture(autouse=True)
def _embedded_data(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALFWORLD_DATA", "WEBSHOP_DATA", "SEARCHQA_DATA", "SDAR_GYM_DATA"):
        monkeypatch.delenv(name, raising=False)


def vector(env_id: str, kind: str, mode: AutoresetMode, **arguments: Any) -> gymnasium.vector.VectorEnv[Any, Any, Any]:
    more = {"shared_memory": False} if kind == "async" else {}
    return gymnasium.make_vec(env_id, 2, kind, vector_kwargs={"autoreset_mode": mode, **more}, max_steps=2, **arguments)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize(("env_id", "kind"), [*((env_id, "sync") for env_id in SPLITS), ("sdar/ALFWorld-v0", "async")])
def test_a_vector_stays_in_the_split_it_was_made_with(env_id: str, kind: str, mode: AutoresetMode) -> None:
    envs = vector(env_id, kind, mode, split=SPLITS[env_id])
    try:
        _, info = envs.reset(seed=0)
        tasks, splits = set(info["task_id"]), set(info["split"])
        for _ in range(8):
            *_, info = envs.step(("look", "look"))
            tasks |= set(info["task_id"])
            splits |= set(info["split"])
    finally:
        envs.close()
    assert splits == {SPLITS[env_id]}
    assert len(tasks) > 2  # Autoreset started new episodes.


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_given_tasks_are_played_by_resetting_one_environment_after_the_other(kind: str) -> None:
    envs = vector("sdar/ALFWorld-v0", kind, AutoresetMode.DISABLED, scene="small")
    try:
        envs.reset()
        played = []
        for start in (3, 11):
            for number in range(2):
                mask = np.arange(2) == number
                options = {"reset_mask": mask, "task_id": f"small/valid_seen/{start + number:06d}"}
                envs.reset(options=options)
            envs.step(("look", "look"))
            *_, truncated, info = envs.step(("look", "look"))
            assert truncated.all()
            played += list(info["task_id"])
    finally:
        envs.close()
    assert played == [f"small/valid_seen/{number:06d}" for number in (3, 4, 11, 12)]


def test_a_list_of_tasks_is_refused_with_the_way_that_works() -> None:
    envs = vector("sdar/ALFWorld-v0", "sync", AutoresetMode.NEXT_STEP)
    with pytest.raises(ValueError, match=r"'task_id' must be a str, got \['a', 'b'\].*AutoresetMode.DISABLED"):
        envs.reset(options={"task_id": ["a", "b"]})
    envs.close()

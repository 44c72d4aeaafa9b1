"""Task panels of the embedded data: pinned hashes, and no leakage group shared with the training split."""

from __future__ import annotations

import json
from pathlib import Path

import gymnasium
import pytest

from sdar_gym.envs import TextEnv, entries
from sdar_gym.envs.tasks import split_panel

IDS = [entry.id for entry in entries()]
SIZE = 128
PINS = Path(__file__).with_name("frozen_panels.json")
# To freeze again after an intended change of tasks (note it in the CHANGELOG, since old results are not comparable):
#   python tests/envs/test_frozen_panels.py


def embedded(env_id: str) -> TextEnv:
    env = gymnasium.make(env_id).unwrapped
    assert isinstance(env, TextEnv)
    return env


def hashes(env_id: str) -> dict[str, str]:
    env = embedded(env_id)
    return {split: split_panel(env_id, env, split, SIZE).hash for split in env.splits}


@pytest.fixture(autouse=True)
def _embedded_data(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALFWORLD_DATA", "WEBSHOP_DATA", "SEARCHQA_DATA", "SDAR_GYM_DATA"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("env_id", IDS)
def test_the_panels_are_those_that_results_were_made_on(env_id: str) -> None:
    pinned = json.loads(PINS.read_text(encoding="utf-8"))
    assert hashes(env_id) == pinned.get(env_id), f"{env_id}: other tasks than before; results no longer compare."


@pytest.mark.parametrize("env_id", IDS)
def test_train_and_evaluation_share_nothing_that_matters(env_id: str) -> None:
    env = embedded(env_id)
    assert len(env.splits) > 1, f"{env_id} has no split to evaluate on."
    seen: dict[str, str] = {}
    for split in env.splits:
        for task_id in env.task_ids(split):
            group = env.task_group(task_id)
            assert seen.setdefault(group, split) == split, (
                f"{group!r} is in {seen[group]} and, as {task_id}, in {split}."
            )
    panel = split_panel(env_id, env, env.splits[-1], SIZE)
    assert not set(panel.task_ids) & set(env.task_ids(env.splits[0]))


if __name__ == "__main__":
    PINS.write_text(json.dumps({env_id: hashes(env_id) for env_id in IDS}, indent=1) + "\n", encoding="utf-8")

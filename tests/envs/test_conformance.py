"""`check_text_env` on every registered environment, so that new environments are tested automatically."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env

import sdar_gym
from sdar_gym.envs import TextEnv, entries
from sdar_gym.envs.wrappers import RecordEpisodes, SkillContext, TextHistory, TurnBudget
from sdar_gym.skills import SkillLibrary, make_retriever
from sdar_gym.testing import CheckSettings, check_text_env, fuzz

IDS = [entry.id for entry in entries()]
EXAMPLES = Path(sdar_gym.__file__).parents[1] / "examples"


@pytest.fixture(autouse=True)
def _embedded_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded default of each environment, independent of environment variables."""
    for name in ("ALFWORLD_DATA", "WEBSHOP_DATA", "SEARCHQA_DATA", "SDAR_GYM_DATA"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("env_id", IDS)
def test_gymnasium_finds_nothing_wrong(env_id: str) -> None:
    with warnings.catch_warnings():
        # Strings have no shape, and there are no frames to check without graphics.
        warnings.filterwarnings("ignore", message=r".*(render|spec|Not able to test).*")
        check_env(gymnasium.make(env_id).unwrapped)


@pytest.mark.parametrize("env_id", IDS)
def test_the_contract_holds(env_id: str) -> None:
    check_text_env(env_id)


@pytest.mark.slow
@pytest.mark.parametrize("env_id", IDS)
def test_the_contract_holds_at_length_and_in_a_fresh_process(env_id: str) -> None:
    check_text_env(env_id, settings=CheckSettings(tasks=60, fuzz_actions=2000, fresh_process=True, async_vector=True))


@pytest.mark.parametrize("env_id", IDS)
def test_a_thousand_hostile_actions_twice_give_the_same_text(env_id: str) -> None:
    env = gymnasium.make(env_id).unwrapped
    assert isinstance(env, TextEnv)
    tasks = [task_id for split in env.splits for task_id in env.task_ids(split)[:10]]
    first = fuzz(env, 1000, tasks)
    assert fuzz(gymnasium.make(env_id), 1000, tasks).digest == first.digest
    assert first.invalid > 100


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_vectors_are_made_the_gymnasium_way(env_id: str, mode: str) -> None:
    # Strings have no fixed size, so asynchronous vectors cannot use shared memory.
    kwargs = {"shared_memory": False} if mode == "async" else {}
    envs = gymnasium.make_vec(env_id, num_envs=2, vectorization_mode=mode, vector_kwargs=kwargs)
    try:
        shown, info = envs.reset(seed=3)
        alone = [gymnasium.make(env_id).reset(seed=3 + n) for n in range(2)]
        assert list(shown) == [observation for observation, _ in alone]
        assert list(info["task_id"]) == [told["task_id"] for _, told in alone]
        assert list(info["admissible_actions"]) == [told["admissible_actions"] for _, told in alone]
        shown, rewards, terminated, truncated, info = envs.step(("", "\ud800"))
        assert all(isinstance(text, str) for text in shown)
        assert rewards.shape == terminated.shape == truncated.shape == (2,)
        assert list(info["turn"]) == [1, 1]
    finally:
        envs.close()


def test_the_example_plug_in_keeps_the_contract(clean_registry: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES / "maze_env" / "src"))
    for name in [name for name in sys.modules if name.partition(".")[0] == "maze_env"]:
        monkeypatch.delitem(sys.modules, name)
    import maze_env  # pyright: ignore[reportMissingImports]

    maze_env.register()
    check_env(gymnasium.make("examples/Maze-v0").unwrapped)
    check_text_env("examples/Maze-v0", settings=CheckSettings(fresh_process=True))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda env, path: TextHistory(env, turns=2),
        lambda env, path: TurnBudget(env, max_turns=7, max_tokens=4000),
        lambda env, path: RecordEpisodes(env, path / "episodes.jsonl"),
        lambda env, path: SkillContext(env, make_retriever("oracle_type", SkillLibrary.builtin("alfworld"))),
    ],
    ids=["TextHistory", "TurnBudget", "RecordEpisodes", "SkillContext"],
)
def test_a_wrapped_environment_keeps_the_contract_too(wrap: Any, tmp_path: Path) -> None:
    env = wrap(gymnasium.make("sdar/ALFWorld-v0", games="generated", scene="small", max_steps=12), tmp_path)
    check_text_env(env, settings=CheckSettings(tasks=3, turns=12, fuzz_actions=60))

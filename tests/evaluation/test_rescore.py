"""Scoring again: recorded actions give the recorded result, until the environment or its scorer changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdar_gym.configs import load_config
from sdar_gym.envs.text_env import TextEnv
from sdar_gym.evaluation.panels import PanelPlayer
from sdar_gym.evaluation.rescore import rescore
from sdar_gym.evaluation.rows import episode_of
from sdar_gym.rollout.environments import make_env
from sdar_gym.rollout.episode_limits import EpisodeLimits
from sdar_gym.rollout.trajectory import Episode

SIZES = ("evaluation.tasks=4", "rollout.max_response_tokens=8", "policy.device=cpu")


def recorded(policy: Path, env: str, *changes: str, limits: EpisodeLimits | None = None) -> tuple[list[Episode], Any]:
    run = load_config("quickstart", [f"env={env}", *SIZES, *changes])
    with PanelPlayer(run, str(policy), limits) as player:
        episodes = player.play(player.requests())
    return [episode_of(episode.to_json()) for episode in episodes], run


def again(run: Any, episodes: list[Episode], **arguments: Any) -> Any:
    env = make_env(run.env, {**run.env_config, **arguments})
    try:
        return rescore(env, episodes, run.evaluation.seed)
    finally:
        env.close()


@pytest.mark.parametrize("env", ["sdar/ALFWorld-v0", "sdar/WebShop-v0", "sdar/Math-v0"])
def test_the_same_environment_gives_the_same_result(policy_folder: Path, env: str) -> None:
    episodes, run = recorded(policy_folder, env, "evaluation.seed=5")
    for each in again(run, episodes):
        assert each.differences == ()
        assert each.now.to_json() == each.before.to_json()


def test_what_a_limit_ended_ends_there_again(policy_folder: Path) -> None:
    episodes, run = recorded(policy_folder, "sdar/ALFWorld-v0", limits=EpisodeLimits(turns=3))
    assert {episode.limit for episode in episodes} == {"turns"}
    assert all(each.differences == () for each in again(run, episodes))


def test_an_environment_that_ends_earlier_or_later_is_reported(policy_folder: Path) -> None:
    episodes, run = recorded(policy_folder, "sdar/ALFWorld-v0", "env_config.max_steps=5")
    for each in again(run, episodes, max_steps=3):
        assert each.differences == ("it ends after turn 3 of 5",)
        assert (len(each.now.turns), each.now.ended) == (3, "truncated")
    for each in again(run, episodes, max_steps=9):
        assert each.differences == ("ended 'truncated' -> 'unfinished'",)


def test_changed_observations_and_scores_are_reported(policy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    episodes, run = recorded(policy_folder, "sdar/ALFWorld-v0", "env_config.max_steps=3")
    step = TextEnv.step

    def other(self: TextEnv, action: str) -> Any:
        observation, _, terminated, truncated, info = step(self, action)
        return f"{observation}!", 0.25, terminated, truncated, {**info, "score": 0.5, "won": True}

    monkeypatch.setattr(TextEnv, "step", other)
    for each in again(run, episodes):
        assert each.differences == (
            "won False -> True",
            "score 0.0 -> 0.5",
            "ended 'truncated' -> 'won'",
            "observation of turn 2 and 1 more",
            "reward of turn 1 and 2 more",
        )
        assert (each.now.won, each.now.score, each.now.total_reward) == (True, 0.5, 0.75)


def test_a_task_that_is_gone_is_an_error_of_its_episode(policy_folder: Path) -> None:
    episodes, run = recorded(policy_folder, "sdar/ALFWorld-v0", "env_config.max_steps=2")
    episodes[1] = replace(episodes[1], task_id="small/valid_seen/999999999")
    results = again(run, episodes)
    assert [bool(each.now.error) for each in results] == [False, True, False, False]
    assert "'small/valid_seen/999999999'" in results[1].differences[0]
    assert results[1].now.ended == "error"

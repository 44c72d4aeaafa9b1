"""The environment keeps the contract of text environments, and its expert solves it."""

from __future__ import annotations

import my_game
import pytest
from my_game.env import Expert, MyGameEnv

import sdar_gym

my_game.register()  # Once the package is installed, `import sdar_gym` does this.


def test_the_environment_keeps_the_contract() -> None:
    sdar_gym.check_text_env("my_game/MyGame-v0")


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_expert_wins(split: str) -> None:
    env, expert = MyGameEnv(split=split), Expert()
    for seed in range(10):
        observation, info = env.reset(seed=seed)
        expert.begin(env, observation, info)
        over = False
        while not over:
            observation, _, terminated, truncated, info = env.step(expert.act(observation, info))
            over = terminated or truncated
        assert info["won"], info["task_id"]

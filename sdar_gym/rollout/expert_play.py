"""Expert play: the turns of an environment's scripted expert in one task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sdar_gym.envs.policies import ScriptedPolicy
from sdar_gym.envs.prompting import EpisodeView, PastTurn
from sdar_gym.envs.text_env import TextEnv


@dataclass(frozen=True, slots=True)
class ExpertTurn:
    """One turn of an expert.

    Attributes:
        view: The episode so far, as prompts are made from it.
        action: The expert's action.
        reward: Its reward.
        info: What the environment returned after it.
        ended: Whether the episode ended with it.
    """

    view: EpisodeView
    action: str
    reward: float
    info: dict[str, Any]
    ended: bool


def expert_turns(env: TextEnv, expert: ScriptedPolicy, task_id: str) -> list[ExpertTurn]:
    """The expert's episode in a task.

    Args:
        env: The environment.
        expert: Its expert.
        task_id: The task.

    Returns:
        The turns; empty if the expert does not solve the task.
    """
    observation, info = env.reset(options={"task_id": task_id})
    turns: list[ExpertTurn] = []
    history: list[PastTurn] = []
    ended = False
    try:
        expert.begin(env, observation, info)
        while not ended:
            view = EpisodeView(info["goal"], tuple(history), observation, tuple(info["admissible_actions"]))
            action = expert.act(observation, info)
            history.append(PastTurn(observation, action))
            observation, reward, terminated, truncated, info = env.step(action)
            ended = terminated or truncated
            turns.append(ExpertTurn(view, action, float(reward), info, ended))
    except ValueError:
        return []  # Experts raise ValueError for a task that cannot be solved.
    return turns if info["won"] else []

"""Expert play: the turns of an environment's scripted expert in one task."""

from __future__ import annotations

from dataclasses import dataclass

from sdar_gym.envs.policies import ScriptedPolicy
from sdar_gym.envs.prompting import EpisodeView, PastTurn
from sdar_gym.envs.text_env import TextEnv


@dataclass(frozen=True, slots=True)
class ExpertTurn:
    """One turn of an expert.

    Attributes:
        view: The episode so far, as prompts are made from it.
        action: The expert's action.
    """

    view: EpisodeView
    action: str


def expert_turns(env: TextEnv, expert: ScriptedPolicy, task_id: str, *, seed: int | None = None) -> list[ExpertTurn]:
    """The expert's episode in a task.

    Args:
        env: The environment.
        expert: Its expert.
        task_id: The task.
        seed: Seed of the reset.

    Returns:
        The turns; empty if the expert does not solve the task.
    """
    turns, won = scripted_turns(env, expert, task_id, seed=seed)
    return turns if won else []


def scripted_turns(
    env: TextEnv, policy: ScriptedPolicy, task_id: str, *, seed: int | None = None
) -> tuple[list[ExpertTurn], bool]:
    """A scripted policy's episode in a task, to its end or until the policy is `done`, if it can be.

    Args:
        env: The environment.
        policy: The policy.
        task_id: The task.
        seed: Seed of the reset.

    Returns:
        The turns, and whether the task is solved; no turns if the policy cannot play it.
    """
    observation, info = env.reset(seed=seed, options={"task_id": task_id})
    turns: list[ExpertTurn] = []
    history: list[PastTurn] = []
    ended = False
    try:
        policy.begin(env, observation, info)
        while not ended and not getattr(policy, "done", False):
            view = EpisodeView(info["goal"], tuple(history), observation, tuple(info["admissible_actions"]))
            action = policy.act(observation, info)
            turns.append(ExpertTurn(view, action))
            history.append(PastTurn(observation, action))
            observation, _, terminated, truncated, info = env.step(action)
            ended = terminated or truncated
    except ValueError:
        return [], False  # Experts raise ValueError for a task that cannot be solved.
    return turns, bool(info["won"])

"""Scripted policies: the random policy, and the protocol of the experts of environments."""

from __future__ import annotations

from random import Random
from typing import Any, Protocol

from sdar_gym.envs.registry import entry_of, load_object
from sdar_gym.envs.text_env import TextEnv


class ScriptedPolicy(Protocol):
    """Policy without a model, played one episode after another."""

    def begin(self, env: TextEnv, observation: str, info: dict[str, Any]) -> None:
        """Start an episode after a reset. An expert may read the hidden state, but must not step the environment."""
        ...

    def act(self, observation: str, info: dict[str, Any]) -> str:
        """Next action for an observation and its `info`."""
        ...


class RandomPolicy:
    """Draws uniformly from the admissible actions; samples the action space if none are listed.

    Args:
        seed: Seed. Draws depend on it and on the task id, not on earlier episodes.
    """

    def __init__(self, seed: int = 0):
        self._seed = seed
        self._rng = Random(seed)
        self._env: TextEnv | None = None

    def begin(self, env: TextEnv, observation: str, info: dict[str, Any]) -> None:
        """Seed the generator for this episode."""
        self._env = env
        self._rng = Random(f"{self._seed} {info['task_id']}")
        env.action_space.seed(self._rng.getrandbits(31))

    def act(self, observation: str, info: dict[str, Any]) -> str:
        """A random action."""
        actions = info["admissible_actions"]
        if actions:
            return actions[int(self._rng.random() * len(actions))]
        if self._env is None:
            raise ValueError("RandomPolicy.begin() comes before act().")
        return self._env.action_space.sample()


def expert_of(env_id: str) -> ScriptedPolicy | None:
    """The expert of an environment, or None if it has none.

    Raises:
        ValueError: The environment is not registered, or its expert cannot be imported.
    """
    path = entry_of(env_id).expert
    return None if path is None else load_object(path, f"The expert of {env_id},")()

"""ALFWorld expert: a scripted policy that executes the constructive walkthrough of a game."""

from __future__ import annotations

from typing import Any

from sdar_gym.envs.alfworld.env import ALFWorldEnv
from sdar_gym.envs.alfworld.walkthrough import walkthrough
from sdar_gym.envs.text_env import TextEnv


class Expert:
    """Scripted policy that executes the walkthrough; see `sdar_gym.envs.policies`."""

    def __init__(self) -> None:
        self._plan: list[str] = []

    def begin(self, env: TextEnv, observation: str, info: dict[str, Any]) -> None:
        """Plan the episode.

        Raises:
            TypeError: The environment is not ALFWorld.
            GameFormatError: The game cannot be won.
        """
        if not isinstance(env, ALFWorldEnv):
            raise TypeError(f"ALFWorld's expert plays ALFWorldEnv, not {type(env).__name__}.")
        self._plan = list(reversed(walkthrough(env.game)))

    def act(self, observation: str, info: dict[str, Any]) -> str:
        """Next command of the plan; `look` at its end."""
        return self._plan.pop() if self._plan else "look"

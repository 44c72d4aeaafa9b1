"""A scripted policy that knows the map: it walks to the key, then to the exit."""

from __future__ import annotations

from typing import Any

from maze_env.env import MazeEnv
from maze_env.generator import way
from sdar_gym.envs import TextEnv


class Expert:
    """The shortest way; see `sdar_gym.envs.policies.ScriptedPolicy`."""

    def __init__(self) -> None:
        self._plan: list[str] = []

    def begin(self, env: TextEnv, observation: str, info: dict[str, Any]) -> None:
        """Plan the episode."""
        if not isinstance(env, MazeEnv):
            raise TypeError(f"The maze's expert plays MazeEnv, not {type(env).__name__}.")
        maze, here, plan = env.maze, env.maze.start, []
        if maze.key is not None:
            plan += [*(f"go {name}" for name in way(maze, here, maze.key)), "take key"]
            here = maze.key
        plan += [f"go {name}" for name in way(maze, here, maze.exit)]
        self._plan = plan[::-1]

    def act(self, observation: str, info: dict[str, Any]) -> str:
        """The next action of the plan."""
        return self._plan.pop() if self._plan else "go north"

"""An ALFWorld environment in which some tasks raise errors or are too long."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sdar_gym.envs import register
from sdar_gym.envs.alfworld.env import ALFWorldEnv
from sdar_gym.envs.text_env import Task, Turn

ENV = "tests/Faulty-v0"


class FaultyEnv(ALFWorldEnv):
    """Every n-th task of a split raises or begins with a long text.

    Args:
        fault: `reset` and `step` raise, `long` begins with 700 more words.
        every: One task in so many is at fault.
        splits_at_fault: Splits that have such tasks.
        games: See `ALFWorldEnv`.
        scene: See `ALFWorldEnv`.
        max_steps: Turn limit.
    """

    def __init__(
        self,
        fault: str,
        every: int = 1,
        splits_at_fault: str = "train",
        games: str = "generated",
        scene: str = "small",
        max_steps: int = 4,
        render_mode: Any = None,
    ):
        super().__init__(games=games, scene=scene, max_steps=max_steps)
        self._fault, self._every, self._splits = fault, every, splits_at_fault.split(",")
        self._bad = False

    def _begin(self, task: Task) -> Turn:
        number = int(task.task_id.rpartition("/")[2])
        self._bad = task.split in self._splits and number % self._every == 0
        turn = super()._begin(task)
        if self._bad and self._fault == "reset":
            raise RuntimeError("the room has no floor")
        return replace(turn, observation=turn.observation + " lamp" * 700) if self._bad and self._is_long else turn

    def _act(self, action: str) -> Turn:
        if self._bad and self._fault == "step":
            raise RuntimeError("the room has no floor")
        return super()._act(action)

    @property
    def _is_long(self) -> bool:
        return self._fault == "long"


def register_faulty() -> None:
    register(ENV, "faulty_env:FaultyEnv", prompt="sdar_gym.envs.alfworld.prompt:TEMPLATES", skills="alfworld")

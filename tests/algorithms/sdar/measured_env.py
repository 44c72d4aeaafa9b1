"""An ALFWorld environment with additional figures in `Turn.extra`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sdar_gym.envs import register
from sdar_gym.envs.alfworld.env import ALFWorldEnv
from sdar_gym.envs.text_env import Task, Turn

ENV = "tests/Measured-v0"


class MeasuredEnv(ALFWorldEnv):
    """Adds the number of actions, a flag, a text and a number that is not finite to every turn."""

    def __init__(self, max_steps: int = 3, render_mode: Any = None):
        super().__init__(games="generated", scene="small", max_steps=max_steps)
        self._actions = 0

    def _begin(self, task: Task) -> Turn:
        self._actions = 0
        return self._measured(super()._begin(task))

    def _act(self, action: str) -> Turn:
        self._actions += 1
        return self._measured(super()._act(action))

    def _measured(self, turn: Turn) -> Turn:
        extra = {"actions": self._actions, "moved": self._actions > 0, "room": "kitchen", "broken": float("nan")}
        return replace(turn, extra={**turn.extra, **extra})


def register_measured() -> None:
    register(ENV, "measured_env:MeasuredEnv", prompt="sdar_gym.envs.alfworld.prompt:TEMPLATES", skills="alfworld")

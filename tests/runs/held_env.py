"""An ALFWorld environment that stops in the middle of an episode, on one node, so that the node can be killed there."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from sdar_gym.envs import register
from sdar_gym.envs.alfworld.env import ALFWorldEnv
from sdar_gym.envs.text_env import Turn

ENV = "tests/Held-v0"
# The variable that the processes of the node have which is to be killed.
NODE = "SDAR_GYM_TEST_NODE"


class HeldEnv(ALFWorldEnv):
    """Waits at an episode's second step while a file `hold` exists, and says so with a file `held`.

    Args:
        folder: Where both files are.
        games: See `ALFWorldEnv`.
        scene: See `ALFWorldEnv`.
        max_steps: Turn limit.
        render_mode: See `ALFWorldEnv`.
    """

    def __init__(
        self,
        folder: str,
        games: str = "generated",
        scene: str = "small",
        max_steps: int = 4,
        render_mode: Any = None,
    ):
        super().__init__(games=games, scene=scene, max_steps=max_steps)
        self._folder, self._steps = Path(folder), 0

    def _begin(self, task: Any) -> Turn:
        self._steps = 0
        return super()._begin(task)

    def _act(self, action: str) -> Turn:
        self._steps += 1
        if self._steps == 2 and NODE in os.environ:
            while (self._folder / "hold").exists():
                (self._folder / "held").touch()
                time.sleep(0.1)
        return super()._act(action)


def register_held() -> None:
    register(ENV, "held_env:HeldEnv", prompt="sdar_gym.envs.alfworld.prompt:TEMPLATES", skills="alfworld")

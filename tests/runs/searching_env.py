"""An ALFWorld environment that searches the cluster's passages in every turn, for runs whose search server dies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sdar_gym.envs import register
from sdar_gym.envs.alfworld.env import ALFWorldEnv
from sdar_gym.envs.searchqa.retrieval import shared_retriever
from sdar_gym.envs.searchqa.search_contract import SearchSpec
from sdar_gym.envs.text_env import Turn

ENV = "tests/Searching-v0"
# Words of the embedded passages.
WORDS = ("river", "city", "born", "music", "bridge")


class SearchingEnv(ALFWorldEnv):
    """Every turn's metrics have the length of what was found for the action.

    Args:
        games: See `ALFWorldEnv`.
        scene: See `ALFWorldEnv`.
        max_steps: Turn limit.
    """

    def __init__(self, games: str = "generated", scene: str = "small", max_steps: int = 4, render_mode: Any = None):
        super().__init__(games=games, scene=scene, max_steps=max_steps)
        self._spec = SearchSpec(corpus=None, search="ray", timeout=60.0, retries=60)

    def _act(self, action: str) -> Turn:
        turn = super()._act(action)
        found = shared_retriever(self._spec).search(f"{action} {WORDS[len(action) % len(WORDS)]}", 2)
        return replace(turn, extra={**turn.extra, "found": sum(len(passage.contents) for passage in found)})


register(ENV, "searching_env:SearchingEnv", prompt="sdar_gym.envs.alfworld.prompt:TEMPLATES", skills="alfworld")

"""AgileRL: a text environment for `RolloutHarness.local`, whose rows are tasks."""

from __future__ import annotations

from typing import Any

from sdar_gym.integrations.conversation import ConversationEnv


class AgileEnv:
    """An environment with AgileRL's `reset` and `step`: prompts and responses are texts.

    AgileRL gives all members of a group the same row, and takes the sum of the rewards of an episode's turns. It cuts
    reasoning up to `</think>` off before the environment sees a response, so that the prompt must not ask for it.

    Args:
        env_id: A registered environment.
        split: Split of the tasks; default the environment's first, the training split.
        eval_split: Split of AgileRL's evaluations; default the next one.
        **settings: Those of `ConversationEnv`: prompt, `show_actions`, and the environment's arguments.

    Attributes:
        dataset_size: Number of rows of the training split.

    Raises:
        ValueError: The environment, a split or an argument is unknown.

    Source: agilerl 2.58.0, `agilerl.protocols.TextEnvProtocol`.
    """

    def __init__(self, env_id: str, split: str | None = None, eval_split: str | None = None, **settings: Any):
        self._conversation = ConversationEnv(env_id, **settings)
        splits = self._conversation.env.splits
        self._rows = self._conversation.task_ids(split)
        self._eval_rows = self._conversation.task_ids(eval_split or splits[min(1, len(splits) - 1)])
        self.dataset_size = len(self._rows)

    def reset(
        self, seed: int | None = None, row_index: int | None = None, evaluation: bool | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Starts an episode: of a row, or of one that the seed chooses."""
        rows = self._eval_rows if evaluation else self._rows
        number = row_index if row_index is not None else (seed or 0)
        return self._conversation.reset(task_id=rows[number % len(rows)], seed=seed)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Plays a response."""
        return self._conversation.step(action)

    def close(self) -> None:
        """Closes the environment."""
        self._conversation.close()

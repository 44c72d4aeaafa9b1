"""TRL: an environment class for `GRPOTrainer(environment_factory=…)`, with one tool that takes the action."""

from __future__ import annotations

from typing import Any

from sdar_gym.envs.prompting import instruction
from sdar_gym.integrations.conversation import ConversationEnv

_OVER = "The episode is over; do not act again."
_NOTHING = [{"role": "user", "content": ""}]


class TrlEnvironment:
    """One rollout's environment: the model acts by calling the tool `act`, and the environment gives the reward.

    TRL makes tools of all public methods but `reset` and `get_reward`, so there are no others. It asks for the prompt
    (`reset`) and for the reward, the sum of the episode's rewards (`get_reward`).

    Args:
        env_id: A registered environment.
        **settings: Those of `ConversationEnv`: prompt, `show_actions`, and the environment's arguments.

    Source: trl 1.16.0, `GRPOTrainer`, argument `environment_factory` (experimental there).
    """

    def __init__(self, env_id: str, **settings: Any):
        self._conversation = ConversationEnv(env_id, **settings)

    def reset(self, task_id: str | None = None, **row: Any) -> str:
        """Starts the episode of a row of the data set; its prompt is empty, and this is appended to it."""
        message, _ = self._conversation.reset(task_id=task_id)
        # Where the template asks for action tags, the tool call takes their place.
        return message.removesuffix(instruction(False)).rstrip()

    def act(self, action: str) -> str:
        """Takes one action in the environment and returns what happens.

        Args:
            action: The action, written as the task asks for it.

        Returns:
            What you see now, and the actions that you can take next.
        """
        if self._conversation.over:
            return _OVER
        message = self._conversation.step(action)[0]
        return f"{message}\n\n{_OVER}" if self._conversation.over else message

    def get_reward(self) -> float:
        """The sum of the episode's rewards so far."""
        return self._conversation.total_reward


def task_rows(env_id: str, tasks: int, split: str | None = None, **env_config: Any) -> list[dict[str, Any]]:
    """Rows for `datasets.Dataset.from_list`: one a task, with an empty prompt, which `reset` fills in.

    Args:
        env_id: A registered environment.
        tasks: Largest number of rows.
        split: Split of the tasks; default the environment's first, the training split.
        **env_config: Arguments of the environment.

    Raises:
        ValueError: The environment, the split or an argument is unknown.
    """
    conversation = ConversationEnv(env_id, **env_config)
    ids = conversation.task_ids(split)[:tasks]
    conversation.close()
    return [{"prompt": _NOTHING, "task_id": task_id} for task_id in ids]

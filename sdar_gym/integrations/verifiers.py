"""verifiers: a taskset and an environment that plays the user, for `vf-eval` and prime-rl."""

# The package is optional, and its types are not there to check against.
# pyright: reportMissingImports=false

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import verifiers.v1 as vf
from pydantic import Field

from sdar_gym.integrations.conversation import ConversationEnv


class GymData(vf.TaskData):
    """A task: which one, and how its environment is made."""

    env_id: str
    settings: dict[str, Any]
    task_id: str


class GymTask(vf.Task[GymData, vf.State, vf.TaskConfig]):
    """A task; its reward is recorded by `GymEnv`."""


class GymConfig(vf.TasksetConfig):
    """Settings of the taskset, `--env.taskset.<name>` on the command line."""

    env_id: str = "sdar/ALFWorld-v0"
    """A registered environment."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Those of `ConversationEnv`: prompt, `think`, `show_actions`, and the environment's arguments."""
    split: str | None = None
    """Split of the tasks; None for the environment's first, the training split."""


class GymTaskset(vf.Taskset[GymTask, GymConfig]):
    """The tasks of a split."""

    def load(self) -> Iterator[GymTask]:
        """The tasks, in the split's order."""
        config = self.config
        conversation = ConversationEnv(config.env_id, **config.settings)
        ids = conversation.task_ids(config.split)
        conversation.close()
        for task_id in ids:
            data = GymData(
                id=task_id, name=task_id, env_id=config.env_id, settings=config.settings, task_id=task_id, prompt=None
            )
            yield GymTask(data, config.task)


class GymEnvConfig(vf.EnvConfig):
    """The seat of the policy: a plain chat loop in this process's machine, since nothing is executed for it."""

    player: vf.AgentConfig = vf.AgentConfig.model_validate(
        {"harness": {"id": "null"}, "runtime": {"type": "subprocess"}}
    )


class GymEnv(vf.Env[GymEnvConfig]):
    """One task as one conversation: the environment is the user.

    The reward `total_reward` is the sum of the episode's rewards; `won`, `score` and `form_errors` (the share of
    responses without the required form) are metrics.

    Source: verifiers 0.4.0, `verifiers.v1.Env` and its `Interaction`.
    """

    async def run(self, task: vf.Task[Any], agents: vf.Agents) -> None:
        """Plays one episode."""
        data = task.data
        conversation = await asyncio.to_thread(lambda: ConversationEnv(data.env_id, **data.settings))
        try:
            message, info = await asyncio.to_thread(lambda: conversation.reset(task_id=data.task_id))
            turns = wrong = 0
            async with agents.player.interaction(task) as interaction:
                while not conversation.over:
                    segment = await interaction.turn(message)
                    if segment.terminated:
                        break
                    message, _, _, _, info = await asyncio.to_thread(conversation.step, segment.last_reply)
                    turns, wrong = turns + 1, wrong + (not info["form_valid"])
        finally:
            conversation.close()
        trace = interaction.trace
        trace.record_reward("total_reward", conversation.total_reward)
        trace.record_metric("won", float(info["won"]))
        trace.record_metric("score", float(info["score"]))
        trace.record_metric("form_errors", wrong / max(1, turns))

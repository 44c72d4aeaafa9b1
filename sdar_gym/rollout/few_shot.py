"""Few-shot examples: turns of the environment's expert in a training task, as chat messages before each prompt."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sdar_gym.envs.policies import expert_of
from sdar_gym.envs.prompting import EpisodeView, Message, PromptTemplate
from sdar_gym.rollout.environments import make_env
from sdar_gym.rollout.expert_play import expert_turns

# Tasks to try, since an expert may fail at some.
_TRIES = 20


def worked_turns(
    env_id: str,
    env_config: Mapping[str, Any],
    template: PromptTemplate,
    count: int,
    messages_of: Callable[[EpisodeView, Sequence[str]], list[Message]],
    *,
    think: bool,
) -> list[Message]:
    """The first turns of an expert's episode, a user message and an assistant message each.

    The task is one of the training split, the same one every time.

    Args:
        env_id: A registered environment with an expert.
        env_config: Its arguments.
        template: The prompt of the turns; it must be able to write a response (`respond`).
        count: Turns.
        messages_of: Makes the messages of a turn from its view and the admissible actions of the turn before.
        think: Whether responses reason first.

    Raises:
        ValueError: The environment has no expert, the template cannot write responses, or the expert solves no task.
    """
    expert = expert_of(env_id)
    respond = getattr(template, "respond", None)
    if expert is None or respond is None:
        lacking = "no expert" if expert is None else "a prompt template without `respond(action, think=...)`"
        raise ValueError(f"rollout.few_shot={count} needs worked turns, but {env_id} has {lacking}. Set it to 0.")
    # Short episodes of the policy are no reason for the expert to fail.
    env = make_env(env_id, {name: value for name, value in env_config.items() if name != "max_steps"})
    try:
        ids = sorted(env.task_ids(), key=lambda task_id: hashlib.sha256(f"few-shot {task_id}".encode()).digest())
        for task_id in ids[:_TRIES]:
            turns = expert_turns(env, expert, task_id)
            if turns:
                messages: list[Message] = []
                before: tuple[str, ...] = ()
                for turn in turns[:count]:
                    messages += messages_of(turn.view, before)
                    messages.append({"role": "assistant", "content": respond(turn.action, think=think)})
                    before = turn.view.admissible_actions
                return messages
    finally:
        env.close()
    raise ValueError(f"The expert of {env_id} solved none of {_TRIES} training tasks; set rollout.few_shot to 0.")

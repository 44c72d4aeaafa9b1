"""Turn lengths: how many tokens an environment's prompts and observations have under a tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sdar_gym.configs.sections import RolloutSettings
from sdar_gym.envs.policies import RandomPolicy, expert_of
from sdar_gym.envs.prompting import EpisodeView, PastTurn, prompt_template, skill_context
from sdar_gym.policy.chat import ChatFormat
from sdar_gym.rollout.build import build_context
from sdar_gym.rollout.context import PromptTooLongError
from sdar_gym.rollout.environments import make_env
from sdar_gym.skills import Retriever
from sdar_gym.skills.lookup import query_for, skill_env_name


@dataclass(frozen=True, slots=True)
class TurnLengths:
    """Lengths in tokens, of a few training tasks played by the expert, else at random.

    Attributes:
        first: Longest first prompt.
        with_skills: Longest first prompt with skills; None if the environment has none.
        added: What a later turn appends to a conversation beside the response, on average.
        window: Longest prompt with the last turns.
        turns: The environment's limit.
        policy: Who played, `expert` or `random`.
    """

    first: int
    with_skills: int | None
    added: float
    window: int
    turns: int
    policy: str

    def turns_that_fit(self, context: int, response: int) -> int:
        """Turns of a conversation for which a context has room, with a teacher that reads the skills.

        Args:
            context: Context length in tokens.
            response: Tokens of each response.
        """
        left = context - max(self.first, self.with_skills or 0) - response
        return 0 if left < 0 else 1 + int(left / (self.added + response))


def turn_lengths(
    tokenizer: Any,
    env_id: str,
    env_config: Mapping[str, Any],
    rollout: RolloutSettings,
    retriever: Retriever | None,
    *,
    tasks: int = 4,
) -> TurnLengths:
    """Play a few training tasks, and count the tokens of their prompts.

    Args:
        tokenizer: The policy's.
        env_id: The environment.
        env_config: Its arguments.
        rollout: Prompt template and chat template settings; its limits are not applied.
        retriever: Finds the teacher's skills; None without.
        tasks: Number of tasks.

    Raises:
        ValueError: The environment cannot be made, or the chat template cannot render its prompts.
    """
    unlimited = replace(rollout, max_prompt_tokens=1_000_000, max_teacher_prompt_tokens=1_000_000, context="window")
    context = build_context(tokenizer, env_id, env_config, unlimited)
    chat = ChatFormat(tokenizer, rollout.chat_template_kwargs, rollout.date)
    expert = expert_of(env_id)
    env, policy = make_env(env_id, env_config), expert or RandomPolicy()
    template = prompt_template(env_id, rollout.prompt)
    own = getattr(template, "next_message", None)
    first, skilled, window, added = 0, 0, 0, []
    try:
        for task_id in env.task_ids()[:tasks]:
            observation, info = env.reset(options={"task_id": task_id})
            policy.begin(env, observation, info)
            text = (
                ""
                if retriever is None
                else retriever.retrieve(query_for(skill_env_name(env_id), info, observation)).text
            )
            skills, history, over = skill_context(text), [], False
            while not over:
                view = EpisodeView(info["goal"], tuple(history), observation, tuple(info["admissible_actions"]))
                if history:
                    content = observation if own is None else own(view, "")
                    added.append(len(chat.continuation_ids(content, ended=True)))
                else:
                    first = max(first, len(context.first_prompt(view).ids))
                    if skills is not None:
                        skilled = max(skilled, len(context.first_prompt(view, skills).ids))
                window = max(window, len(context.first_prompt(view).ids))
                action = policy.act(observation, info)
                history.append(PastTurn(observation, action))
                observation, _, terminated, truncated, info = env.step(action)
                over = terminated or truncated
    except PromptTooLongError as error:  # Over a million tokens.
        raise ValueError(f"{env_id} has a prompt of {error.tokens} tokens.") from error
    finally:
        env.close()
    mean = sum(added) / len(added) if added else 0.0
    return TurnLengths(first, skilled or None, mean, window, env.max_steps, "random" if expert is None else "expert")

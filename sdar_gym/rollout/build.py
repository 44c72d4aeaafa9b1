"""Builds retrievers, prompts and collectors from settings, for training, evaluation and remote workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdar_gym.configs.sections import RolloutSettings, SkillSettings
from sdar_gym.envs.prompting import prompt_template
from sdar_gym.envs.registry import entry_of
from sdar_gym.rollout.collector import Collector
from sdar_gym.rollout.context import PromptContext, PromptLimits
from sdar_gym.rollout.conversation_context import ConversationContext
from sdar_gym.rollout.engines.base import Engine
from sdar_gym.rollout.environments import make_env
from sdar_gym.rollout.episode_limits import EpisodeLimits
from sdar_gym.rollout.few_shot import worked_turns
from sdar_gym.rollout.time_limits import TimeLimits
from sdar_gym.rollout.window_context import WindowContext
from sdar_gym.skills import Retriever, make_retriever
from sdar_gym.skills.controls import library_of
from sdar_gym.skills.lookup import skill_env_name
from sdar_gym.skills.strategies.controls import NoRetriever


def build_retriever(env_id: str, settings: SkillSettings) -> Retriever:
    """The retriever of the teacher's skills.

    Raises:
        ValueError: Unknown strategy or library, a setting of another strategy, or an environment without skills.
    """
    wanted = settings.strategy != NoRetriever.name
    library = library_of(settings.library, entry_of(env_id).skills) if wanted else None
    if wanted and library is None:
        raise ValueError(f"{env_id} has no skill library: set skills.library, or skills.strategy=none.")
    return make_retriever(
        settings.strategy,
        library,
        k=settings.k,
        include_general=settings.include_general,
        backend=settings.backend,
        include_mistakes=settings.include_mistakes,
        field_weights=settings.field_weights,
        seed=settings.seed,
        ucb_c=settings.ucb_c,
    )


def build_context(
    tokenizer: Any, env_id: str, env_config: Mapping[str, Any], rollout: RolloutSettings
) -> PromptContext:
    """The builder of an environment's prompts.

    Raises:
        ValueError: The template is unknown, or the expert cannot provide worked turns.
    """
    template = prompt_template(env_id, rollout.prompt)
    limits = PromptLimits(
        prompt=rollout.max_prompt_tokens,
        teacher_prompt=rollout.teacher_prompt_limit,
        response=rollout.max_response_tokens,
        context=rollout.max_context_tokens,
        observation=rollout.max_observation_tokens,
    )
    settings: dict[str, Any] = {
        "think": rollout.think,
        "lists_actions": rollout.show_actions,
        "chat_template_kwargs": rollout.chat_template_kwargs,
        "day": rollout.date,
    }
    context: PromptContext
    if rollout.context == "conversation":
        keep = rollout.rewritten_history == "keep"
        context = ConversationContext(tokenizer, template, limits, keep_history=keep, **settings)
    else:
        context = WindowContext(
            tokenizer,
            template,
            limits,
            window=rollout.window,
            untagged_characters=rollout.untagged_characters,
            **settings,
        )
    if rollout.system is not None:
        context.opening.append({"role": "system", "content": rollout.system})
    if rollout.few_shot:
        context.opening += worked_turns(
            env_id, env_config, template, rollout.few_shot, context.turn_messages, think=rollout.think
        )
    return context


def build_collector(
    engine: Engine,
    tokenizer: Any,
    env_id: str,
    env_config: Mapping[str, Any],
    rollout: RolloutSettings,
    retriever: Retriever,
    *,
    teacher_prompts: bool,
    skills_in_prompt: bool,
    episode_limits: EpisodeLimits | None = None,
) -> Collector:
    """The collector of an environment's episodes."""
    return Collector(
        engine,
        tokenizer,
        lambda: make_env(env_id, env_config),
        build_context(tokenizer, env_id, env_config, rollout),
        retriever,
        skill_env_name(env_id),
        teacher_prompts=teacher_prompts,
        skills_in_prompt=skills_in_prompt,
        episode_limits=episode_limits,
        time_limits=TimeLimits(rollout.turn_timeout_s, rollout.stall_timeout_s),
    )

"""Puts a collector together from settings: the same one for training, for evaluation, and inside a remote worker."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from inspect import signature
from typing import Any

import gymnasium
from transformers import PreTrainedModel

from sdar_gym.configs.settings import RolloutSettings, SkillSettings
from sdar_gym.envs.prompting import prompt_template
from sdar_gym.envs.registry import entry_of
from sdar_gym.envs.text_env import TextEnv
from sdar_gym.policy.chat import unusable_ids
from sdar_gym.policy.load import stop_token_ids
from sdar_gym.policy.sizing import default_batch_tokens
from sdar_gym.rollout.collector import Collector
from sdar_gym.rollout.context import ContextBuilder
from sdar_gym.rollout.engines.transformers_engine import TransformersEngine
from sdar_gym.skills import Retriever, load_library, make_retriever
from sdar_gym.skills.lookup import skill_env_name
from sdar_gym.skills.strategies.controls import NoRetriever


def make_env(env_id: str, env_config: Mapping[str, Any]) -> TextEnv:
    """One environment.

    Raises:
        ValueError: The id is not registered, or an argument is unknown or senseless.
    """
    module, _, name = entry_of(env_id).entry_point.partition(":")
    known = [key for key in signature(getattr(import_module(module), name)).parameters if key != "render_mode"]
    unknown = sorted(set(env_config) - set(known))
    if unknown:
        close = get_close_matches(unknown[0], known, n=1)
        hint = f" Did you mean env_config.{close[0]}?" if close else ""
        raise ValueError(f"{env_id} has no argument {', '.join(unknown)}; it has {', '.join(known)}.{hint}")
    with warnings.catch_warnings():
        # Gymnasium recommends wrappers that a batch of conversations has no use for.
        warnings.simplefilter("ignore", UserWarning)
        try:
            env = gymnasium.make(env_id, **env_config).unwrapped
        except TypeError as error:
            raise ValueError(f"The arguments do not fit {env_id}: {error}.") from error
    if not isinstance(env, TextEnv):
        raise ValueError(f"{env_id} is no TextEnv: {type(env).__name__}.")
    return env


def build_retriever(env_id: str, settings: SkillSettings) -> Retriever:
    """The retriever of the teacher's skills.

    Raises:
        ValueError: Unknown strategy or library, a setting of another strategy, or an environment without skills.
    """
    wanted = settings.strategy != NoRetriever.name
    library = (settings.library or entry_of(env_id).skills) if wanted else None
    if wanted and library is None:
        raise ValueError(f"{env_id} has no skill library of its own: set skills.library, or skills.strategy=none.")
    return make_retriever(
        settings.strategy,
        load_library(library) if library is not None else None,
        k=settings.k,
        include_general=settings.include_general,
        backend=settings.backend,
        include_mistakes=settings.include_mistakes,
        field_weights=settings.field_weights,
        seed=settings.seed,
        ucb_c=settings.ucb_c,
    )


def build_engine(model: PreTrainedModel, tokenizer: Any, rollout: RolloutSettings | None = None) -> TransformersEngine:
    """The default engine around a model, on the model's device.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        rollout: Settings of the chat template and of the batch; None for the defaults.
    """
    rollout = rollout or RolloutSettings()
    return TransformersEngine(
        model,
        stop_ids=stop_token_ids(model, tokenizer, rollout.chat_template_kwargs),
        pad_id=pad_id(tokenizer),
        forbidden_ids=unusable_ids(tokenizer, model.config.get_text_config().vocab_size),
        max_batch_tokens=rollout.max_batch_tokens or default_batch_tokens(model),
    )


def build_context(
    tokenizer: Any, env_id: str, env_config: Mapping[str, Any], rollout: RolloutSettings
) -> ContextBuilder:
    """The builder of an environment's prompts.

    Raises:
        ValueError: An unknown template, or worked turns that cannot be had.
    """
    # Worked turns are made by an environment, which this module makes.
    from sdar_gym.rollout.few_shot import worked_turns

    template = prompt_template(env_id, rollout.prompt)
    opening = [] if rollout.system is None else [{"role": "system", "content": rollout.system}]
    if rollout.few_shot:
        opening += worked_turns(
            env_id, env_config, template, rollout.few_shot, window=rollout.window, think=rollout.think
        )
    return ContextBuilder(
        tokenizer,
        template,
        window=rollout.window,
        max_prompt_tokens=rollout.max_prompt_tokens,
        max_teacher_prompt_tokens=rollout.teacher_prompt_limit,
        think=rollout.think,
        chat_template_kwargs=rollout.chat_template_kwargs,
        opening=opening,
        untagged_characters=rollout.untagged_characters,
        day=rollout.date,
    )


def build_collector(
    engine: TransformersEngine,
    tokenizer: Any,
    env_id: str,
    env_config: Mapping[str, Any],
    rollout: RolloutSettings,
    retriever: Retriever,
    *,
    teacher_prompts: bool,
    skills_in_prompt: bool,
) -> Collector:
    """A collector of an environment's episodes."""
    return Collector(
        engine,
        tokenizer,
        lambda: make_env(env_id, env_config),
        build_context(tokenizer, env_id, env_config, rollout),
        retriever,
        skill_env_name(env_id),
        teacher_prompts=teacher_prompts,
        skills_in_prompt=skills_in_prompt,
    )


def pad_id(tokenizer: Any) -> int:
    """Any token that may stand for padding."""
    return int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id)

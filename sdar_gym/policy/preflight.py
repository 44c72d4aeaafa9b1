"""Preflight check of a policy: model, tokenizer and chat template, before Ray starts.

Compares stop tokens, context lengths, chat template and response format in a second or two. Weights of large models
are left to the workers that load them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from transformers import GenerationConfig, PreTrainedConfig

from sdar_gym.configs.sections import PolicySettings, RolloutSettings
from sdar_gym.envs.prompting import EpisodeView, Message, PastTurn, PromptTemplate
from sdar_gym.paths import first_line
from sdar_gym.policy.chat import QUESTION, ChatFormat, ChatTemplateError, unusable_ids
from sdar_gym.policy.chat_template_checks import refuse_random, refuse_wrong_settings, template_variables
from sdar_gym.policy.context_length import context_length, scales_by_length
from sdar_gym.policy.errors import PolicyLoadError, failed
from sdar_gym.policy.load import (
    load_generation_config,
    load_model,
    load_model_config,
    load_tokenizer,
    named_stop_ids,
    stop_token_ids,
)
from sdar_gym.policy.model_source import policy_source, refuse_incomplete_files
from sdar_gym.policy.response_format import check_response_formats, response_tags
from sdar_gym.policy.sizing import Shape, empty_model, shape_of
from sdar_gym.text import shortened

# Models up to this many bytes in single precision are loaded and tested before the run.
_SMALL_BYTES = 2**31
_VIEW = EpisodeView(
    goal="put a mug on the desk",
    history=(PastTurn("You are in the middle of a room.", "look"),),
    observation="On the desk 1, you see a mug 1.",
    admissible_actions=("look", "go to desk 1"),
)


@dataclass(frozen=True, slots=True)
class PolicyFacts:
    """Results of the preflight check.

    Attributes:
        model_type: The architecture's name in `transformers`.
        shape: The model's size.
        context_length: Most tokens of prompt and response together; None without limit.
        stop_ids: Ids of the tokens that end a response.
        stop_tokens: The same tokens as text.
        asks_for_clock: Whether the chat template writes today's date.
        response_start: Start of the response written by the chat template, such as `<think>`.
        unusable_ids: Number of rows of the head without a token.
        notes: Notes for the user, a sentence each.
    """

    model_type: str
    shape: Shape
    context_length: int | None
    stop_ids: tuple[int, ...]
    stop_tokens: tuple[str, ...]
    asks_for_clock: bool
    response_start: str
    unusable_ids: int
    notes: tuple[str, ...]


def check_policy(
    name: str,
    *,
    rollout: RolloutSettings,
    policy: PolicySettings,
    template: PromptTemplate,
    view: EpisodeView | None = None,
    teacher: str | None = None,
) -> PolicyFacts:
    """Refuse a policy that a run could not use.

    Args:
        name: The model, see `policy_source`.
        rollout: Lengths, chat template settings, response format.
        policy: Precision and adapters.
        template: The environment's prompt template.
        view: An example turn to render; None for a built-in one from ALFWorld.
        teacher: Name of another model that is the teacher, or None.

    Raises:
        PolicyLoadError: The model, its files, its tokenizer or its chat template cannot be used.
        ValueError: The settings do not fit the model.
    """
    source = policy_source(name)
    refuse_incomplete_files(source.model)
    tokenizer, config = load_tokenizer(name), load_model_config(name)
    day = rollout.date
    shape = _checked_shape(name, config, policy)
    unusable = _unusable(name, tokenizer, config.get_text_config().vocab_size)
    _check_lengths(f"policy.model={name!r}", config, rollout)
    if teacher is not None:
        _check_lengths(f"teacher.model={teacher!r}", load_model_config(teacher), rollout)
    generation = load_generation_config(name, config)
    try:
        chat = ChatFormat(tokenizer, rollout.chat_template_kwargs, day)
        stop_ids = stop_token_ids(generation, tokenizer, rollout.chat_template_kwargs)
        messages = template.messages(view or _VIEW, window=rollout.window, think=rollout.think)
        _check_template(chat, tokenizer, rollout, messages)
        tags = response_tags(template, messages, rollout.think)
        notes = [
            *_stop_notes(chat, tokenizer, generation, stop_ids),
            *check_response_formats(tokenizer, template, tags, stop_ids, rollout.think),
            *_thinking_notes(chat, rollout),
            *_conversation_notes(chat, rollout),
        ]
    except PolicyLoadError as error:
        raise type(error)(f"policy.model={name!r}: {error}") from error
    if chat.asks_for_clock and day is None:
        notes.append("The chat template writes today's date; set rollout.date for the same prompts on another day.")
    if 4 * shape.parameters <= _SMALL_BYTES:
        load_model(name, policy.dtype)
    return PolicyFacts(
        model_type=str(config.model_type),
        shape=shape,
        context_length=context_length(config),
        stop_ids=stop_ids,
        stop_tokens=tuple(str(tokenizer.convert_ids_to_tokens(token)) for token in stop_ids),
        asks_for_clock=chat.asks_for_clock,
        response_start=chat.response_start,
        unusable_ids=unusable,
        notes=tuple(notes),
    )


def _checked_shape(name: str, config: PreTrainedConfig, policy: PolicySettings) -> Shape:
    try:
        model = empty_model(config)
    except Exception as error:  # A configuration may raise any exception.
        raise failed(name, "model", first_line(error)) from error
    if policy.lora is not None:
        # Imported here: peft is slow to import.
        from sdar_gym.policy.lora import refuse_wrong_targets

        refuse_wrong_targets(model, policy.lora.target_modules)
    return shape_of(model)


def _unusable(name: str, tokenizer: Any, vocabulary: int) -> int:
    """Number of rows of the head without a token."""
    largest = max(tokenizer.get_vocab().values())
    if largest >= vocabulary:
        raise PolicyLoadError(
            f"The tokenizer of {name!r} has {largest + 1} tokens, and the model has {vocabulary}; use the tokenizer "
            "that it was trained with, or resize the model's embeddings and train the new ones."
        )
    return len(unusable_ids(tokenizer, vocabulary))


def _check_lengths(subject: str, config: PreTrainedConfig, rollout: RolloutSettings) -> None:
    """Compare the longest sequences of student and teacher with the model's context length.

    Args:
        subject: The setting that names the model, for the message.
        config: The model's configuration.
        rollout: The lengths.

    Raises:
        ValueError: They are longer.
    """
    limit = context_length(config)
    if limit is None:
        return
    response, conversation = rollout.max_response_tokens, rollout.max_context_tokens or 0
    room = max(0, (rollout.max_teacher_prompt_tokens or 0) - rollout.max_prompt_tokens) if conversation else 0
    longest_of = {
        "max_prompt_tokens + max_response_tokens": rollout.max_prompt_tokens + response,
        "max_teacher_prompt_tokens + max_response_tokens": (rollout.max_teacher_prompt_tokens or 0) + response,
        "max_context_tokens": conversation,
        "max_context_tokens + max_teacher_prompt_tokens - max_prompt_tokens": conversation + room,
    }
    for settings, longest in longest_of.items():
        if longest <= limit:
            continue
        sentence = f"rollout.{settings} = {longest:,} is more than the {limit:,} tokens that {subject}"
        kind = scales_by_length(config)
        if kind is not None:
            raise ValueError(
                f"{sentence} reads without scaling its positions by the longest row of a batch (rope_type {kind}), "
                "which would make a response's log-probabilities depend on the other rows. Lower them, or take a model "
                "with a fixed scale (yarn)."
            )
        raise ValueError(f"{sentence} can read. Lower one of them, or take a model with a longer context.")


def _check_template(chat: ChatFormat, tokenizer: Any, rollout: RolloutSettings, turn: list[Message]) -> None:
    """Render a prompt as the run will, and check that it includes every message."""
    refuse_wrong_settings(tokenizer, chat, rollout.chat_template_kwargs)
    refuse_random(chat)
    opening: list[Message] = []
    if rollout.system is not None:
        opening.append({"role": "system", "content": rollout.system})
    if rollout.few_shot:
        opening += [*turn, {"role": "assistant", "content": "<action>look</action>"}]
    text = chat.text([*opening, *turn])
    for message in (*opening, *turn):
        if message["content"].strip() not in text:
            raise ChatTemplateError(
                f"The chat template leaves out or changes the message of the role {message['role']!r} "
                f"({shortened(message['content'], 60)})."
            )


def _stop_notes(
    chat: ChatFormat, tokenizer: Any, generation: GenerationConfig, stop_ids: Collection[int]
) -> Iterator[str]:
    end = chat.turn_end
    named = named_stop_ids(generation, tokenizer)
    if end is None:
        tokens = ", ".join(tokenizer.convert_ids_to_tokens(sorted(named)))
        yield f"The chat template has no token that ends a response; sampling stops only at {tokens}."
    elif end not in named:
        yield (
            f"The chat template ends a response with {tokenizer.convert_ids_to_tokens(end)}, which neither the "
            "generation settings nor the tokenizer name as an end token; it was added to the stop tokens."
        )
    early = [token for token in tokenizer.encode(chat.before_response, add_special_tokens=False) if token in stop_ids]
    if early:
        raise ChatTemplateError(
            f"The chat template writes {tokenizer.convert_ids_to_tokens(early[0])} inside a response, and it is a stop "
            "token: responses would end there. Remove it from eos_token_id in generation_config.json."
        )


def _conversation_notes(chat: ChatFormat, rollout: RolloutSettings) -> Iterator[str]:
    if rollout.context != "conversation":
        return
    chat.continuation_ids(QUESTION, ended=True)  # Refuses a template without past responses.
    thinking = rollout.think or bool(chat.response_start)
    if not chat.rewrites_history(thinking=thinking):
        return
    if rollout.rewritten_history == "fork":
        yield (
            "The chat template renders past responses otherwise than they were sampled, so that every turn of a "
            "conversation begins a new sequence and reads the past again; rollout.rewritten_history=keep keeps what "
            "was sampled."
        )
    else:
        yield (
            "Past responses stay as they were sampled, which the chat template would rewrite: serve the policy in the "
            "same way."
        )


def _thinking_notes(chat: ChatFormat, rollout: RolloutSettings) -> Iterator[str]:
    switch = "enable_thinking" in template_variables(chat.template)
    remedy = "rollout.chat_template_kwargs={enable_thinking: false}" if switch else "a chat template without it"
    if rollout.think:
        if chat.thinking_closed:
            yield (
                "The chat template writes an empty <think></think> before the response, and the prompt asks for "
                "reasoning; remove enable_thinking from rollout.chat_template_kwargs, or set rollout.think=false."
            )
    elif chat.response_start:
        yield f"The chat template opens <think> although rollout.think is false; {remedy} saves the reasoning tokens."
    elif switch and "enable_thinking" not in rollout.chat_template_kwargs:
        yield f"The model may reason in <think> tags although rollout.think is false; {remedy} prevents it."

"""`sdar-gym doctor --model`: what the gym will do with a model, and what does not fit; loads no weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sdar_gym.cli.doctor import Finding
from sdar_gym.configs.sections import RolloutSettings, SkillSettings
from sdar_gym.envs.registry import entry_of
from sdar_gym.policy.chat import ChatFormat, unusable_ids
from sdar_gym.policy.context_length import context_length
from sdar_gym.policy.errors import PolicyLoadError
from sdar_gym.policy.load import (
    load_generation_config,
    load_model_config,
    load_tokenizer,
    named_stop_ids,
    stop_token_ids,
)
from sdar_gym.policy.model_source import policy_source, refuse_incomplete_files
from sdar_gym.policy.sizing import choose_training_sizes, empty_model, learner_machine, shape_of
from sdar_gym.policy.template_traits import TemplateTraits, template_traits
from sdar_gym.rollout.build import build_retriever
from sdar_gym.rollout.turn_lengths import TurnLengths, turn_lengths
from sdar_gym.text import shortened

_WIDTHS = {"float32": 4, "float64": 8}


def model_findings(name: str, env_id: str) -> list[Finding]:
    """What is to be known of a model before a run.

    Args:
        name: A folder, `builtin:tiny` or a hub model.
        env_id: The environment whose turns are counted.

    Raises:
        PolicyLoadError: It is no model, or its tokenizer or chat template cannot be used.
        ValueError: The environment cannot be made.
    """
    entry_of(env_id)
    refuse_incomplete_files(policy_source(name).model)
    tokenizer, config = load_tokenizer(name), load_model_config(name)
    shape = shape_of(empty_model(config))
    dtype = str(config.get_text_config().dtype or "float32").removeprefix("torch.")
    width = _WIDTHS.get(dtype, 2)
    rollout = RolloutSettings()
    chat = ChatFormat(tokenizer, rollout.chat_template_kwargs, "2026-01-01")
    traits = template_traits(tokenizer, chat)
    limit = context_length(config)
    report = [
        Finding("model", f"{config.model_type}, {shape.parameters / 1e6:.1f}M parameters, saved in {dtype}"),
        Finding("context length", "no limit" if limit is None else f"{limit:,} tokens"),
        _vocabulary(name, tokenizer, config.get_text_config().vocab_size),
        *_template(traits),
        *_ends(name, tokenizer, config, chat),
        _context_rule(traits),
    ]
    kv = shape.layers * shape.kv * width
    whole = "" if limit is None else f"; {_size(kv * limit)} for a sequence of {limit:,}"
    report.append(Finding("keys and values", f"{kv / 1024:.1f} KiB a token in {dtype}{whole}"))
    sizes = choose_training_sizes(
        shape,
        learner_machine(False),
        half=width == 2,
        lora=False,
        models_beside=1,
        micro_batch_tokens=None,
        gradient_checkpointing=None,
    )
    fits, _, remedy = sizes.note.partition("; ")
    report.append(Finding("training here, on the CPU", fits, remedy))
    retriever = None if entry_of(env_id).skills is None else build_retriever(env_id, SkillSettings())
    lengths = turn_lengths(tokenizer, env_id, {}, replace(rollout, date="2026-01-01"), retriever)
    report += _episode(env_id, lengths, rollout, limit)
    return report


def _vocabulary(name: str, tokenizer: Any, rows: int) -> Finding:
    tokens, largest = len(tokenizer), max(tokenizer.get_vocab().values())
    if largest >= rows:
        raise PolicyLoadError(
            f"The tokenizer of {name!r} has {largest + 1} tokens, and the model {rows}; use the tokenizer that it was "
            "trained with."
        )
    empty = len(unusable_ids(tokenizer, rows))
    state = f"{tokens:,} tokens, {rows:,} rows of the model"
    return Finding("vocabulary", state + (f"; {empty:,} rows have no token and are never sampled" if empty else ""))


def _template(traits: TemplateTraits) -> Iterator[Finding]:
    remedy = "" if traits.system == "read" else "leave rollout.system unset"
    own = f"; without one it writes {shortened(traits.own_system, 100)}" if traits.own_system else ""
    yield Finding("system message", traits.system + own, remedy)
    yield Finding(
        "two user messages in a row", "refused; the gym never sends them" if traits.alternates else "accepted"
    )
    if traits.response_start:
        yield Finding("generation prompt", "opens <think>", "rollout.think=true, or a template without it")
    else:
        closed = "writes an empty <think></think>" if traits.thinking_closed else "writes no <think>"
        yield Finding("generation prompt", closed)
    yield Finding("date", "writes today's; a run fixes it (rollout.date)" if traits.asks_for_clock else "none")


def _ends(name: str, tokenizer: Any, config: Any, chat: ChatFormat) -> Iterator[Finding]:
    generation = load_generation_config(name, config)
    ids = stop_token_ids(generation, tokenizer)
    state = ", ".join(str(tokenizer.convert_ids_to_tokens(token)) for token in ids)
    if chat.turn_end is None:
        yield Finding("end tokens", f"{state}; the template ends a response with none", "use a template that has one")
    else:
        added = "" if chat.turn_end in named_stop_ids(generation, tokenizer) else "; the template's own was added"
        yield Finding("end tokens", state + added)
    pad = tokenizer.pad_token
    same = " (also an end token: padding is masked by length)" if tokenizer.pad_token_id in ids else ""
    yield Finding("padding", f"{pad}{same}" if pad else "none; the end token is used and masked by length")


def _context_rule(traits: TemplateTraits) -> Finding:
    if traits.keeps_plain and traits.keeps_thinking:
        return Finding("conversation", "past responses stay as sampled: one sequence an episode")
    which = "thinking" if traits.keeps_plain else "every past response" if not traits.keeps_thinking else "plain ones"
    return Finding(
        "conversation",
        f"the template rewrites {which} of the past: such turns begin a new sequence (fork)",
        "rollout.rewritten_history=keep, or rollout.think=false"
        if traits.keeps_plain
        else "rollout.rewritten_history=keep",
    )


def _episode(env_id: str, lengths: TurnLengths, rollout: RolloutSettings, limit: int | None) -> Iterator[Finding]:
    skills = "" if lengths.with_skills is None else f", {lengths.with_skills:,} with skills"
    yield Finding(
        f"turns of {env_id}",
        f"first prompt up to {lengths.first:,} tokens{skills}; a turn adds {lengths.added:.0f} and the response "
        f"({lengths.policy} play, without lists of actions)",
    )
    response = rollout.max_response_tokens
    longest = lengths.window + max(0, (lengths.with_skills or 0) - lengths.first) + response
    if limit is None:
        return
    yield Finding(
        "window",
        f"longest prompt {lengths.window:,}; with skills and a response of {response} {longest:,} of {limit:,} tokens",
        "" if longest <= limit else "lower rollout.max_response_tokens, or use a model with a longer context",
    )
    fitting = lengths.turns_that_fit(limit, response)
    fits = fitting >= lengths.turns
    remedy = "" if fits else _shorter(lengths, limit)
    yield Finding(
        "longest episode",
        f"{min(fitting, lengths.turns)} of {lengths.turns} turns in a conversation with responses of {response} tokens",
        remedy,
    )


def _shorter(lengths: TurnLengths, limit: int) -> str:
    """The response length with which a whole episode fits."""
    first = max(lengths.first, lengths.with_skills or 0)
    response = int((limit - first - (lengths.turns - 1) * lengths.added) / lengths.turns)
    if response < 1:
        return "use rollout.context=window, or a model with a longer context"
    return f"rollout.max_response_tokens={response} for all turns, or rollout.context=window"


def _size(number: float) -> str:
    return f"{number / 2**30:.1f} GiB" if number >= 2**30 else f"{number / 2**20:.0f} MiB"

"""Continuing a chat: what is appended between two responses, and whether a template keeps what was sampled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_chat import ADDED, CHATML, HEAD, TEMPLATES  # pyright: ignore[reportMissingImports]
from thinking_template import THINKING  # pyright: ignore[reportMissingImports]
from transformers import AutoTokenizer

from sdar_gym.policy.chat import ChatFormat, ChatTemplateError

TURNS = ("You are in a room.\n\nWhat now?", "\nYou see a desk 1.", "It is closed.\n")
REPLIES = ("<action>go to desk 1</action>", "open it", "<action>look</action>")
KEEPING = {
    "chatml": (CHATML + HEAD + "{%- endif -%}", "<|im_end|>"),
    "no line break after the end": (
        "{%- for m in messages -%}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' }}{%- endfor -%}"
        + HEAD
        + "{%- endif -%}",
        "<|im_end|>",
    ),
    "gemma": (
        TEMPLATES["gemma"][0] + "{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}",
        "<end_of_turn>",
    ),
    "phi3": (
        "{%- for m in messages -%}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{ '<|assistant|>\n' }}{%- else -%}<|endoftext|>{%- endif -%}",
        "<|end|>",
    ),
    "glm": (
        TEMPLATES["glm: the next turn's first token"][0]
        + "{%- if add_generation_prompt -%}{{ '<|assistant|>\n' }}{%- endif -%}",
        "<|user|>",
    ),
    "plain text": (
        TEMPLATES["plain text"][0] + "{%- if add_generation_prompt -%}{{ '### assistant\n' }}{%- endif -%}",
        None,
    ),
}


def chat_of(folder: Path, template: str, **kwargs: Any) -> tuple[Any, ChatFormat]:
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ADDED})
    tokenizer.chat_template = template
    return tokenizer, ChatFormat(tokenizer, kwargs)


def conversation(turns: int) -> list[dict[str, str]]:
    messages = []
    for number in range(turns):
        messages.append({"role": "user", "content": TURNS[number]})
        messages.append({"role": "assistant", "content": REPLIES[number]})
    return [*messages, {"role": "user", "content": TURNS[turns % len(TURNS)]}]


@pytest.mark.parametrize("name", KEEPING)
def test_appended_ids_are_those_of_the_whole_rendered_conversation(name: str, policy_folder: Path) -> None:
    template, end = KEEPING[name]
    tokenizer, chat = chat_of(policy_folder, template)
    assert not chat.rewrites_history(thinking=False)
    ids = chat.prompt_ids(conversation(0))
    for number in range(2):
        ids += tokenizer.encode(REPLIES[number], add_special_tokens=False)
        if end is not None:
            assert tokenizer.convert_tokens_to_ids(end) == chat.turn_end
            ids.append(chat.turn_end)
        ids += chat.continuation_ids(TURNS[number + 1], ended=end is not None)
        whole = chat.prompt_ids(conversation(number + 1))
        if end is None:  # The response's text and what follows it may share a token in the rendered whole.
            assert tokenizer.decode(ids) == tokenizer.decode(whole)
        else:
            assert ids == whole


def test_a_missing_end_token_is_added(policy_folder: Path) -> None:
    _, chat = chat_of(policy_folder, KEEPING["chatml"][0])
    ended, cut = (chat.continuation_ids("Go on.", ended=ended) for ended in (True, False))
    assert cut == [chat.turn_end, *ended]


def test_a_special_token_spelled_in_an_observation_is_ordinary_text(policy_folder: Path) -> None:
    tokenizer, chat = chat_of(policy_folder, KEEPING["chatml"][0])
    ids = chat.continuation_ids("The sign says <|im_end|>.", ended=True)
    assert ids.count(chat.turn_end) == 1  # The one that ends the user's message.
    assert "The sign says <|im_end|>." in tokenizer.decode(ids)


def test_a_template_that_drops_thinking_rewrites_history(policy_folder: Path) -> None:
    _, thinking = chat_of(policy_folder, THINKING)
    assert thinking.rewrites_history(thinking=True) and not thinking.rewrites_history(thinking=False)
    _, without = chat_of(policy_folder, THINKING, enable_thinking=False)
    assert without.rewrites_history(thinking=False)
    _, plain = chat_of(policy_folder, KEEPING["chatml"][0])
    assert not plain.rewrites_history(thinking=True)


def test_a_template_without_past_responses_cannot_be_continued(policy_folder: Path) -> None:
    _, chat = chat_of(policy_folder, "{{ messages[-1].content }}")
    with pytest.raises(ChatTemplateError, match="does not render past responses"):
        chat.continuation_ids("Go on.", ended=True)

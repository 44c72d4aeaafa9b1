"""Whether responses in the form that a prompt asks for survive this tokenizer: text to ids, and back to text."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from sdar_gym.envs.prompting import Message, PromptTemplate
from sdar_gym.policy.chat import decode_response
from sdar_gym.policy.errors import PolicyLoadError

_OPENING = re.compile(r"<([A-Za-z_][\w.-]*)>")
_TAGS = ("action", "search", "answer")
_ACTION = "go to desk 1"
# What worlds may hold beside plain words: capitals, blanks before punctuation and in pairs, accents.
_UNUSUAL = ("Go to Desk 1", "look , then wait", "two  blanks", "crème brûlée")


class ResponseFormatError(PolicyLoadError):
    """A tokenizer or a stop token with which no response could have the form that is asked for."""


def response_tags(template: PromptTemplate, messages: Sequence[Message], think: bool) -> list[str]:
    """Names of the tags that may hold an action, as the prompt spells them or its parser reads them."""
    text = "\n".join(message["content"] for message in messages)
    asked = [name for name in dict.fromkeys(_OPENING.findall(text)) if f"</{name}>" in text]
    names = dict.fromkeys((*asked, *_TAGS))
    return [
        name for name in names if name != "think" and template.parse(_form(name, _ACTION, think), think=think).valid
    ]


def check_response_formats(
    tokenizer: Any, template: PromptTemplate, tags: Sequence[str], stop_ids: Collection[int], think: bool
) -> Iterator[str]:
    """Encode and decode responses of every form.

    Args:
        tokenizer: The policy's.
        template: Of the environment.
        tags: What `response_tags` gave.
        stop_ids: Tokens that end a response.
        think: Whether responses reason first.

    Yields:
        What is changed, but does no harm to most actions.

    Raises:
        ResponseFormatError: The tags or a plain action get lost, or a stop token is part of the form.
    """
    for name in tags:
        form = _form(name, _ACTION, think)
        ids = tokenizer.encode(form, add_special_tokens=False)
        inside = [token for token in ids if token in stop_ids]
        if inside:
            raise ResponseFormatError(
                f"The token {tokenizer.convert_ids_to_tokens(inside[0])!r} ends a response and is part of the form "
                f"that the prompt asks for, {form!r}: every response would stop before its action. Take it out of "
                "eos_token_id in generation_config.json, or out of the tokenizer's eos_token."
            )
        back = decode_response(tokenizer, ids, stop_ids)
        lost = [tag for tag in re.findall(r"</?[\w.-]+>", form) if tag not in back]
        if lost:
            raise ResponseFormatError(
                f"The tokenizer loses {', '.join(lost)}: {form!r} comes back as {back!r}, so that no response could be "
                "read. Add them to the tokenizer as tokens that are not special, or use another prompt."
            )
        if template.parse(back, think=think) != template.parse(form, think=think):
            raise ResponseFormatError(
                f"The tokenizer changes responses: {form!r} comes back as {back!r}. Use a model whose tokenizer gives "
                "text back as it was, such as Qwen2.5, Qwen3 or Llama."
            )
    changed = [(text, back) for text in _UNUSUAL if (back := _back(tokenizer, text)) != text] if tags else []
    if changed:
        text, back = changed[0]
        yield f"The tokenizer does not give all text back as it was ({text!r} becomes {back!r}): actions may miss."


def _form(name: str, action: str, think: bool) -> str:
    reasoning = "<think>\nI look around first.\n</think>\n" if think else ""
    return f"{reasoning}<{name}>{action}</{name}>"


def _back(tokenizer: Any, text: str) -> str:
    return decode_response(tokenizer, tokenizer.encode(text, add_special_tokens=False), ()).strip()

"""Response format check: a response with action tags must survive encoding and decoding by the tokenizer."""

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
# Unusual text in actions: capitals, spaces before punctuation, double spaces, accents.
_UNUSUAL = ("Go to Desk 1", "look , then wait", "two  blanks", "crème brûlée")


class ResponseFormatError(PolicyLoadError):
    """A tokenizer or a stop token with which no response could have the required format."""


def response_tags(template: PromptTemplate, messages: Sequence[Message], think: bool) -> list[str]:
    """Names of the tags that may hold an action: those in the prompt text and those that its parser accepts."""
    text = "\n".join(message["content"] for message in messages)
    asked = [name for name in dict.fromkeys(_OPENING.findall(text)) if f"</{name}>" in text]
    names = dict.fromkeys((*asked, *_TAGS))
    return [
        name for name in names if name != "think" and template.parse(_response(name, _ACTION, think), think=think).valid
    ]


def check_response_formats(
    tokenizer: Any, template: PromptTemplate, tags: Sequence[str], stop_ids: Collection[int], think: bool
) -> Iterator[str]:
    """Encode and decode an example response for every tag.

    Args:
        tokenizer: The policy's tokenizer.
        template: The environment's prompt template.
        tags: Result of `response_tags`.
        stop_ids: Tokens that end a response.
        think: Whether responses include reasoning.

    Yields:
        Notes on changes of the text that do not affect most actions.

    Raises:
        ResponseFormatError: The tags or a plain action are lost, or a stop token is part of the format.
    """
    for name in tags:
        form = _response(name, _ACTION, think)
        ids = tokenizer.encode(form, add_special_tokens=False)
        inside = [token for token in ids if token in stop_ids]
        if inside:
            raise ResponseFormatError(
                f"The token {tokenizer.convert_ids_to_tokens(inside[0])!r} ends a response and is part of the "
                f"format that the prompt asks for, {form!r}: every response would stop before its action. Remove it "
                "from eos_token_id in generation_config.json, or from the tokenizer's eos_token."
            )
        back = decode_response(tokenizer, ids, stop_ids)
        lost = [tag for tag in re.findall(r"</?[\w.-]+>", form) if tag not in back]
        if lost:
            raise ResponseFormatError(
                f"The tokenizer loses {', '.join(lost)}: {form!r} is decoded as {back!r}, so no response could be "
                "parsed. Add them to the tokenizer as non-special tokens, or use another prompt."
            )
        if template.parse(back, think=think) != template.parse(form, think=think):
            raise ResponseFormatError(
                f"The tokenizer changes responses: {form!r} is decoded as {back!r}. Use a model with a tokenizer "
                "that preserves text, such as Qwen2.5, Qwen3 or Llama."
            )
    changed = [(text, back) for text in _UNUSUAL if (back := _round_trip(tokenizer, text)) != text] if tags else []
    if changed:
        text, back = changed[0]
        yield f"The tokenizer does not preserve all text ({text!r} becomes {back!r}): actions may be misread."


def _response(name: str, action: str, think: bool) -> str:
    reasoning = "<think>\nI look around first.\n</think>\n" if think else ""
    return f"{reasoning}<{name}>{action}</{name}>"


def _round_trip(tokenizer: Any, text: str) -> str:
    return decode_response(tokenizer, tokenizer.encode(text, add_special_tokens=False), ()).strip()

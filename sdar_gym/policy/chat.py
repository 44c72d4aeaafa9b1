"""From messages to token ids by a model's chat template, and from sampled ids back to the text of a response.

What the template adds and what the messages say are kept apart: text of a world that spells a special token does not
become one, and of a response only what ends a turn is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

from sdar_gym.paths import first_line
from sdar_gym.policy.chat_template_date import asks_for_clock, frozen_clock, frozen_template
from sdar_gym.policy.errors import PolicyLoadError
from sdar_gym.text import shortened

Message = Mapping[str, str]
_TAG = re.compile(r"</?([A-Za-z_][\w.-]*)>")
_THINKING = re.compile(r"<think>\s*(</think>\s*)?$")
# Words that a template has no reason to change, to find out what it puts around them.
QUESTION, REPLY = "Question7", "Reply7"


class ChatTemplateError(PolicyLoadError):
    """A chat template that cannot put these messages to the model."""


class ChatFormat:
    """A tokenizer's chat template with its settings.

    Args:
        tokenizer: The policy's.
        chat_template_kwargs: Passed to the template (`enable_thinking` of Qwen3, say).
        day: The day that the template sees, `YYYY-MM-DD`; None for today.
    """

    def __init__(self, tokenizer: Any, chat_template_kwargs: Mapping[str, Any] | None = None, day: str | None = None):
        self._tokenizer = tokenizer
        self._kwargs = dict(chat_template_kwargs or {})
        self.template = _template(tokenizer, self._kwargs)
        self.asks_for_clock = asks_for_clock(self.template)
        if self.asks_for_clock and day is not None:
            self._kwargs |= {"chat_template": frozen_template(self.template), "frozen_clock": frozen_clock(day)}

    def text(self, messages: Sequence[Message], *, generation_prompt: bool = True) -> str:
        """The messages as the template writes them.

        Args:
            messages: The conversation.
            generation_prompt: Whether the beginning of the response follows.

        Raises:
            ChatTemplateError: The template refuses them, or its settings are not its own.
        """
        try:
            rendered = self._tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tokenize=False,
                add_generation_prompt=generation_prompt,
                **self._kwargs,
            )
        except Exception as error:  # Templates raise whatever they like.
            roles = ", ".join(message["role"] for message in messages)
            raise ChatTemplateError(
                f"The chat template cannot write these messages (roles: {roles}): {type(error).__name__}: "
                f"{first_line(error)}"
            ) from error
        if not isinstance(rendered, str):
            raise ChatTemplateError(f"The chat template gives no text but {shortened(rendered)}.")
        return rendered

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of the messages up to where the response begins.

        A special token that a message spells is encoded as the characters it is written with; any other text has the
        ids that encoding the whole gives.

        Args:
            messages: The conversation.

        Raises:
            ChatTemplateError: See `text`.
        """
        spelled = self._spelled
        if spelled is None or not any(spelled.search(message["content"]) for message in messages):
            return self._tokenizer.encode(self.text(messages), add_special_tokens=False)
        cut = _unused(messages)
        marked = [
            {**message, "content": spelled.sub(lambda found: f"{found[0][0]}{cut}{found[0][1:]}", message["content"])}
            for message in messages
        ]
        pieces = self.text(marked).split(cut)
        return [token for piece in pieces for token in self._tokenizer.encode(piece, add_special_tokens=False)]

    @cached_property
    def turn_end(self) -> int | None:
        """The token with which the template ends a response, or None if it ends it with plain text or nothing."""
        known = getattr(self._tokenizer, "added_tokens_decoder", {})
        talk = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": REPLY}]
        # Where nothing follows the last response, the next turn's first token ends it.
        for messages in (talk, [*talk, {"role": "user", "content": QUESTION}]):
            try:
                rendered = self.text(messages, generation_prompt=False)
            except ChatTemplateError:
                return None
            _, found, after = rendered.rpartition(REPLY)
            if not found:
                return None
            ids = self._tokenizer.encode(after.partition(QUESTION)[0], add_special_tokens=False)
            ends = [token for token in ids if token in known and not known[token].content.isspace()]
            if ends:
                return int(ends[0])
        return None

    @cached_property
    def response_start(self) -> str:
        """What the template has already written of the response: `<think>` and a line break, say, or nothing.

        A parser that looks for `<think>` has to be given this before the sampled text.
        """
        found = _THINKING.search(self._asked)
        return found[0] if found and not found[1] else ""

    @cached_property
    def thinking_closed(self) -> bool:
        """Whether the template writes an empty reasoning before the response."""
        found = _THINKING.search(self._asked)
        return bool(found and found[1])

    @cached_property
    def before_response(self) -> str:
        """What the template writes between the generation prompt and a finished response's text; mostly nothing."""
        talk = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": REPLY}]
        try:
            rendered = self.text(talk, generation_prompt=False)
        except ChatTemplateError:
            return ""
        begun = rendered.startswith(self._asked)
        return rendered[len(self._asked) :].partition(REPLY)[0] if begun and REPLY in rendered else ""

    @cached_property
    def _asked(self) -> str:
        return self.text([{"role": "user", "content": QUESTION}])

    @cached_property
    def _spelled(self) -> re.Pattern[str] | None:
        tokens = framing_tokens(self._tokenizer, self.template)
        return re.compile("|".join(re.escape(token) for token in tokens)) if tokens else None


def turn_end(tokenizer: Any, chat_template_kwargs: Mapping[str, Any] | None = None) -> int | None:
    """The token with which the chat template ends a response; see `ChatFormat.turn_end`."""
    return ChatFormat(tokenizer, chat_template_kwargs).turn_end


def decode_response(tokenizer: Any, token_ids: Sequence[int], stop_ids: Collection[int]) -> str:
    """The text of a response: what ends the turn is dropped, every other token is kept, special ones too.

    Args:
        tokenizer: The policy's.
        token_ids: Sampled ids.
        stop_ids: Tokens that end a response.
    """
    ends = {*stop_ids, getattr(tokenizer, "pad_token_id", None)}
    ids = list(token_ids)
    while ids and ids[-1] in ends:
        ids.pop()
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def unusable_ids(tokenizer: Any, vocabulary: int) -> list[int]:
    """Rows of the language-model head that stand for no token: heads are often rounded up in size.

    Args:
        tokenizer: The policy's.
        vocabulary: Rows of the head.
    """
    known = set(tokenizer.get_vocab().values())
    return [token for token in range(vocabulary) if token not in known]


def framing_tokens(tokenizer: Any, template: str = "") -> list[str]:
    """Added tokens that frame turns, the longest first: special ones and those that the template writes.

    Pairs such as `<action>` and `</action>` belong to responses, and prompts ask for them.
    """
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    texts = {str(token.content) for token in added}
    named = {str(token) for token in getattr(tokenizer, "special_tokens_map", {}).values()}

    def is_tag(text: str) -> bool:
        found = _TAG.fullmatch(text)
        both = {f"<{found[1]}>", f"</{found[1]}>"} if found else set()
        return bool(both) and both <= texts and not both & named

    framing = {
        token.content
        for token in added
        if len(token.content) > 1 and not token.content.isspace() and (token.special or token.content in template)
    }
    return sorted((text for text in framing if not is_tag(text)), key=lambda text: (-len(text), text))


def _template(tokenizer: Any, kwargs: Mapping[str, Any]) -> str:
    own = kwargs.get("chat_template", getattr(tokenizer, "chat_template", None))
    if isinstance(own, Mapping):
        own = own.get("default")
    return own if isinstance(own, str) else ""


def _unused(messages: Sequence[Message]) -> str:
    """A character that no message has."""
    text = "".join(message["content"] for message in messages)
    return next(chr(code) for code in range(0xF0000, 0xFFFFE) if chr(code) not in text)

"""Chat templates: messages to prompt token ids, and sampled ids back to response text.

Special tokens come from the template alone: text of an environment that spells a special token is encoded as ordinary
characters. Decoding drops only the tokens that end a turn.
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
# Probe texts that no template changes; what surrounds them is what the template adds.
QUESTION, REPLY = "Question7", "Reply7"


class ChatTemplateError(PolicyLoadError):
    """A chat template that cannot render the messages of a run."""


class ChatFormat:
    """A tokenizer's chat template with its settings.

    Args:
        tokenizer: The policy's tokenizer.
        chat_template_kwargs: Variables passed to the template, such as Qwen3's `enable_thinking`.
        day: The date that the template reads, `YYYY-MM-DD`; None for today.
    """

    def __init__(self, tokenizer: Any, chat_template_kwargs: Mapping[str, Any] | None = None, day: str | None = None):
        self._tokenizer = tokenizer
        self._kwargs = dict(chat_template_kwargs or {})
        self.template = _template(tokenizer, self._kwargs)
        self.asks_for_clock = asks_for_clock(self.template)
        if self.asks_for_clock and day is not None:
            self._kwargs |= {"chat_template": frozen_template(self.template), "frozen_clock": frozen_clock(day)}

    def text(self, messages: Sequence[Message], *, generation_prompt: bool = True) -> str:
        """Render messages with the chat template.

        Args:
            messages: The conversation.
            generation_prompt: Whether to append the start of a response.

        Raises:
            ChatTemplateError: The template fails on these messages or settings.
        """
        try:
            rendered = self._tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tokenize=False,
                add_generation_prompt=generation_prompt,
                **self._kwargs,
            )
        except Exception as error:  # Templates may raise any exception.
            roles = ", ".join(message["role"] for message in messages)
            raise ChatTemplateError(
                f"The chat template cannot render these messages (roles: {roles}): {type(error).__name__}: "
                f"{first_line(error)}"
            ) from error
        if not isinstance(rendered, str):
            raise ChatTemplateError(f"The chat template does not return text but {shortened(rendered)}.")
        return rendered

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of the prompt: the messages and the start of a response.

        A special token spelled in a message is encoded as ordinary characters; any other text has the ids that encoding
        the whole rendered text gives.

        Args:
            messages: The conversation.

        Raises:
            ChatTemplateError: See `text`.
        """
        return self._encode(self._pieces(messages))

    def continuation_ids(self, content: str, *, ended: bool) -> list[int]:
        """Token ids between two responses: end of the first, user message, start of the second.

        They are appended to the sampled ids, which are never decoded and encoded again. The text is encoded as one
        string, since the parts of it have other ids.

        Args:
            content: The next user message.
            ended: Whether the response ended with the template's end token (`turn_end`); else it is added.

        Raises:
            ChatTemplateError: See `text`; or the template renders past responses in another place.
        """
        talk = [
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "content": REPLY},
            {"role": "user", "content": content},
        ]
        first, *rest = self._pieces(talk)
        _, found, after = first.partition(REPLY)
        if not found:
            raise ChatTemplateError("The chat template does not render past responses, which a conversation needs.")
        ids = self._encode([after, *rest])
        if ended and self.turn_end in ids:
            return ids[ids.index(self.turn_end) + 1 :]
        return ids

    def rewrites_history(self, *, thinking: bool) -> bool:
        """Whether the template renders a past response otherwise than it was sampled.

        Qwen3's template drops the thinking of past responses, and the empty thinking block that it writes itself.

        Args:
            thinking: Whether the response has a `<think>` block.
        """
        replies = [REPLY]
        if thinking:
            # With and without line breaks: templates that keep the thinking may write it in one of the two forms.
            opened = self.response_start or "<think>"
            replies = [f"{opened}A thought.</think>{REPLY}", f"{opened.rstrip()}\nA thought.\n</think>\n\n{REPLY}"]
        return all(self._rewrites(reply) for reply in replies)

    def _rewrites(self, reply: str) -> bool:
        """Whether a past response, with its start, is rendered otherwise than after the generation prompt."""
        talk = [
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "content": reply if self.response_start in reply else self.response_start + reply},
            {"role": "user", "content": QUESTION},
        ]
        return not self.text(talk).startswith(self._rendered_question + reply.removeprefix(self.response_start))

    def _pieces(self, messages: Sequence[Message]) -> list[str]:
        """The rendered text, cut where a message spells a special token, so that the pieces are encoded apart."""
        spelled = self._special_tokens
        if spelled is None or not any(spelled.search(message["content"]) for message in messages):
            return [self.text(messages)]
        cut = _unused_character(messages)
        marked = [
            {**message, "content": spelled.sub(lambda found: f"{found[0][0]}{cut}{found[0][1:]}", message["content"])}
            for message in messages
        ]
        return self.text(marked).split(cut)

    def _encode(self, pieces: Sequence[str]) -> list[int]:
        return [token for piece in pieces for token in self._tokenizer.encode(piece, add_special_tokens=False)]

    @cached_property
    def turn_end(self) -> int | None:
        """The token with which the template ends a response; None if it ends with plain text or nothing."""
        known = getattr(self._tokenizer, "added_tokens_decoder", {})
        talk = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": REPLY}]
        # If nothing follows the last response, the first token of the next turn ends it.
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
        """Start of the response written by the template, such as `<think>` and a line break; mostly empty.

        A parser that looks for `<think>` needs this in front of the sampled text.
        """
        found = _THINKING.search(self._rendered_question)
        return found[0] if found and not found[1] else ""

    @cached_property
    def thinking_closed(self) -> bool:
        """Whether the template writes an empty `<think></think>` before the response."""
        found = _THINKING.search(self._rendered_question)
        return bool(found and found[1])

    @cached_property
    def before_response(self) -> str:
        """Text that the template writes between generation prompt and finished response; mostly empty."""
        talk = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": REPLY}]
        try:
            rendered = self.text(talk, generation_prompt=False)
        except ChatTemplateError:
            return ""
        begun = rendered.startswith(self._rendered_question)
        return rendered[len(self._rendered_question) :].partition(REPLY)[0] if begun and REPLY in rendered else ""

    @cached_property
    def _rendered_question(self) -> str:
        return self.text([{"role": "user", "content": QUESTION}])

    @cached_property
    def _special_tokens(self) -> re.Pattern[str] | None:
        tokens = framing_tokens(self._tokenizer, self.template)
        return re.compile("|".join(re.escape(token) for token in tokens)) if tokens else None


def turn_end(tokenizer: Any, chat_template_kwargs: Mapping[str, Any] | None = None) -> int | None:
    """The token with which the chat template ends a response; see `ChatFormat.turn_end`."""
    return ChatFormat(tokenizer, chat_template_kwargs).turn_end


def decode_response(tokenizer: Any, token_ids: Sequence[int], stop_ids: Collection[int]) -> str:
    """Text of a response; trailing stop and padding tokens are dropped, every other token is kept, special ones too.

    Args:
        tokenizer: The policy's tokenizer.
        token_ids: Sampled ids.
        stop_ids: Tokens that end a response.
    """
    ends = {*stop_ids, getattr(tokenizer, "pad_token_id", None)}
    ids = list(token_ids)
    while ids and ids[-1] in ends:
        ids.pop()
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def unusable_ids(tokenizer: Any, vocabulary: int) -> list[int]:
    """Ids of the language-model head without a token in the vocabulary: heads are often padded to a round size.

    Args:
        tokenizer: The policy's tokenizer.
        vocabulary: Rows of the head.
    """
    known = set(tokenizer.get_vocab().values())
    return [token for token in range(vocabulary) if token not in known]


def framing_tokens(tokenizer: Any, template: str = "") -> list[str]:
    """Added tokens that delimit turns, longest first: special ones and those that the template writes.

    Tag pairs such as `<action>` and `</action>` are excluded: they belong to responses.
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


def _unused_character(messages: Sequence[Message]) -> str:
    """A character that occurs in no message."""
    text = "".join(message["content"] for message in messages)
    return next(chr(code) for code in range(0xF0000, 0xFFFFE) if chr(code) not in text)

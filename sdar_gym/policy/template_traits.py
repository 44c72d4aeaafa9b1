"""Chat template traits: what a template accepts, writes itself, and keeps of past responses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sdar_gym.policy.chat import QUESTION, REPLY, ChatFormat, ChatTemplateError, framing_tokens

_SYSTEM, _NEXT = "System7", "Question8"


@dataclass(frozen=True, slots=True)
class TemplateTraits:
    """What a chat template does with a conversation.

    Attributes:
        system: What it does with a system message: `read`, `left out` or `refused`.
        own_system: Text that it writes before the first message if there is no system message.
        alternates: Whether it refuses two user messages in a row.
        response_start: Start of a response that it writes, such as `<think>` and a line break.
        thinking_closed: Whether it writes an empty `<think></think>` before a response.
        asks_for_clock: Whether it writes today's date.
        turn_end: The token that ends a response, or None.
        keeps_plain: Whether it keeps past responses without thinking as they were sampled.
        keeps_thinking: The same for responses that think in `<think>` tags.
        continues: Whether tokens that are appended turn by turn are those of the whole rendered conversation; always
            false where past responses are not kept.
    """

    system: str
    own_system: str
    alternates: bool
    response_start: str
    thinking_closed: bool
    asks_for_clock: bool
    turn_end: int | None
    keeps_plain: bool
    keeps_thinking: bool
    continues: bool


def template_traits(tokenizer: Any, chat: ChatFormat) -> TemplateTraits:
    """Try a chat template on short conversations.

    Args:
        tokenizer: The policy's.
        chat: Its chat template with the settings of a run.

    Raises:
        ChatTemplateError: It cannot render a user message, or leaves out the user's message or past responses, as
            templates of models for images do.
    """
    question = _user(QUESTION)
    if QUESTION not in chat.text([question]):
        raise ChatTemplateError("The chat template leaves out the text of the user's message.")
    talk = [question, {"role": "assistant", "content": REPLY}, _user(_NEXT)]
    whole = chat.text(talk)
    if REPLY not in whole or _NEXT not in whole:
        raise ChatTemplateError("The chat template does not render past responses, which a conversation needs.")
    keeps_plain = not chat.rewrites_history(thinking=False)
    return TemplateTraits(
        system=_system(chat),
        own_system=_own_system(tokenizer, chat, whole),
        alternates=not _renders(chat, [question, question]),
        response_start=chat.response_start,
        thinking_closed=chat.thinking_closed,
        asks_for_clock=chat.asks_for_clock,
        turn_end=chat.turn_end,
        keeps_plain=keeps_plain,
        keeps_thinking=not chat.rewrites_history(thinking=True),
        continues=keeps_plain and _continues(tokenizer, chat, whole),
    )


def _continues(tokenizer: Any, chat: ChatFormat, whole: str) -> bool:
    """Whether prompt, response and continuation are the tokens of the whole rendered conversation."""
    end = [] if chat.turn_end is None else [chat.turn_end]
    reply = [*tokenizer.encode(REPLY, add_special_tokens=False), *end]
    appended = [*chat.prompt_ids([_user(QUESTION)]), *reply, *chat.continuation_ids(_NEXT, ended=bool(end))]
    if end:
        return appended == tokenizer.encode(whole, add_special_tokens=False)
    # Without an end token the response's last token and what follows may be one token in the whole.
    return tokenizer.decode(appended) == whole


def _system(chat: ChatFormat) -> str:
    messages = [{"role": "system", "content": _SYSTEM}, _user(QUESTION)]
    if not _renders(chat, messages):
        return "refused"
    return "read" if _SYSTEM in chat.text(messages) else "left out"


def _own_system(tokenizer: Any, chat: ChatFormat, whole: str) -> str:
    """What stands before the first user message beyond its own header, without special tokens."""
    head = whole.partition(QUESTION)[0]
    header = whole.partition(REPLY)[2].partition(_NEXT)[0]
    # The header of a user message is what both user messages have before them.
    size = 0
    while size < min(len(head), len(header)) and head[-1 - size] == header[-1 - size]:
        size += 1
    own = head[: len(head) - size]
    for token in framing_tokens(tokenizer, chat.template):
        own = own.replace(token, "\n")
    lines = [line.strip() for line in own.splitlines() if line.strip()]
    return " ".join(line for line in lines if line not in ("system", "user"))


def _renders(chat: ChatFormat, messages: list[dict[str, str]]) -> bool:
    try:
        chat.text(messages)
    except ChatTemplateError:
        return False
    return True


def _user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}

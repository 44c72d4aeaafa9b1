"""Chat answers: text, token counts, pauses and refusals in what servers with the OpenAI API send."""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Mapping
from typing import Any

import httpx

from sdar_gym.text import well_formed

# Most bytes of a refusal that are read.
_MOST_TOLD = 30_000


def text_of(message: Mapping[str, Any]) -> str:
    """The text of a message; reasoning that a server keeps apart stands in its tags again.

    Args:
        message: The assistant's message.

    Raises:
        TypeError: Its content is no text.
    """
    content = message.get("content") or ""
    if isinstance(content, list):
        content = "".join(part.get("text") or "" for part in content)
    reasoning = message.get("reasoning_content") or message.get("reasoning") or ""
    if not isinstance(content, str) or not isinstance(reasoning, str):
        raise TypeError("the content is no text")
    # A chat template may write the opening tag itself; in this process it is put before the response as well.
    opened = (
        "" if reasoning or "<think>" in content.partition("</think>")[0] or "</think>" not in content else "<think>"
    )
    return well_formed(f"<think>{reasoning}</think>{content}" if reasoning else opened + content)


def token_count(value: Any) -> int | None:
    """A count of tokens; None if the server gave none.

    Args:
        value: From `usage`.
    """
    return value if type(value) is int and value >= 0 else None


def asked_pause(headers: httpx.Headers) -> float | None:
    """Seconds that `Retry-After` asks for: a number, or a date; None without it.

    Args:
        headers: Of the answer.
    """
    asked = headers.get("retry-after", "").strip()
    if asked.replace(".", "", 1).isdigit():
        return float(asked)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(asked).timestamp() - time.time()) if asked else None
    except (ValueError, OverflowError, OSError):
        return None


def message_of(content: bytes) -> str:
    """The message of a refusal: OpenAI's `error.message`, else the text as it is.

    Args:
        content: The answer's body.
    """
    text = content[:_MOST_TOLD].decode("utf-8", "replace")
    try:
        answer = json.loads(text)
        inner = answer.get("error", answer)
        return str(inner.get("message") or inner) if isinstance(inner, dict) else str(inner)
    except (ValueError, AttributeError, RecursionError):
        return text


def is_too_long(content: bytes) -> bool:
    """Whether a refusal is about the length of the prompt: OpenAI's code, and the words of vLLM, SGLang, llama.cpp.

    Args:
        content: The answer's body.
    """
    told = content[:_MOST_TOLD].decode("utf-8", "replace").lower()
    return any(
        words in told
        for words in ("context_length", "context length", "context size", "maximum context", "prompt is too long")
    )

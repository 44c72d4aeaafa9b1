"""Texts of Search-QA: parsing of actions (`<search>`, `<answer>`) and formatting of observations."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from sdar_gym.text import well_formed

_TAGS = ("<search>", "</search>", "<answer>", "</answer>")
NOTHING_FOUND = "Nothing found."
NOT_UNDERSTOOD = "Nothing happens. Write <search>your query</search> or <answer>your answer</answer>."
OUT_OF_TURNS = "The turns are used up; this search was not made."
# Maximum size of a search response in bytes.
MAX_RESPONSE_BYTES = 32_000_000
# Longer queries, which a model may write, are truncated before the search.
MAX_QUERY_CHARS = 2000


@dataclass(frozen=True, slots=True)
class Call:
    """A parsed action.

    Attributes:
        kind: Search, answer, or none of them.
        text: The query or the answer, stripped.
        valid: Whether the action has the required format: exactly one pair of tags.
    """

    kind: Literal["search", "answer", "none"]
    text: str
    valid: bool

    @property
    def action(self) -> str:
        """The action in the format of the environment; "" for none."""
        return "" if self.kind == "none" else f"<{self.kind}>{self.text}</{self.kind}>"


def read_call(text: str) -> Call:
    """Parse an action.

    The text is truncated after the first `</search>` (if there is none, the first `</answer>`). In the rest the first
    `<search>` block counts, else the first `<answer>` block. A text is valid only with one of the two opening tags,
    once, and a non-empty block. Lone surrogates are replaced, so that the result can be encoded.

    Args:
        text: An action, or a whole response of a model.

    Source: the projection of the SDAR code's search environment (arXiv 2605.15155). Tags are case-sensitive.
    """
    text = well_formed(text)
    # String searches take linear time; a pattern over nested tags would not.
    for tag in ("search", "answer"):
        end = text.find(f"</{tag}>")
        if end >= 0:
            head = text[: end + len(tag) + 3]
            break
    else:
        return Call("none", "", False)
    once = text.count("<search>") + text.count("<answer>") == 1
    for kind in ("search", "answer"):
        found = _block(head, kind)
        if found is not None:
            return Call(kind, found.strip(), once and bool(found.strip()))
    return Call("none", "", False)


def _block(text: str, tag: str) -> str | None:
    start = text.find(f"<{tag}>")
    if start < 0:
        return None
    start += len(tag) + 2
    end = text.find(f"</{tag}>", start)
    return None if end < 0 else text[start:end]


def write_call(kind: Literal["search", "answer"], text: str) -> str:
    """The action for a query or an answer; `read_call` reads it as valid if the text is not empty.

    Angle brackets are removed from a text that contains tags, which changes neither scores nor searches: both ignore
    punctuation.
    """
    if any(tag in text for tag in _TAGS):
        # Keeps the word boundaries: searches split words at brackets, scores do not.
        text = text.replace("<", " ").replace(">", " ") if kind == "search" else text.replace("<", "").replace(">", "")
    return f"<{kind}>{text}</{kind}>"


def query_of(text: str) -> str:
    """The query to send: truncated, and without lone surrogates."""
    return well_formed(text[:MAX_QUERY_CHARS])


def information(passages: Iterable[str]) -> str:
    """Observation after a search.

    Source: the format of the SDAR code's search tool: a JSON object with the passages as one numbered text.

    Args:
        passages: Contents of the passages, best first.
    """
    listed = "\n".join(f"Doc {number}: {contents}" for number, contents in enumerate(passages, start=1))
    return f"<information>{json.dumps({'result': listed or NOTHING_FOUND}, ensure_ascii=False)}</information>"


def found_passages(observation: str) -> list[str]:
    """Passages of an `<information>` block; empty for any other text."""
    try:
        listed = json.loads(observation.removeprefix("<information>").removesuffix("</information>"))["result"]
    except (ValueError, KeyError, TypeError):
        return []
    return [part for part in re.split(r"(?:^|\n)Doc \d+: ", listed) if part]

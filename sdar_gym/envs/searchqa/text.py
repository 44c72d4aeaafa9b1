"""Every sentence the world says, and how actions are read: tags in, information blocks out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from sdar_gym.text import well_formed

_TAGS = ("<search>", "</search>", "<answer>", "</answer>")
NOTHING_FOUND = "Nothing found."
NOT_UNDERSTOOD = "Nothing happens. Write <search>your query</search> or <answer>your answer</answer>."
OUT_OF_TURNS = "The turns are used up; this search was not made."
# What an index or a server answers may take, in bytes: more is of no use to anybody who reads it.
MAX_ANSWER = 32_000_000
# A model can write a query as long as its answer; no search gains from more than this, and a server need not bear it.
MAX_QUERY_CHARS = 2000


@dataclass(frozen=True, slots=True)
class Call:
    """What an action asks for.

    Attributes:
        kind: Search, answer, or neither.
        text: The query or the answer, stripped.
        valid: Whether the action had the required form: one tag pair, once.
    """

    kind: Literal["search", "answer", "none"]
    text: str
    valid: bool

    @property
    def action(self) -> str:
        """The action as the environment takes it; "" for neither."""
        return "" if self.kind == "none" else f"<{self.kind}>{self.text}</{self.kind}>"


def read_call(text: str) -> Call:
    """Read what a text asks for.

    What follows the first `</search>` (where there is none, the first `</answer>`) is cut off. In what is left the
    first `<search>` block counts, else the first `<answer>` block, else nothing. Valid is only a text that has one of
    the two opening tags, once, with something in it. Lone surrogates are replaced: what is read can be encoded.

    Args:
        text: An action, or a model's whole answer.

    Source: the projection of the SDAR code's search environment (arXiv 2605.15155). Tags are matched to the letter.
    """
    text = well_formed(text)
    # Plain searches for fixed strings: linear, where a pattern over nested tags would not be.
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
    """The action for a text from elsewhere, which `read_call` reads as one that is valid, if anything is in the text.

    A text that holds tags loses its angle brackets. The scores leave out punctuation and searches look at words, so it
    means the same to both.
    """
    if any(tag in text for tag in _TAGS):
        # Where words begin and end has to stay as each of the two sees it.
        text = text.replace("<", " ").replace(">", " ") if kind == "search" else text.replace("<", "").replace(">", "")
    return f"<{kind}>{text}</{kind}>"


def query_of(text: str) -> str:
    """A query as it is sent: without lone surrogates, and not too long."""
    return well_formed(text[:MAX_QUERY_CHARS])


def information(passages: Iterable[str]) -> str:
    """What a search answers.

    Source: the format of the SDAR code's search tool: a JSON object with the passages as one numbered text.

    Args:
        passages: Contents of the passages, best first.
    """
    listed = "\n".join(f"Doc {number}: {contents}" for number, contents in enumerate(passages, start=1))
    return f"<information>{json.dumps({'result': listed or NOTHING_FOUND}, ensure_ascii=False)}</information>"

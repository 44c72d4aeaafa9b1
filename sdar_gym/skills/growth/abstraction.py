"""Abstraction of an episode's actions: numbers, names and arguments are replaced by what carries over to other tasks.

- A numbered thing that the goal names ("mug 2") becomes `<thing 1>` (things count in the goal's order), any other one
  its kind ("fridge 1" becomes `fridge`).
- Of an argument in brackets or tags, words of the goal become `<words of the task>`, words shown before
  `<words found before>` (in tags), a product's code `<code>`, other words in tags or in a search `<words of your own>`;
  the rest is kept: it names buttons.
- Steps that follow each other and read the same after that are listed once, and so are repeated pairs and triples.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from typing import Any

_WORD = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*")
_NUMBERED = re.compile(r"\b([a-z]+) (\d+)\b")
_OPENING, _CLOSING = re.compile(r"<(\w+)>"), re.compile(r"</(\w+)>")
_NAME = re.compile(r"\w+")
_CODE = re.compile(r"(?=\w*\d)(?=\w*[a-z])\w{8,}", re.IGNORECASE)
_LONGEST_REPEAT = 3
_SMALL = frozenset({"a", "an", "and", "for", "in", "of", "on", "or", "some", "the", "to", "with"})


def steps_of(episode: Mapping[str, Any]) -> list[str]:
    """The accepted actions of an episode, abstracted and without repetitions."""
    return _without_repeats([step for step, accepted, _ in abstract_turns(episode) if accepted])


def abstract_turns(episode: Mapping[str, Any]) -> Iterator[tuple[str, bool, str]]:
    """Each action abstracted, whether it was accepted, and the observation after it (empty if the episode lacks it)."""
    words = dict.fromkeys(_WORD.findall(episode["goal"].lower()))
    turns, seen = episode["turns"], ""
    # A word of the goal is a thing if actions number it, such as the mug in "take mug 2 from desk 1".
    numbered = {name for turn in turns for name, _ in _NUMBERED.findall(turn["action"].lower())}
    things = {word: place for place, word in enumerate((word for word in words if word in numbered), start=1)}
    for number, turn in enumerate(turns):
        seen += "\n" + turn["observation"].lower()
        reply = turns[number + 1]["observation"] if number + 1 < len(turns) else ""
        yield (
            _abstract(turn["action"], words.keys(), things, seen),
            bool(turn["valid_action"]),
            " ".join(reply.split()),
        )


def _abstract(action: str, words: Set[str], things: Mapping[str, int], seen: str) -> str:
    text = " ".join(action.lower().split())
    found = _argument_in(text)
    if found is None:
        return _NUMBERED.sub(lambda part: f"<thing {things[part[1]]}>" if part[1] in things else part[1], text)
    name, inside, in_tags = found
    if in_tags:
        return f"<{name}>{_argument(inside, words, seen, name)}</{name}>"
    return f"{name}[{_argument(inside, words, '', name)}]"


def _argument_in(text: str) -> tuple[str, str, bool] | None:
    """The first `<name>argument</name>` or `name[argument]`: name, argument, and whether it is in tags.

    An argument in tags ends at the first closing tag, one in brackets at the last bracket of all. This takes linear
    time: a single pattern would start again at every position, and responses of models repeat themselves.
    """
    closings = {found[1]: found.start() for found in _CLOSING.finditer(text)}
    tag = next((found for found in _OPENING.finditer(text) if closings.get(found[1], -1) >= found.end()), None)
    end = text.rfind("]")
    named = next(
        (found for found in _NAME.finditer(text) if text.startswith("[", found.end()) and found.end() < end), None
    )
    if tag is not None and (named is None or tag.start() < named.start()):
        return tag[1], text[tag.end() : text.index(f"</{tag[1]}>", tag.end())], True
    return (named[0], text[named.end() + 1 : end], False) if named is not None else None


def _argument(text: str, words: Set[str], seen: str, name: str) -> str:
    content = [word for word in _WORD.findall(text) if word not in _SMALL]
    if content and words >= set(content):
        return "<words of the task>"
    if _CODE.fullmatch(text):
        return "<code>"
    if text and seen and text in seen:
        return "<words found before>"
    # Buttons are the same in every task; the words of a search or an answer are not.
    return "<words of your own>" if seen or name == "search" else text


def _without_repeats(steps: list[str]) -> list[str]:
    """Steps without immediate repetitions of one, two or three of them."""
    kept: list[str] = []
    for step in steps:
        kept.append(step)
        for length in range(1, _LONGEST_REPEAT + 1):
            if len(kept) >= 2 * length and kept[-length:] == kept[-2 * length : -length]:
                del kept[-length:]
                break
    return kept

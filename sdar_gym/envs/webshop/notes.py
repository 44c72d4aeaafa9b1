"""Notes on a WebShop episode: what the pages so far showed of the things that the task names.

They are made from the texts alone (in the form `readable`), so they hold only what the agent was shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sdar_gym.envs.prompting import EpisodeView
from sdar_gym.envs.webshop.text import NEXT

_PRODUCT = re.compile(r"^- (\S+): (.*) \(([^()]*)\)$")
_AT = re.compile(r"^(?:Product|Description of|Features of|Reviews of|Attributes of) (\S+?):")
_OPTION = re.compile(r"^Option (.+) \[(.*)\]: (.*)$")
_LIMIT = re.compile(r"price lower than ([\d.]+) dollars")
_DOLLARS = re.compile(r"\$([\d.]+)")
_WORD = re.compile(r"[a-z0-9'&]+")
# Words of instructions that name nothing.
_FRAME = frozenset({"find", "me", "i", "am", "looking", "for", "need", "want", "with", "and", "a", "an", "the", "of"})
# A word of the goal in a title counts as much as so many ranks.
_WORD_RANKS = 3


@dataclass(slots=True)
class Goal:
    """The instruction, taken apart.

    Attributes:
        text: The instruction.
        words: The words of product type and properties, in order.
        limit: The price limit in dollars; infinite without one.
    """

    text: str
    words: tuple[str, ...]
    limit: float

    def names(self, option: str, value: str) -> bool:
        """Whether the instruction asks for this value of this option."""
        _, found, rest = self.text.partition(f"{option}: {value}")
        return bool(found) and (not rest or rest[0] in ",.")


@dataclass(slots=True)
class Notes:
    """Notes on one episode so far.

    Attributes:
        goal: The instruction.
        page: `search`, `results`, `item`, `text` (a sub-page of a product) or "" (unknown).
        query: The last search.
        at: Id of the product that is open.
        listed: On a page of results, ids of products within the price limit, and the goal's words in their titles; best
            first, by rank and number of words.
        more: Whether there is another page of results.
        opened: Ids of the products opened since the start.
        read: Ids of the products whose features were read.
        shown: The goal's words that a product's texts have shown, by id.
        offers: On a product's page, the goal's values that can be chosen and are not, by option name.
        chosen: On a product's page, the goal's values that are chosen, by option name.
    """

    goal: Goal
    page: str = ""
    query: str = ""
    at: str = ""
    listed: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    more: bool = False
    opened: list[str] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    shown: dict[str, set[str]] = field(default_factory=dict)
    offers: dict[str, str] = field(default_factory=dict)
    chosen: dict[str, str] = field(default_factory=dict)

    @property
    def lacks(self) -> list[str]:
        """The goal's words that the open product has not shown."""
        return [word for word in self.goal.words if word not in self.shown.get(self.at, ())]

    def update(self, action: str, observation: str) -> None:
        """Adds an observation, and the action before it ("" at the start)."""
        if action.startswith("search[") and action.endswith("]"):
            self.query = action[len("search[") : -1]
        lines = observation.split("\n")
        # The instruction is the first line of every page.
        head = lines[1] if len(lines) > 1 else ""
        if head.startswith("Search page"):
            self.page = "search"
        elif head.startswith("Search results"):
            self.page = "results"
            self._list(lines[2:])
        elif match := _AT.match(head):
            self.at = match.group(1)
            self.page = "item" if head.startswith("Product ") else "text"
            self._show(self.at, "\n".join(lines[1:]))
            if self.page == "item":
                self._open(lines[2:])
            elif head.startswith("Features") and self.at not in self.read:
                self.read.append(self.at)
        else:
            self.page = ""

    def _list(self, lines: list[str]) -> None:
        rows = [match.groups() for line in lines if (match := _PRODUCT.match(line))]
        fit = [(code, title) for code, title, tag in rows if _price(tag) <= self.goal.limit]
        found = [(code, words_in(title, self.goal.words)) for code, title in fit]
        order = sorted(range(len(found)), key=lambda rank: rank - _WORD_RANKS * len(found[rank][1]))
        self.listed = [found[rank] for rank in order]
        self.more = lines[-1].endswith(NEXT)

    def _open(self, lines: list[str]) -> None:
        if self.at not in self.opened:
            self.opened.append(self.at)
        self.offers, self.chosen = {}, {}
        for match in filter(None, map(_OPTION.match, lines)):
            name, picked, values = match.groups()
            wanted = [value for value in values.split(", ") if self.goal.names(name, value)]
            if wanted:
                (self.chosen if picked == wanted[0] else self.offers)[name] = wanted[0]

    def _show(self, code: str, text: str) -> None:
        self.shown.setdefault(code, set()).update(words_in(text, self.goal.words))


def goal_of(text: str) -> Goal:
    """An instruction, taken apart."""
    limit = _LIMIT.search(text)
    head, colon, _ = text.partition(": ")
    head = head.rpartition(" with ")[0] if colon else head.partition(", and price lower")[0]
    words = dict.fromkeys(word for word in _WORD.findall(head.lower()) if word not in _FRAME)
    return Goal(text, tuple(words), float(limit.group(1)) if limit else float("inf"))


def words_in(text: str, words: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the words that a text has, singular or plural."""
    there = {word.removesuffix("s") for word in _WORD.findall(text.lower())}
    return tuple(word for word in words if word.removesuffix("s") in there)


def _price(tag: str) -> float:
    """The price of a tag; the middle of a range."""
    prices = [float(price) for price in _DOLLARS.findall(tag)]
    return sum(prices) / len(prices) if prices else 0.0


def notes_of(view: EpisodeView) -> Notes:
    """Notes on all turns of an episode."""
    notes = Notes(goal_of(view.goal))
    actions = ["", *(turn.action for turn in view.history)]
    pages = [*(turn.observation for turn in view.history), view.observation]
    for action, page in zip(actions, pages, strict=True):
        notes.update(action, page)
    return notes


def option_names(values: Mapping[str, str]) -> str:
    """Names and values of options in one line."""
    return ", ".join(f"{name} {value}" for name, value in values.items())

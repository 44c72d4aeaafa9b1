"""Search-QA experts: a reader for the embedded world, and an oracle that gives the upper bound of a search backend."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from sdar_gym.envs.searchqa.env import SearchQAEnv
from sdar_gym.envs.searchqa.generator import SOURCE
from sdar_gym.envs.searchqa.reward import normalize
from sdar_gym.envs.searchqa.text import found_passages, write_call
from sdar_gym.envs.searchqa.wordings import COMPARISON, ONE_HOP, PASSAGES, TWO_HOP, Ask, Compare
from sdar_gym.envs.text_env import TextEnv

# Maximum characters read of a passage and of a value: the time of the patterns grows with both.
_LONGEST_PASSAGE = 2000
_LONGEST_VALUE = 80
GIVEN_UP = "<answer>unknown</answer>"


class Expert:
    """Scripted policy: `Reader` for the embedded world, `OracleReader` for other questions."""

    def __init__(self) -> None:
        self._player: Reader | OracleReader = Reader()

    def begin(self, env: TextEnv, observation: str, info: dict[str, Any]) -> None:
        """Choose the policy for this episode.

        Raises:
            TypeError: The environment is not Search-QA.
        """
        # A question file may name "embedded" as its data source.
        embedded = info.get("data_source") == SOURCE and (not isinstance(env, SearchQAEnv) or env.embedded)
        self._player = Reader() if embedded else OracleReader()
        self._player.begin(env, observation, info)

    def act(self, observation: str, info: dict[str, Any]) -> str:
        """Next search or answer."""
        return self._player.act(observation, info)


@dataclass(frozen=True, slots=True)
class Asked:
    """A parsed question: its template, and the names in it."""

    ask: Ask | Compare
    names: tuple[str, ...]


def asked_by(question: str) -> Asked | None:
    """Parse a question about the embedded world; None for any other."""
    for ask, pattern in _question_patterns():
        found = pattern.fullmatch(question)
        if found is not None:
            return Asked(ask, tuple(found.groups()))
    return None


class Reader:
    """Answers embedded questions from the question and the observed passages alone."""

    def __init__(self) -> None:
        # Names to look up, with the facts to follow from each; and the years found for a comparison.
        self._open: list[tuple[str, tuple[str, ...]]] = []
        self._compare: Compare | None = None
        self._years: dict[str, int] = {}

    def begin(self, env: TextEnv, observation: str, info: dict[str, Any]) -> None:
        """Parse the question."""
        self.__init__()
        asked = asked_by(observation)
        if asked is None:
            return
        if isinstance(asked.ask, Compare):
            self._compare = asked.ask
            self._open = [(name, (asked.ask.fact,)) for name in asked.names]
        else:
            self._open = [(asked.names[0], asked.ask.path)]

    def act(self, observation: str, info: dict[str, Any]) -> str:
        """Extract a fact from the passages, then search for the next name or answer."""
        if not self._open:
            return GIVEN_UP
        if info["turn"]:
            name, path = self._open.pop(0)
            value = fact_in(observation, name, path[0])
            if value is None:
                return GIVEN_UP
            if len(path) > 1:
                self._open.insert(0, (value, path[1:]))
            elif self._compare is None:
                return write_call("answer", value)
            elif not value.isdecimal():
                return GIVEN_UP
            else:
                self._years[name] = int(value)
        if self._open:
            return write_call("search", self._open[0][0])
        best = min if self._compare is not None and self._compare.earliest else max
        return write_call("answer", best(self._years, key=lambda name: self._years[name]))


class OracleReader:
    """Oracle policy: answers with a golden answer once an observed passage contains it; an upper bound of the search.

    It searches for the question, then for the question with the title of each passage, the simplest way to a second
    hop. It never answers `yes` or `no`, which occur in passages for other reasons.
    """

    def __init__(self) -> None:
        self._golden: tuple[str, ...] = ()
        self._turns = 0
        self._titles: list[str] = []

    def begin(self, env: TextEnv, observation: str, info: dict[str, Any]) -> None:
        """Read the golden answers.

        Raises:
            TypeError: The environment is not Search-QA.
        """
        if not isinstance(env, SearchQAEnv):
            raise TypeError(f"Search-QA's expert plays SearchQAEnv, not {type(env).__name__}.")
        self._golden = tuple(text for text in env.question.golden if normalize(text) not in ("yes", "no"))
        self._turns = env.max_steps
        self._titles = []

    def act(self, observation: str, info: dict[str, Any]) -> str:
        """Answer if a passage contains the answer, else search."""
        if not info["turn"]:
            return write_call("search", observation)
        passages = found_passages(observation)
        shown = f" {normalize(' '.join(passages))} "
        for text in self._golden:
            # Whole words only.
            if normalize(text) and f" {normalize(text)} " in shown:
                return write_call("answer", text)
        if info["turn"] == 1:
            self._titles = [passage.split("\n", 1)[0].strip('"') for passage in passages]
        if info["turn"] >= self._turns - 1 or not self._titles:
            return GIVEN_UP
        return write_call("search", f"{self._titles.pop(0)} {info['goal']}")


def fact_in(observation: str, name: str, fact: str) -> str | None:
    """Value of a fact in the passage titled `name`, or None."""
    passage = next((text for text in found_passages(observation) if text.startswith(f'"{name}"\n')), None)
    if passage is None:
        return None
    for pattern in _fact_patterns(fact):
        found = pattern.search(passage[:_LONGEST_PASSAGE])
        if found is not None:
            return found[fact]
    return None


@cache
def _question_patterns() -> tuple[tuple[Ask | Compare, re.Pattern[str]], ...]:
    # Two hops first: "the author of the novel X" would otherwise match as a name.
    asks = (*COMPARISON, *TWO_HOP, *ONE_HOP)
    return tuple((asked, re.compile(_pattern(wording))) for asked in asks for wording in asked.wordings)


@cache
def _fact_patterns(fact: str) -> tuple[re.Pattern[str], ...]:
    wordings = (wording for sentences in PASSAGES.values() for choices in sentences for wording in choices)
    return tuple(re.compile(_pattern(wording)) for wording in wordings if f"{{{fact}}}" in wording)


def _pattern(wording: str) -> str:
    # A value contains no punctuation that ends a clause or sentence.
    value = rf"(?P<\1>[^\\s.,;?()][^.,;?()\\n]{{0,{_LONGEST_VALUE - 1}}}?)"
    return re.sub(r"\\\{(\w+)\\\}", value, re.escape(wording))

"""Scripted demonstrator: plays the embedded Search-QA by a procedure, from notes alone, for warm-start demonstrations.

It teaches a small model to use skills: with a skill text it follows the text, even where that leads to a wrong answer;
without one it does not know the procedure, and guesses correctly with a given probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from sdar_gym.envs.draws import pick
from sdar_gym.envs.searchqa.expert import Asked
from sdar_gym.envs.searchqa.notes import Note
from sdar_gym.envs.searchqa.text import write_call
from sdar_gym.envs.searchqa.wordings import Compare
from sdar_gym.envs.searchqa.world import Thing, World

ONE, TWO, BOTH = "one search", "two searches", "both names"
_TEXTS = {
    ONE: (
        "Search for the name in the question, read the {answer} from its passage, and answer with that {answer} alone."
    ),
    TWO: (
        "Search for the name in the question to find the {between} in between. Then search for that name, read the "
        "{answer} and answer with it."
    ),
    BOTH: (
        "Search for the {order[0]} name and note its year, search for the {order[1]} and note its year, then answer "
        "with the {answer}."
    ),
}
_ANSWERS = {
    ONE: ("fact", "year", "person", "place"),
    TWO: ("fact", "year", "person", "place"),
    BOTH: ("name that wins", "name that loses", "year that wins", "year that loses"),
}
_BETWEEN = ("person or place", "person", "place")
_ORDERS = (("first", "second"), ("second", "first"))
# What a passage about each kind of thing tells, by the words of the skill texts; and what it is mainly about.
_TOLD = {
    "person": {"place": "birthplace", "year": "birth_year"},
    "novel": {"person": "author", "year": "year"},
    "company": {"person": "founder", "place": "seat", "year": "year"},
    "town": {"place": "province", "year": "year"},
    "river": {"place": "towns"},
}
_MAIN = {"person": "birthplace", "novel": "author", "company": "founder", "town": "river", "river": "towns"}


@dataclass(frozen=True, slots=True)
class Procedure:
    """What to search for and what to answer.

    Attributes:
        family: One search, two in a row, or one for each of two names.
        answer: What the last passage, or the comparison, is read for.
        between: With two searches: what the first passage is read for.
        order: With two names: which is searched first.
    """

    family: str
    answer: str = "fact"
    between: str = ""
    order: tuple[str, str] = ("", "")


_TRUE = {
    "one_hop": Procedure(ONE),
    "two_hop": Procedure(TWO, between="person or place"),
    "comparison": Procedure(BOTH, "name that wins", order=("first", "second")),
}


def true_procedure(task_type: str) -> Procedure:
    """The correct procedure of a task type."""
    return _TRUE[task_type]


def random_procedure(rng: Random, *, unlike: str = "") -> Procedure:
    """A random procedure, whether or not it suits the question.

    Args:
        rng: Source of the draws.
        unlike: Family to leave out.
    """
    family = pick(rng, [family for family in _TEXTS if family != unlike])
    return Procedure(
        family,
        pick(rng, _ANSWERS[family]),
        pick(rng, _BETWEEN) if family == TWO else "",
        pick(rng, _ORDERS) if family == BOTH else ("", ""),
    )


def skill_text(procedure: Procedure) -> str:
    """Skill text with this procedure, in the words of the built-in skill library."""
    return _TEXTS[procedure.family].format(answer=procedure.answer, between=procedure.between, order=procedure.order)


class Demonstrator:
    """Policy for one question.

    What a procedure asks for and a passage does not tell is replaced by the passage's title, so that every procedure
    has an end.

    Args:
        world: The embedded world; only things with a passage in the notes are looked up in it.
        asked: The question, parsed.
        procedure: The procedure to follow.
    """

    def __init__(self, world: World, asked: Asked, procedure: Procedure):
        self._world = world
        self._ask = asked.ask
        self._names = asked.names
        self._procedure = procedure

    def act(self, notes: Sequence[Note]) -> str:
        """Next search or answer."""
        seen = {note.title for note in notes}
        procedure = self._procedure
        names = self._names
        if procedure.family == BOTH:
            if procedure.order[0] == "second":
                names = names[::-1]
            missing = next((name for name in names if name not in seen), None)
            return write_call("search", missing) if missing else write_call("answer", self._winner())
        name = names[0]
        if name not in seen:
            return write_call("search", name)
        if procedure.family == TWO:
            name = self._between(self._world.things[name])
            if name not in seen:
                return write_call("search", name)
        return write_call("answer", self._fact(self._world.things[name]))

    def _between(self, thing: Thing) -> str:
        told = _TOLD[thing.kind]
        if self._procedure.between in told:
            fact = told[self._procedure.between]
        elif isinstance(self._ask, Compare) or len(self._ask.path) == 1:
            fact = _MAIN[thing.kind]
        else:
            fact = self._ask.path[0]
        value = thing.facts[fact]
        # A province has no passage.
        return value if value in self._world.things else thing.name

    def _fact(self, thing: Thing) -> str:
        told, wanted = _TOLD[thing.kind], self._procedure.answer
        if wanted != "fact":
            return _first(thing.facts[told[wanted]]) if wanted in told else thing.name
        path = (self._ask.fact,) if isinstance(self._ask, Compare) else self._ask.path
        fact = next((fact for fact in reversed(path) if fact in thing.facts), _MAIN[thing.kind])
        return _first(thing.facts[fact])

    def _winner(self) -> str:
        if not isinstance(self._ask, Compare):
            thing = self._world.things[self._names[0]]
            return thing.facts[_TOLD[thing.kind]["year"]] if self._procedure.answer.startswith("year") else thing.name
        fact = self._ask.fact
        things = sorted((self._world.things[name] for name in self._names), key=lambda thing: int(thing.facts[fact]))
        thing = things[0 if self._ask.earliest == self._procedure.answer.endswith("wins") else -1]
        return thing.facts[fact] if self._procedure.answer.startswith("year") else thing.name


def _first(value: str) -> str:
    # A river flows through several towns.
    return value.split(" and ")[0]

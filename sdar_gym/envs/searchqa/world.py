"""Generator of the embedded world: fictional people, novels, companies and towns, with a passage about each."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Literal, TypeVar

from sdar_gym.envs.data_files import SPLITS
from sdar_gym.envs.draws import pick, shuffled
from sdar_gym.envs.searchqa.plain_names import plain_names
from sdar_gym.envs.searchqa.wordings import FILLERS, PASSAGES, PRODUCTS, TRADES
from sdar_gym.skills.index.base import Document
from sdar_gym.skills.index.corpus import contents_of

# Raise whenever a change alters the questions or passages of existing ids; frozen panels depend on it.
GENERATOR_VERSION = 1
# Distractors without questions: namesakes, so that a surname alone is not enough for a search.
UNASKED = "unasked"
_SIZES = {"train": 600, "dev": 120, "test": 120, UNASKED: 200}


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_ONSETS = _words("b br c d dr f g gr h j k kr l m n p pr qu r s sk st t tr v w y z")
_VOWELS = _words("a e i o u a e o ai ei ou")
_MIDDLES = _words("l r n m v d g k t nd lv rm st sk ld rn")
_ENDINGS = {
    "surname": _words("ane el osk und ath ovic emar ollen usk eth"),
    "first": _words("a o in en us ia or el"),
    "town": _words("mark haven stad field holm ford wick burg"),
    "province": _words("land mere marsh wold"),
    "river": _words("e a ow is ar"),
    "company": _words("ex ona ium art ector ovo"),
}
TITLE_ADJECTIVES = _words(
    "Silver Broken Distant Hidden Amber Silent Burning Winter Hollow Crooked Golden Forgotten Narrow Paper Restless "
    "Salt Second Sleeping Stolen Unlit Velvet Wandering Wooden Drowned Gentle Iron Last Midnight Painted "
    "Patient"
)
TITLE_NOUNS = _words(
    "Harbour Orchard Lantern Bridge Garden Mirror Window Compass Shepherd Tower Island Stairway Clockmaker Ferry "
    "Meadow Archive Cathedral Violin Kingdom Lighthouse Mountain Staircase Carpenter Chimney Feather Glacier Merchant "
    "Notebook Voyage Quarry"
)
_T = TypeVar("_T")
Names = Literal["invented", "plain"]


@dataclass(frozen=True, slots=True)
class Thing:
    """An entity of the world, described by a passage.

    Attributes:
        kind: `person`, `novel`, `company`, `town` or `river`.
        name: Unique name.
        split: Split whose questions are about it.
        facts: Values by fact; other things are given by name.
    """

    kind: str
    name: str
    split: str
    facts: dict[str, str]


@dataclass(frozen=True, slots=True)
class World:
    """All things by name, and all passages."""

    things: dict[str, Thing]
    passages: tuple[Document, ...]

    def of(self, split: str, kind: str) -> list[Thing]:
        """Things of one kind and split, in a fixed order."""
        return [thing for thing in self.things.values() if thing.split == split and thing.kind == kind]


def embedded_world(names: Names = "invented") -> World:
    """The embedded world, identical in every process.

    Args:
        names: Names of invented words (`Trurmen Brormel`), or of two common words each (`Anna Baker`).
    """
    return _world(names)


@lru_cache(maxsize=2)
def _world(names: Names) -> World:
    if names == "plain":
        return _PlainBuilder(Random(f"search-qa plain world {GENERATOR_VERSION}")).build()
    return _Builder(Random(f"search-qa world {GENERATOR_VERSION}")).build()


class _Builder:
    def __init__(self, rng: Random):
        self._rng = rng
        self._used: set[str] = set()
        self._things: dict[str, Thing] = {}
        self._titles = shuffled(rng, [f"The {first} {noun}" for first in TITLE_ADJECTIVES for noun in TITLE_NOUNS])
        self._first_names = [self._word("first") for _ in range(80)]

    def build(self) -> World:
        for split in (*SPLITS, UNASKED):
            self._populate(split, _SIZES[split])
        order = shuffled(self._rng, list(self._things.values()))
        passages = tuple(
            Document(f"w{row:05d}", contents_of(self._title(thing), self._passage(thing)))
            for row, thing in enumerate(order)
        )
        return World(self._things, passages)

    def _populate(self, split: str, size: int) -> None:
        """Add the things of a split; they refer only to each other, so that splits are disjoint."""
        rivers = [self._word("river") for _ in range(max(3, size // 15))]
        provinces = [self._word("province") for _ in range(max(3, size // 30))]
        towns = [self._add("town", self._word("town"), split, self._town(rivers, provinces)) for _ in range(size // 5)]
        people = [self._add("person", self._person_name(split), split, self._life(towns)) for _ in range(size)]
        # Each person occurs in at most one other passage, so that their own ranks first.
        makers = iter(people)
        for _ in range(size // 2):
            self._add("novel", self._titles.pop(), split, self._made("author", next(makers)))
        for _ in range(size // 2):
            facts = {"seat": pick(self._rng, towns).name, "product": pick(self._rng, PRODUCTS)}
            self._add("company", self._company_name(), split, {**facts, **self._made("founder", next(makers))})
        by_river: defaultdict[str, list[str]] = defaultdict(list)
        for town in towns:
            by_river[town.facts["river"]].append(town.name)
        for river, names in by_river.items():
            self._add("river", river, split, {"towns": " and ".join(names)})

    def _add(self, kind: str, name: str, split: str, facts: dict[str, str]) -> Thing:
        self._things[name] = Thing(kind, name, split, facts)
        return self._things[name]

    def _town(self, rivers: list[str], provinces: list[str]) -> dict[str, str]:
        return {
            "river": pick(self._rng, rivers),
            "province": pick(self._rng, provinces),
            "year": self._year(800, 1690),
        }

    def _life(self, towns: list[Thing]) -> dict[str, str]:
        return {
            "birthplace": pick(self._rng, towns).name,
            "birth_year": self._year(1650, 1960),
            "trade": pick(self._rng, TRADES),
        }

    def _made(self, role: str, maker: Thing) -> dict[str, str]:
        born = int(maker.facts["birth_year"])
        return {role: maker.name, "year": self._year(born + 20, born + 60)}

    def _year(self, first: int, last: int) -> str:
        return str(first + int(self._rng.random() * (last - first + 1)))

    def _person_name(self, split: str) -> str:
        people = [thing for thing in self._things.values() if thing.kind == "person"] if split == UNASKED else []
        while True:
            # A distractor shares the surname of a person in a split.
            surname = pick(self._rng, people).name.split()[1] if people else self._word("surname")
            name = f"{pick(self._rng, self._first_names)} {surname}"
            if name not in self._things:
                return name

    def _company_name(self) -> str:
        return f"{self._word('company')} {pick(self._rng, ('Works', 'Brothers', 'Manufacture', 'Trading'))}"

    def _word(self, kind: str) -> str:
        while True:
            parts = (pick(self._rng, _ONSETS), pick(self._rng, _VOWELS), pick(self._rng, _MIDDLES))
            word = "".join((*parts, pick(self._rng, _ENDINGS[kind]))).capitalize()
            if word not in self._used:
                self._used.add(word)
                return word

    def _title(self, thing: Thing) -> str:
        return f"{thing.name} ({thing.kind})" if thing.kind == "river" else thing.name

    def _passage(self, thing: Thing) -> str:
        facts = [pick(self._rng, wordings).format(name=thing.name, **thing.facts) for wordings in PASSAGES[thing.kind]]
        fillers = shuffled(self._rng, FILLERS[thing.kind])[:3]
        return " ".join((*facts, *fillers))


class _PlainBuilder(_Builder):
    """The world with names of common words; each combination occurs once."""

    def __init__(self, rng: Random):
        self._left = {kind: plain_names(rng, kind) for kind in ("person", "town", "province", "river", "company")}
        super().__init__(rng)

    def _person_name(self, split: str) -> str:
        return self._left["person"].pop()

    def _company_name(self) -> str:
        return self._left["company"].pop()

    def _word(self, kind: str) -> str:
        # First names and surnames are drawn together.
        return "" if kind == "first" else self._left[kind].pop()

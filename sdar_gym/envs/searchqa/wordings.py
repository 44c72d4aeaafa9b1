"""Sentence templates of the embedded world, for passages and questions."""

from __future__ import annotations

from dataclasses import dataclass

# For each thing one sentence of each tuple is chosen. `{name}` is the thing, the other fields are its facts.
PASSAGES: dict[str, tuple[tuple[str, ...], ...]] = {
    "person": (
        (
            "{name} was a {trade} born in {birthplace} in {birth_year}.",
            "{name} (born {birth_year} in {birthplace}) was a {trade}.",
            "Born in {birthplace} in {birth_year}, {name} became a {trade}.",
        ),
    ),
    "novel": (
        (
            "{name} is a novel by {author}, first published in {year}.",
            "Published in {year}, {name} is a novel written by {author}.",
        ),
    ),
    "company": (
        (
            "{name} is a company that makes {product}.",
            "The company {name} makes {product}.",
        ),
        (
            "It was founded in {year} by {founder} and has its headquarters in {seat}.",
            "{founder} founded it in {year}; the headquarters are in {seat}.",
        ),
    ),
    "town": (
        (
            "{name} is a town in the province of {province}, founded in {year}.",
            "Founded in {year}, {name} is a town in the province of {province}.",
        ),
        (
            "The river {river} flows through {name}.",
            "{name} lies on the river {river}.",
        ),
    ),
    "river": (("The river {name} flows through {towns}.",),),
}

# Sentences without facts, so that passages have words which are irrelevant for the search.
FILLERS: dict[str, tuple[str, ...]] = {
    "person": (
        "Little is known of the early years.",
        "A long stay abroad changed much of the later work.",
        "Letters from that time are kept in a private collection.",
        "Friends remembered a quiet and patient character.",
        "Two attempts to write an autobiography were given up.",
        "A small museum shows tools, notebooks and a walking stick.",
    ),
    "novel": (
        "It is told in three parts by a narrator who is never seen.",
        "Critics were divided when it came out.",
        "A stage version was played for two winters.",
        "The manuscript was thought lost for many years.",
        "The plot turns on a letter that arrives too late.",
        "Later editions leave out the last chapter.",
    ),
    "company": (
        "It began with four workers in a rented barn.",
        "A fire destroyed the first workshop, which was soon built again.",
        "Most of what it sells goes abroad.",
        "It was among the first to offer its workers a share.",
        "The old trademark shows a heron.",
        "An attempt to buy it failed by a narrow vote.",
    ),
    "town": (
        "A market is held in the main square every week.",
        "The old walls were taken down to make room for gardens.",
        "Its bell tower leans a little to the north.",
        "A railway station was opened and later closed.",
        "The town hall was rebuilt after a flood.",
        "Visitors come for the orchards in spring.",
    ),
    "river": (
        "It rises in the hills and is known for its fish.",
        "Barges used it until the canal was opened.",
        "Its lower course freezes in hard winters.",
    ),
}

TRADES = ("painter", "botanist", "composer", "physician", "builder", "surveyor", "poet", "chemist", "printer")
PRODUCTS = (
    "clocks", "bicycles", "lanterns", "pianos", "ropes", "porcelain", "ploughs", "telescopes", "paper", "boots",
    "violins", "soap", "carpets", "compasses", "kettles", "umbrellas",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ask:
    """Template of a question about one thing.

    Attributes:
        kind: Kind of the thing.
        path: Facts to follow in order (hops).
        wordings: Question texts; `{x}` is the name of the thing.
    """

    kind: str
    path: tuple[str, ...]
    wordings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Compare:
    """Template of a comparison of two things.

    Attributes:
        kind: Kind of the things.
        fact: The year to compare.
        earliest: Whether the earlier year is the answer.
        wordings: Question texts; `{x}` and `{y}` are the names.
    """

    kind: str
    fact: str
    earliest: bool
    wordings: tuple[str, ...]


ONE_HOP = (
    Ask("person", ("birthplace",), ("In which town was {x} born?", "Where was {x} born?")),
    Ask("person", ("birth_year",), ("In which year was {x} born?", "When was {x} born?")),
    Ask("novel", ("author",), ("Who wrote the novel {x}?", "Who is the author of the novel {x}?")),
    Ask("novel", ("year",), ("In which year was the novel {x} published?", "When was the novel {x} first published?")),
    Ask("company", ("founder",), ("Who founded the company {x}?", "Who was the founder of {x}?")),
    Ask("company", ("seat",), ("In which town does the company {x} have its headquarters?",)),
    Ask("company", ("product",), ("What does the company {x} make?",)),
    Ask("town", ("river",), ("Which river flows through {x}?", "On which river does the town of {x} lie?")),
    Ask("town", ("province",), ("In which province is the town of {x}?",)),
)
TWO_HOP = (
    Ask("novel", ("author", "birthplace"), ("In which town was the author of the novel {x} born?",)),
    Ask("novel", ("author", "birth_year"), ("In which year was the author of the novel {x} born?",)),
    Ask("company", ("founder", "birthplace"), ("In which town was the founder of the company {x} born?",)),
    Ask("company", ("founder", "birth_year"), ("In which year was the founder of the company {x} born?",)),
    Ask("company", ("seat", "river"), ("Which river flows through the town where {x} has its headquarters?",)),
    Ask("company", ("seat", "province"), ("In which province are the headquarters of the company {x}?",)),
    Ask("person", ("birthplace", "river"), ("Which river flows through the town where {x} was born?",)),
    Ask("person", ("birthplace", "province"), ("In which province was {x} born?",)),
)
COMPARISON = (
    Compare("person", "birth_year", True, ("Who was born earlier, {x} or {y}?",)),
    Compare("person", "birth_year", False, ("Who was born later, {x} or {y}?",)),
    Compare("novel", "year", True, ("Which novel was published first, {x} or {y}?",)),
    Compare("novel", "year", False, ("Which novel was published more recently, {x} or {y}?",)),
    Compare("company", "year", True, ("Which company was founded first, {x} or {y}?",)),
    Compare("town", "year", True, ("Which town is older, {x} or {y}?",)),
)

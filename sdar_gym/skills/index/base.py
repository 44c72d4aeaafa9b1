"""Search index interface (`SearchIndex`, `Document`, `Hit`) and checks of arguments that all backends share."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from sdar_gym.text import shortened, well_formed
from sdar_gym.validation import finite_number, whole_number

# Anserini's defaults, and so those of every result obtained through Pyserini. The defaults of bm25s are 1.5 and 0.75.
DEFAULT_K1 = 0.9
DEFAULT_B = 0.4


class MissingBackendError(ValueError):
    """The search backend is not installed; the message has the command that installs it."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text with an id."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A document that matches a query. `rank` counts from 1."""

    id: str
    score: float
    rank: int


class SearchIndex(Protocol):
    """BM25 over documents.

    Every backend keeps the same contract: only documents that share a word with the query are returned (score > 0);
    higher scores first, equal ones by id as a string; k may exceed the number of documents; a query that is empty, or
    has no index terms, returns no hits and raises no error.
    """

    def search(self, query: str, k: int) -> list[Hit]:
        """The best k documents for a query.

        Raises:
            ValueError: k is below 1.
        """
        ...

    def add(self, docs: Iterable[Document]) -> None:
        """Add documents; all of them or, on an error, none.

        Raises:
            ValueError: An id is empty or taken.
        """
        ...

    def close(self) -> None:
        """Free the index's resources. May be called twice; searching afterwards is an error."""
        ...

    def info(self) -> dict[str, Any]:
        """Backend, version, parameters and size, as plain values for a report."""
        ...


def check_parameters(k1: float, b: float) -> None:
    """Check BM25 parameters.

    Raises:
        ValueError: k1 is negative or not finite, or b is outside 0 to 1.
    """
    finite_number("k1", k1, 0)
    if not 0 <= finite_number("b", b) <= 1:
        raise ValueError(f"b must lie between 0 and 1, got {b!r}; the usual value is {DEFAULT_B}.")


def check_k(k: int) -> None:
    """Check a number of results.

    Raises:
        ValueError: k is below 1.
    """
    if whole_number("k", k) < 1:
        raise ValueError(f"k is the number of results wanted, at least 1; got {k!r}.")


def check_documents(docs: Iterable[Document], taken: Container[str]) -> list[Document]:
    """The documents as a list, checked to have unique ids.

    Raises:
        ValueError: An id is empty, taken or not valid Unicode.
    """
    checked: list[Document] = []
    seen: set[str] = set()
    for doc in docs:
        if not doc.id:
            raise ValueError(f"A document needs an id; the one that begins {shortened(doc.text, 40)} has none.")
        if doc.id != well_formed(doc.id):
            raise ValueError(f"The document id {shortened(doc.id)} is not valid Unicode; choose one that is.")
        if doc.id in seen or doc.id in taken:
            raise ValueError(f"The document id {shortened(doc.id)} is taken; an index holds each id once.")
        seen.add(doc.id)
        checked.append(doc)
    return checked

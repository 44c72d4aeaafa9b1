"""Inverted index: postings of terms in documents, built by the bm25s library, and BM25 weights as in Lucene."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import numpy as np

# k1 for bm25s, whose scores are replaced; any value works from which the counts can be recovered.
_PLAIN_K1 = 1.0


class Vocabulary(Protocol):
    """Positions of terms, and the terms in order of position; a `dict` is one."""

    def get(self, term: str, /) -> int | None:
        """The position of a term, or None."""
        ...

    def __iter__(self) -> Iterator[str]:
        """The terms."""
        ...


@dataclass(frozen=True, slots=True)
class Postings:
    """An inverted index, independent of BM25's parameters.

    Attributes:
        ids: (D,) ids of the documents that have terms, sorted as strings; a document's number is its position here.
        lengths: (D,) terms of each document.
        terms: The position of each of the T terms; the terms are sorted.
        starts: (T + 1,) where the postings of each term begin, and where the last ones end.
        documents: (P,) the document of each posting, rising within a term.
        counts: (P,) how often the term occurs in it.
    """

    ids: np.ndarray
    lengths: np.ndarray
    terms: Vocabulary
    starts: np.ndarray
    documents: np.ndarray
    counts: np.ndarray


def make_postings(bags: Mapping[str, list[str]]) -> Postings | None:
    """Build the postings of documents.

    Args:
        bags: Terms by document id, in any order.

    Returns:
        The postings; None if no document has a term.
    """
    # Documents without a term would count in bm25s' averages; Lucene leaves them out, and no query matches them.
    ids = sorted(doc_id for doc_id, words in bags.items() if words)
    if not ids:
        return None
    import bm25s

    vocabulary = {term: at for at, term in enumerate(sorted(set(chain.from_iterable(bags.values()))))}
    words = [[vocabulary[term] for term in bags[doc_id]] for doc_id in ids]
    model: Any = bm25s.BM25(k1=_PLAIN_K1, b=0.0, method="lucene", dtype="float64", backend="numpy")
    model.index((words, vocabulary), create_empty_token=False, show_progress=False)
    starts = np.asarray(model.scores["indptr"], dtype=np.int64)
    # bm25s keeps idf * count / (count + k1) and no counts.
    share = model.scores["data"] / np.repeat(frequency_weights(starts, len(ids)), np.diff(starts))
    return Postings(
        ids=np.array(ids, dtype=object),
        lengths=np.array([len(listed) for listed in words], dtype=np.int32),
        terms=vocabulary,
        starts=starts,
        documents=np.asarray(model.scores["indices"], dtype=np.int32),
        counts=np.rint(_PLAIN_K1 * share / (1 - share)).astype(np.float32),
    )


def bags_of(postings: Postings) -> dict[str, list[str]]:
    """The inverse of `make_postings`, except for the order of terms, which nothing depends on."""
    terms = list(postings.terms)
    term_of = np.repeat(np.arange(len(terms)), np.diff(postings.starts))
    order = np.argsort(postings.documents, kind="stable")
    repeated = np.repeat(term_of[order], postings.counts[order].astype(np.int64)).tolist()
    ends = np.cumsum(postings.lengths).tolist()
    return {
        str(doc_id): [terms[at] for at in repeated[end - length : end]]
        for doc_id, length, end in zip(postings.ids.tolist(), postings.lengths.tolist(), ends, strict=True)
    }


def frequency_weights(starts: np.ndarray, documents: int) -> np.ndarray:
    """The inverse document frequency of each term, as Lucene computes it.

    Args:
        starts: (T + 1,) see `Postings`.
        documents: Documents that have terms.
    """
    with_term = np.diff(starts)
    return np.log(1 + (documents - with_term + 0.5) / (with_term + 0.5))


def length_norms(lengths: np.ndarray, k1: float, b: float) -> np.ndarray:
    """Length normalization of each document: the factor of a term's count.

    Source: Lucene 9, BM25Similarity and SmallFloat; the arithmetic is in single precision where Lucene's is.

    Args:
        lengths: (D,) terms of each document.
        k1: BM25 term-frequency saturation.
        b: BM25 length normalization.
    """
    average = np.float32(lengths.sum() / len(lengths))
    one, part = np.float32(1), np.float32(b)
    with np.errstate(divide="ignore"):
        return one / (np.float32(k1) * ((one - part) + part * stored_lengths(lengths).astype(np.float32) / average))


def stored_lengths(lengths: np.ndarray) -> np.ndarray:
    """Document lengths as Lucene stores them in one byte: exact below 40, then the highest four bits."""
    lengths = lengths.astype(np.int64)
    beyond = np.maximum(lengths - 24, 0)
    # frexp returns the number of bits of a whole number.
    shift = np.maximum(np.frexp(beyond.astype(np.float64))[1] - 4, 0)
    return np.where(lengths < 24, lengths, 24 + ((beyond >> shift) << shift))

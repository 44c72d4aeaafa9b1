"""BM25 index without Java: postings by the bm25s library, scored exactly as Lucene scores, rounding included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sdar_gym.skills.index.analysis import terms
from sdar_gym.skills.index.base import (
    DEFAULT_B,
    DEFAULT_K1,
    Document,
    Hit,
    check_documents,
    check_k,
    check_parameters,
)
from sdar_gym.skills.index.postings import Postings, bags_of, frequency_weights, length_norms, make_postings
from sdar_gym.skills.index.postings import stored_lengths as stored_lengths
from sdar_gym.skills.index.saved import open_postings, save_postings
from sdar_gym.text import well_formed


@dataclass(frozen=True, slots=True)
class _Model:
    """Postings and their BM25 weights.

    Attributes:
        postings: The postings.
        idf: (T,) inverse document frequency of each term.
        norms: (D,) length normalization: the factor of a term's count.
        scores: (P,) score of a term that occurs once in the query.
    """

    postings: Postings
    idf: np.ndarray
    norms: np.ndarray
    scores: np.ndarray


class Bm25sIndex:
    """An index in memory, or one that was saved, mapped.

    Results and scores equal Lucene's: document lengths are rounded to a byte, arithmetic is in single precision. Scores
    of bm25s itself differ in the third digit, enough to reorder a third of all result lists. Postings are built on the
    first search after documents were added; the terms of the documents are dropped then. Pickles.

    Args:
        docs: Documents to begin with.
        k1: BM25 term-frequency saturation.
        b: BM25 length normalization.

    Raises:
        ValueError: A parameter is out of range, or an id is empty or taken.
    """

    def __init__(self, docs: Iterable[Document] = (), *, k1: float = DEFAULT_K1, b: float = DEFAULT_B):
        check_parameters(k1, b)
        self._k1 = k1
        self._b = b
        self._ids: set[str] | None = set()
        self._size = 0
        # The model, and the terms of the documents that are not in it yet. One attribute, so that threads that search
        # first at the same time see both or neither.
        self._state: tuple[_Model | None, dict[str, list[str]]] = (None, {})
        self._closed = False
        self.add(docs)

    @classmethod
    def open(cls, path: Path, *, k1: float = DEFAULT_K1, b: float = DEFAULT_B) -> Bm25sIndex:
        """Open a saved index; its arrays are memory-mapped, so that processes share them.

        Raises:
            SavedIndexError: There is nothing at `path`, or it is damaged.
            ValueError: A parameter is out of range.
        """
        index = cls(k1=k1, b=b)
        saved = open_postings(path)
        # The ids are row numbers; they are listed only if something is added.
        index._ids, index._size = None, saved.documents
        if saved.postings is not None:
            scores = saved.scores if (saved.k1, saved.b) == (float(k1), float(b)) else None
            index._state = (_scored(saved.postings, k1, b, scores), {})
        return index

    def save(self, path: Path) -> None:
        """Save the index into a new folder. The document ids have to be 0, 1, 2 and so on."""
        model = self._built()
        postings, scores = (None, None) if model is None else (model.postings, model.scores)
        save_postings(path, postings, scores, documents=self._size, k1=float(self._k1), b=float(self._b))

    def add(self, docs: Iterable[Document]) -> None:
        """Add documents; see `SearchIndex.add`."""
        self._check_open()
        if self._ids is None:
            self._ids = {str(row) for row in range(self._size)}
        checked = check_documents(docs, self._ids)
        self._state[1].update((doc.id, terms(well_formed(doc.text))) for doc in checked)
        self._ids.update(doc.id for doc in checked)
        self._size = len(self._ids)

    def search(self, query: str, k: int) -> list[Hit]:
        """The best k documents; see `SearchIndex.search`."""
        self._check_open()
        check_k(k)
        model = self._built()
        if model is None:
            return []
        postings = model.postings
        # Summed in double and rounded to single, as Lucene does: the order of the words cannot break a tie then.
        total = np.zeros(len(postings.ids))
        known = 0
        for term, times in Counter(terms(well_formed(query))).items():
            at = postings.terms.get(term)
            if at is None:
                continue
            known += 1
            part = slice(postings.starts[at], postings.starts[at + 1])
            documents = postings.documents[part]
            if times == 1:
                total[documents] += model.scores[part]
            else:
                weight = np.float32(times) * model.idf[at]
                total[documents] += weight - weight / (np.float32(1) + postings.counts[part] * model.norms[documents])
        if not known:
            return []
        scores = total.astype(np.float32)
        found = np.flatnonzero(scores > 0)
        if len(found) > k:
            # Everything that ties with the k-th place stays in, so that ids decide about the place.
            threshold = np.partition(scores[found], -k)[-k]
            found = found[scores[found] >= threshold]
        # Positions follow the ids' order, so position breaks ties by id.
        best = found[np.lexsort((found, -scores[found]))][:k]
        return [Hit(str(postings.ids[at]), float(scores[at]), rank) for rank, at in enumerate(best, start=1)]

    def close(self) -> None:
        """Free the memory."""
        self._closed = True
        self._ids, self._size = set(), 0
        self._state = (None, {})

    def info(self) -> dict[str, Any]:
        """Backend, version, parameters and size."""
        from importlib.metadata import version

        return {
            "backend": "bm25s",
            "version": version("bm25s"),
            "k1": self._k1,
            "b": self._b,
            "analyzer": "english-porter",
            "documents": self._size,
        }

    def _built(self) -> _Model | None:
        model, pending = self._state
        if pending:
            known = {} if model is None else bags_of(model.postings)
            postings = make_postings({**known, **pending})
            model = None if postings is None else _scored(postings, self._k1, self._b)
            self._state = (model, {})
        return model

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("This index is closed; open a new one.")


def _scored(postings: Postings, k1: float, b: float, scores: np.ndarray | None = None) -> _Model:
    """Postings with their BM25 weights; scores are computed unless given."""
    idf = frequency_weights(postings.starts, len(postings.ids)).astype(np.float32)
    norms = length_norms(postings.lengths, k1, b)
    if scores is None:
        weights = np.repeat(idf, np.diff(postings.starts))
        scores = weights - weights / (np.float32(1) + postings.counts * norms[postings.documents])
    return _Model(postings, idf, norms, scores)

"""BM25 without Java: the bm25s library, held to the order and the zero-score rule that Lucene has."""

from __future__ import annotations

from collections.abc import Iterable
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
    clean_text,
)


class Bm25sIndex:
    """An index in memory; the model is built on the first search after documents were added.

    Scores differ from Lucene's in the third digit or so, because Lucene keeps document lengths in one byte. Pickles;
    the receiving process builds the model anew.

    Args:
        docs: Documents to begin with.
        k1: BM25 term-frequency saturation.
        b: BM25 length normalisation.

    Raises:
        ValueError: A parameter is out of range, or an id is empty or taken.
    """

    def __init__(self, docs: Iterable[Document] = (), *, k1: float = DEFAULT_K1, b: float = DEFAULT_B):
        check_parameters(k1, b)
        self._k1 = k1
        self._b = b
        self._terms: dict[str, list[str]] = {}
        self._model: Any = None
        self._ids: np.ndarray = np.empty(0, dtype=object)
        self._closed = False
        self.add(docs)

    def add(self, docs: Iterable[Document]) -> None:
        """Add documents; see `SearchIndex.add`."""
        self._check_open()
        for doc in check_documents(docs, self._terms):
            self._terms[doc.id] = terms(clean_text(doc.text))
        self._model = None

    def search(self, query: str, k: int) -> list[Hit]:
        """The best k documents; see `SearchIndex.search`."""
        self._check_open()
        check_k(k)
        model = self._built()
        if model is None:
            return []
        known = [term for term in terms(clean_text(query)) if term in model.vocab_dict]
        if not known:
            return []
        # Summed in double and rounded to single, as Lucene does: the order of the words cannot break a tie then.
        scores = model.get_scores(known).astype(np.float32)
        found = np.flatnonzero(scores > 0)
        if len(found) > k:
            # Everything that ties with the k-th place stays in, so that ids and not chance decide who gets it.
            threshold = np.partition(scores[found], -k)[-k]
            found = found[scores[found] >= threshold]
        # Positions follow the ids' order (`_built` sorts), so position breaks ties by id.
        best = found[np.lexsort((found, -scores[found]))][:k]
        return [Hit(str(self._ids[at]), float(scores[at]), rank) for rank, at in enumerate(best, start=1)]

    def close(self) -> None:
        """Free the memory."""
        self._closed = True
        self._terms = {}
        self._model = None

    def info(self) -> dict[str, Any]:
        """Backend, version, parameters and size."""
        from importlib.metadata import version

        return {
            "backend": "bm25s",
            "version": version("bm25s"),
            "k1": self._k1,
            "b": self._b,
            "analyzer": "english-porter",
            "documents": len(self._terms),
        }

    def _built(self) -> Any:
        if self._model is None:
            # Documents without a term would count in bm25s' averages; Lucene leaves them out, and nothing finds them.
            ids = sorted(doc_id for doc_id, words in self._terms.items() if words)
            if not ids:
                return None
            import bm25s

            model = bm25s.BM25(k1=self._k1, b=self._b, method="lucene", dtype="float64", backend="numpy")
            model.index([self._terms[doc_id] for doc_id in ids], create_empty_token=False, show_progress=False)
            self._ids = np.array(ids, dtype=object)
            self._model = model
        return self._model

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("This index is closed; open a new one.")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_model": None}

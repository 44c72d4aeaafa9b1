"""Search over short texts: one contract, a backend in Python (bm25s) and one in Java (Lucene, as Pyserini uses it)."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Literal

from sdar_gym.skills.index.base import DEFAULT_B, DEFAULT_K1, Document, Hit, MissingBackendError, SearchIndex

Backend = Literal["auto", "bm25s", "lucene"]
BACKENDS: tuple[Backend, ...] = ("auto", "bm25s", "lucene")

__all__ = [
    "BACKENDS",
    "DEFAULT_B",
    "DEFAULT_K1",
    "Backend",
    "Document",
    "Hit",
    "MissingBackendError",
    "SearchIndex",
    "open_index",
    "resolve_backend",
]


def resolve_backend(backend: str) -> Literal["bm25s", "lucene"]:
    """The backend that a setting stands for, checked to be installed. Starts nothing.

    Raises:
        MissingBackendError: The backend is not installed.
        ValueError: There is no backend of that name.
    """
    if backend == "lucene":
        from sdar_gym.skills.index.jvm import check_installed

        check_installed()
        return "lucene"
    if backend in ("auto", "bm25s"):
        # "auto" never picks Lucene, installed or not. Indices are opened in environment workers, where each Java
        # machine would cost 100 to 250 MB and a second or two, and results must not hinge on what else is installed.
        return "bm25s"
    close = get_close_matches(backend, BACKENDS, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"Unknown search backend {backend!r}; there are: {', '.join(BACKENDS)}.{hint}")


def open_index(
    docs: Iterable[Document] = (), backend: str = "auto", *, k1: float = DEFAULT_K1, b: float = DEFAULT_B
) -> SearchIndex:
    """Build an index over documents.

    Args:
        docs: Documents to begin with.
        backend: `bm25s` (Python), `lucene` (Java by pip) or `auto`, which is `bm25s`.
        k1: BM25 term-frequency saturation; the default is Anserini's.
        b: BM25 length normalisation; the default is Anserini's.

    Raises:
        MissingBackendError: The backend is not installed.
        ValueError: An unknown backend, a parameter out of range, or a document id that is empty or taken.
    """
    if resolve_backend(backend) == "lucene":
        from sdar_gym.skills.index.lucene_index import LuceneIndex

        return LuceneIndex(docs, k1=k1, b=b)
    from sdar_gym.skills.index.bm25s_index import Bm25sIndex

    return Bm25sIndex(docs, k1=k1, b=b)

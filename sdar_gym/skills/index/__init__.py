"""BM25 search over short texts, with a Python backend (bm25s) and a Java backend (Lucene, as in Pyserini)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from sdar_gym.skills.index.base import DEFAULT_B, DEFAULT_K1, Document, Hit, MissingBackendError, SearchIndex
from sdar_gym.text import closest

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
    """Resolve a backend setting to a backend, and check that it is installed. Starts nothing.

    Raises:
        MissingBackendError: The backend is not installed.
        ValueError: The backend is unknown.
    """
    if backend == "lucene":
        from sdar_gym.skills.index.jvm import check_installed

        check_installed()
        return "lucene"
    if backend in ("auto", "bm25s"):
        # "auto" never picks Lucene, installed or not. Indices are opened in environment workers, where each JVM would
        # cost 100 to 250 MB and a second or two, and results must not depend on what else is installed.
        return "bm25s"
    close = closest(backend, BACKENDS)
    hint = f" Did you mean {close!r}?" if close else ""
    raise ValueError(f"Unknown search backend {backend!r}; there are: {', '.join(BACKENDS)}.{hint}")


def open_index(
    docs: Iterable[Document] = (), backend: str = "auto", *, k1: float = DEFAULT_K1, b: float = DEFAULT_B
) -> SearchIndex:
    """Build an index over documents.

    Args:
        docs: Documents to begin with.
        backend: `bm25s` (Python), `lucene` (Java, installed by pip) or `auto`, which is `bm25s`.
        k1: BM25 term-frequency saturation; the default is Anserini's.
        b: BM25 length normalization; the default is Anserini's.

    Raises:
        MissingBackendError: The backend is not installed.
        ValueError: An unknown backend, a parameter out of range, or a document id that is empty or taken.
    """
    if resolve_backend(backend) == "lucene":
        from sdar_gym.skills.index.lucene_index import LuceneIndex

        return LuceneIndex(docs, k1=k1, b=b)
    from sdar_gym.skills.index.bm25s_index import Bm25sIndex

    return Bm25sIndex(docs, k1=k1, b=b)

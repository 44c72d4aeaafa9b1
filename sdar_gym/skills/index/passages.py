"""Passage search: an index over row numbers beside a store of the texts, so that searches return passages."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from sdar_gym.paths import local_path
from sdar_gym.skills.index import DEFAULT_B, DEFAULT_K1, open_index, resolve_backend
from sdar_gym.skills.index.base import Document, SearchIndex
from sdar_gym.skills.index.manifest import FILE, IndexFolderError, Manifest, load_manifest
from sdar_gym.skills.index.store import DiskStore, MemoryStore, PassageStore
from sdar_gym.text import terminal_safe

LUCENE_FOLDER = "lucene"
BM25S_FOLDER = "bm25s"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage that matches a query."""

    id: str
    contents: str
    score: float


class PassageIndex:
    """A searchable collection of passages. Threads may share it.

    A passage's id in the index is its row number in the corpus, without leading zeros; ties are therefore ordered as in
    Pyserini for corpora with such ids, like wiki-18.

    Args:
        index: Index over `str(row)`.
        store: The passages by row.
        about: Entries that `info` adds to those of the index.
    """

    def __init__(self, index: SearchIndex, store: PassageStore, about: dict[str, Any] | None = None):
        self._index = index
        self._store = store
        self._about = dict(about or {})
        self._warm = False
        self._lock = Lock()

    def search(self, query: str, k: int) -> list[Passage]:
        """The best k passages for a query, as `SearchIndex.search` orders them.

        Raises:
            ValueError: k is below 1.
        """
        if not self._warm:
            # The Python backend builds its model on the first search; threads must not do so at the same time.
            with self._lock:
                self._index.search("warm", 1)
                self._warm = True
        found = []
        for hit in self._index.search(query, k):
            doc = self._store[int(hit.id)]
            found.append(Passage(doc.id, doc.text, hit.score))
        return found

    def batch(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """`search` for several queries."""
        return [self.search(query, k) for query in queries]

    def __len__(self) -> int:
        return len(self._store)

    def info(self) -> dict[str, Any]:
        """Backend, version, parameters, size, and the corpus."""
        return {**self._index.info(), **self._about, "passages": len(self)}

    def close(self) -> None:
        """Free index and passages; may be called twice."""
        self._index.close()
        self._store.close()


def numbered(docs: Iterable[Document]) -> Iterable[Document]:
    """The same texts under their row numbers."""
    return (Document(str(row), doc.text) for row, doc in enumerate(docs))


def index_passages(
    docs: Iterable[Document],
    backend: str = "auto",
    *,
    k1: float = DEFAULT_K1,
    b: float = DEFAULT_B,
    about: dict[str, Any] | None = None,
) -> PassageIndex:
    """Index passages in memory.

    Raises:
        MissingBackendError: The backend is not installed.
        ValueError: An unknown backend, or a parameter out of range.
    """
    store = MemoryStore(docs)
    return PassageIndex(
        open_index(numbered(store[row] for row in range(len(store))), backend, k1=k1, b=b), store, about
    )


def open_passages(folder: str | Path, *, k1: float | None = None, b: float | None = None) -> PassageIndex:
    """Open an index folder that `sdar-gym index` made.

    The files are memory-mapped: opening takes no time, and all processes share them. A `bm25s` folder of an older
    version has the passages only; its index is built in memory, in some 20 s for 100,000 passages.

    Args:
        folder: The folder.
        k1: BM25 term-frequency saturation; default as built.
        b: BM25 length normalization; default as built.

    Raises:
        IndexFolderError: There is no index, or it is damaged.
        MissingBackendError: The folder's backend is not installed.
    """
    folder = local_path("The index folder", folder)
    manifest = load_manifest(folder)
    k1, b = manifest.k1 if k1 is None else k1, manifest.b if b is None else b
    # Before the files are opened: nothing to close then.
    backend = resolve_backend(manifest.backend)
    store = DiskStore(folder)
    try:
        if len(store) != manifest.documents:
            raise IndexFolderError(
                f"{folder} holds {len(store)} passages, its manifest says {manifest.documents}; build the index again."
            )
        index = (
            _open_lucene(folder, manifest, k1, b)
            if backend == "lucene"
            else _open_bm25s(folder, manifest, store, k1, b)
        )
    except BaseException:
        store.close()
        raise
    about = {"corpus": manifest.corpus, "corpus_sha256": manifest.corpus_sha256}
    return PassageIndex(index, store, about)


def _open_lucene(folder: Path, manifest: Manifest, k1: float, b: float) -> SearchIndex:
    from sdar_gym.skills.index.lucene_index import LuceneIndex

    try:
        return LuceneIndex.open(folder / LUCENE_FOLDER, k1=k1, b=b)
    except ValueError as error:
        if manifest.documents:
            raise IndexFolderError(f"{folder} is damaged ({error}); build the index again.") from error
        raise


def _open_bm25s(folder: Path, manifest: Manifest, store: DiskStore, k1: float, b: float) -> SearchIndex:
    from sdar_gym.skills.index.bm25s_index import Bm25sIndex

    if not (folder / BM25S_FOLDER).exists():
        _log.warning(
            "%s was made by an older version, without a saved index: one is built in memory each time it is opened. "
            "Build it again with `sdar-gym index` to open it at once.",
            terminal_safe(str(folder)),
        )
        return open_index(numbered(store), k1=k1, b=b)
    index = Bm25sIndex.open(folder / BM25S_FOLDER, k1=k1, b=b)
    if index.info()["documents"] != manifest.documents:
        raise IndexFolderError(
            f"{folder / BM25S_FOLDER} is of another index than {folder / FILE}; build the index again."
        )
    return index

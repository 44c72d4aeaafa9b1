"""Builds an index folder from a corpus, in one pass and bounded memory, complete or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import islice
from pathlib import Path

from sdar_gym.files import fresh_sibling
from sdar_gym.paths import first_line, local_path
from sdar_gym.skills.index import DEFAULT_B, DEFAULT_K1, resolve_backend
from sdar_gym.skills.index.base import Document, check_parameters
from sdar_gym.skills.index.corpus import Corpus
from sdar_gym.skills.index.manifest import IndexFolderError, Manifest
from sdar_gym.skills.index.passages import BM25S_FOLDER, LUCENE_FOLDER
from sdar_gym.skills.index.store import StoreWriter

_REPORT_EVERY = 1000
_CHUNK = 1000

Report = Callable[[int, float], None]


def build_folder(
    corpus: str | Path,
    output: str | Path,
    backend: str = "lucene",
    *,
    k1: float = DEFAULT_K1,
    b: float = DEFAULT_B,
    report: Report = lambda documents, fraction: None,
) -> Manifest:
    """Index a corpus into a folder that `open_passages` opens.

    Everything is written beside `output` and renamed at the end: an interrupted build leaves nothing under that name.

    Args:
        corpus: A file that `Corpus` reads.
        output: The folder, new or empty.
        backend: `lucene`, or `bm25s` for up to some 100,000 passages.
        k1: BM25 term-frequency saturation.
        b: BM25 length normalization.
        report: Called with the passages done and the share of the corpus read: once what can be checked before is
            checked, every 1,000 passages, and at the end.

    Returns:
        The manifest of the folder.

    Raises:
        MissingBackendError: The backend is not installed.
        CorpusError: The corpus is missing or damaged.
        IndexFolderError: `output` is not empty or cannot be written, or the corpus has no text.
        StoreError: Two passages have the same id.
        ValueError: A parameter is out of range.
    """
    check_parameters(k1, b)
    kind = resolve_backend(backend)
    source = Corpus(corpus)
    target = local_path("The folder for the index", output)
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise IndexFolderError(f"{target} is not empty; choose another folder, or remove it first.")
        target.parent.mkdir(parents=True, exist_ok=True)
        with fresh_sibling(target) as partial:
            report(0, 0.0)
            manifest = _build(source, partial, kind, k1, b, report)
            manifest.save(partial)
            if target.exists():
                target.rmdir()
            partial.rename(target)
    except OSError as error:
        raise IndexFolderError(f"{target} cannot be written: {first_line(error)}.") from error
    return manifest


def _build(source: Corpus, folder: Path, backend: str, k1: float, b: float, report: Report) -> Manifest:
    writer = StoreWriter(folder)
    count = 0

    def stored() -> Iterator[Document]:
        nonlocal count
        for doc in source:
            writer.add(doc)
            # Its id in the index is its row number, the key of the store.
            yield Document(str(count), doc.text)
            count += 1
            if count % _REPORT_EVERY == 0:
                report(count, source.fraction)

    try:
        if backend == "lucene":
            from sdar_gym.skills.index.lucene_index import write_lucene

            written_by = write_lucene(stored(), folder / LUCENE_FOLDER)
        else:
            from sdar_gym.skills.index.bm25s_index import Bm25sIndex

            docs, index = stored(), Bm25sIndex(k1=k1, b=b)
            while chunk := list(islice(docs, _CHUNK)):
                index.add(chunk)
            index.save(folder / BM25S_FOLDER)
            written_by = version("bm25s")
        size = writer.finish()
    finally:
        writer.close()
    report(count, 1.0)
    return Manifest(
        backend=backend,
        backend_version=written_by,
        k1=k1,
        b=b,
        analyzer="english-porter",
        documents=count,
        bytes=size,
        corpus=source.path.name,
        corpus_bytes=source.path.stat().st_size,
        corpus_sha256=_sha256(source.path),
        built_with=version("sdar-gym"),
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Saved postings: plain arrays in a folder, memory-mapped, so that opening costs no more than checking them."""

from __future__ import annotations

import hashlib
import json
import mmap
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sdar_gym.paths import DAMAGED, first_line
from sdar_gym.skills.index.manifest import IndexFolderError
from sdar_gym.skills.index.postings import Postings

FILE = "arrays.json"
# Raise when older arrays can no longer be used as they are: another layout, or other terms for the same text.
FORMAT = 1
_TYPES = {
    "rows": np.dtype("<i4"),
    "lengths": np.dtype("<i4"),
    "terms": np.dtype("u1"),
    "term_starts": np.dtype("<i8"),
    "starts": np.dtype("<i8"),
    "documents": np.dtype("<i4"),
    "counts": np.dtype("<f4"),
    "scores": np.dtype("<f4"),
}


class SavedIndexError(IndexFolderError):
    """Saved postings that are missing, damaged, or of another version."""


# Query terms with cached positions: some 4 MB at most.
_CACHE_LIMIT = 32_768


class MappedTerms:
    """The terms of a saved index, looked up by binary search in a memory-mapped array.

    Args:
        content: The terms in UTF-8, sorted, one after another.
        starts: (T + 1,) where each begins, and where the last ends.
    """

    def __init__(self, content: np.ndarray, starts: np.ndarray):
        self._content = content
        self._starts = starts
        self._cache: dict[str, int | None] = {}

    def get(self, term: str, /) -> int | None:
        """The position of a term, or None; cached, since an environment's queries have few words."""
        if term in self._cache:
            return self._cache[term]
        wanted = term.encode()
        at = bisect_left(range(len(self)), wanted, key=self._encoded)
        place = at if at < len(self) and self._encoded(at) == wanted else None
        if len(self._cache) < _CACHE_LIMIT:
            self._cache[term] = place
        return place

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __iter__(self) -> Iterator[str]:
        return (self._encoded(at).decode() for at in range(len(self)))

    def _encoded(self, at: int) -> bytes:
        return self._content[self._starts[at] : self._starts[at + 1]].tobytes()


@dataclass(frozen=True, slots=True)
class Saved:
    """Saved postings as `open_postings` returns them.

    Attributes:
        postings: The postings; None if no document has a term.
        scores: (P,) score of each posting's term if it occurs once in the query.
        documents: Number of documents, including those without terms.
        k1: BM25 term-frequency saturation of the scores.
        b: BM25 length normalization of the scores.
    """

    postings: Postings | None
    scores: np.ndarray | None
    documents: int
    k1: float
    b: float


def save_postings(
    folder: Path, postings: Postings | None, scores: np.ndarray | None, *, documents: int, k1: float, b: float
) -> None:
    """Save postings into a new folder; their ids have to be row numbers. The arguments are those of `Saved`."""
    folder.mkdir()
    arrays: dict[str, Any] = dict.fromkeys(_TYPES, ())
    if postings is not None and scores is not None:
        encoded = [term.encode() for term in postings.terms]
        arrays = {
            "rows": postings.ids.astype(np.int64),
            "lengths": postings.lengths,
            "terms": np.frombuffer(b"".join(encoded), np.uint8),
            "term_starts": np.cumsum([0, *map(len, encoded)]),
            "starts": postings.starts,
            "documents": postings.documents,
            "counts": postings.counts,
            "scores": scores,
        }
    files = {}
    for name, dtype in _TYPES.items():
        content = np.ascontiguousarray(arrays[name], dtype=dtype)
        content.tofile(folder / f"{name}.bin")
        files[name] = {"bytes": content.nbytes, "sha256": hashlib.sha256(content.data).hexdigest()}
    about = {"format": FORMAT, "documents": documents, "k1": k1, "b": b, "files": files}
    (folder / FILE).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def open_postings(folder: Path) -> Saved:
    """Memory-map saved postings. Sizes and hashes are checked: a changed byte could otherwise change a ranking.

    Raises:
        SavedIndexError: They are missing, damaged, or of another version.
    """
    try:
        about = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            raise SavedIndexError(
                f"{folder} has format {about['format']}, this version reads {FORMAT}; build the index again."
            )
        arrays = {name: _mapped(folder / f"{name}.bin", dtype, about["files"][name]) for name, dtype in _TYPES.items()}
        documents, k1, b = int(about["documents"]), float(about["k1"]), float(about["b"])
    except SavedIndexError:
        raise
    except (*DAMAGED, KeyError, TypeError, ValueError) as error:
        raise SavedIndexError(f"{folder / FILE} is damaged ({first_line(error)}); build the index again.") from error
    if not len(arrays["rows"]):
        return Saved(None, None, documents, k1, b)
    postings = Postings(
        ids=arrays["rows"],
        lengths=arrays["lengths"],
        terms=MappedTerms(arrays["terms"], arrays["term_starts"]),
        starts=arrays["starts"],
        documents=arrays["documents"],
        counts=arrays["counts"],
    )
    return Saved(postings, arrays["scores"], documents, k1, b)


def _mapped(path: Path, dtype: np.dtype[Any], about: dict[str, Any]) -> np.ndarray:
    with path.open("rb") as file:
        size = path.stat().st_size
        if size != about["bytes"]:
            raise SavedIndexError(
                f"{path} has {size} bytes where {about['bytes']} were written; build the index again."
            )
        # A mapping outlives its file; an empty file has none.
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
    if hashlib.sha256(content).hexdigest() != about["sha256"]:
        raise SavedIndexError(f"{path} is not what was written; build the index again.")
    return np.frombuffer(content, dtype)

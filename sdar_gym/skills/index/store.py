"""Passage store: the texts of an index by row number, on disk, so that millions of passages need no memory."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

import numpy as np

from sdar_gym.paths import first_line
from sdar_gym.skills.index.base import Document
from sdar_gym.text import shortened, well_formed

_DOCUMENTS = "documents.jsonl"
_OFFSETS = "offsets.bin"
_OFFSET_TYPE = np.dtype("<u8")
_FLUSH = 1 << 16


class StoreError(ValueError):
    """A passage store that is damaged, or passages that cannot be stored."""


class PassageStore(Protocol):
    """Passages by row number."""

    def __getitem__(self, row: int) -> Document:
        """The passage of a row."""
        ...

    def __len__(self) -> int:
        """How many passages there are."""
        ...

    def close(self) -> None:
        """Free the store's resources."""
        ...


class MemoryStore:
    """Passages in a list.

    Raises:
        StoreError: An id occurs twice.
    """

    def __init__(self, docs: Iterable[Document]):
        self._docs: Sequence[Document] = tuple(docs)
        rows: dict[str, int] = {}
        for row, doc in enumerate(self._docs):
            first = rows.setdefault(doc.id, row)
            if first != row:
                raise _twice(doc.id, first, row)

    def __getitem__(self, row: int) -> Document:
        return self._docs[row]

    def __len__(self) -> int:
        return len(self._docs)

    def close(self) -> None:
        """Nothing to free."""


class DiskStore:
    """Passages in a folder that `StoreWriter` wrote: one JSON line each, and the offsets of the lines.

    Both files are memory-mapped; threads and forked children may share the store.

    Args:
        folder: The folder.

    Raises:
        StoreError: The files are missing or do not belong together.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        try:
            offsets = np.fromfile(folder / _OFFSETS, _OFFSET_TYPE, 1)
            if (folder / _OFFSETS).stat().st_size % _OFFSET_TYPE.itemsize or not len(offsets):
                raise StoreError(f"{folder / _OFFSETS} is cut off; build the index again.")
            self._offsets = np.memmap(folder / _OFFSETS, _OFFSET_TYPE, "r")
            size = (folder / _DOCUMENTS).stat().st_size
            if int(self._offsets[-1]) != size:
                raise StoreError(
                    f"{folder / _DOCUMENTS} has {size} bytes, its offsets say {int(self._offsets[-1])}; build "
                    "the index again."
                )
            # A mapping outlives its file; an empty file has none.
            with (folder / _DOCUMENTS).open("rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        except OSError as error:
            raise StoreError(f"The passages of {folder} cannot be read: {error}.") from error

    def __getitem__(self, row: int) -> Document:
        if not 0 <= row < len(self):
            raise IndexError(row)
        try:
            doc_id, contents = json.loads(self._bytes[int(self._offsets[row]) : int(self._offsets[row + 1])])
        except (ValueError, TypeError, RecursionError) as error:
            raise StoreError(
                f"{self._folder / _DOCUMENTS}, row {row + 1} is damaged ({first_line(error)}); build the index again."
            ) from error
        return Document(doc_id, contents)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __iter__(self) -> Iterator[Document]:
        return (self[row] for row in range(len(self)))

    def close(self) -> None:
        """Unmap the passages; may be called twice."""
        if isinstance(self._bytes, mmap.mmap):
            self._bytes.close()


def _twice(doc_id: str, first: int, second: int) -> StoreError:
    return StoreError(
        f"The passage id {shortened(doc_id)} occurs twice, in rows {first + 1} and {second + 1}; make ids unique."
    )


class StoreWriter:
    """Writes a store passage by passage.

    Args:
        folder: An existing folder.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._closing = ExitStack()
        self._documents = self._closing.enter_context((folder / _DOCUMENTS).open("xb"))
        self._offsets_file = self._closing.enter_context((folder / _OFFSETS).open("xb"))
        self._pending = [0]
        self._at = 0
        # Eight bytes per id detect a repeated one; a set of the ids of a large corpus would fill the memory.
        self._hashes = bytearray()

    def add(self, doc: Document) -> None:
        """Append one passage."""
        line = json.dumps([well_formed(doc.id), well_formed(doc.text)], ensure_ascii=False).encode() + b"\n"
        self._documents.write(line)
        self._at += len(line)
        self._pending.append(self._at)
        self._hashes += blake2b(doc.id.encode("utf-8", "replace"), digest_size=8).digest()
        if len(self._pending) >= _FLUSH:
            self._flush()

    def finish(self) -> int:
        """Write the buffered rest, and check that ids are unique.

        Returns:
            Size of the passages in bytes.

        Raises:
            StoreError: An id occurs twice.
        """
        self._flush()
        self._closing.close()
        hashes = np.frombuffer(self._hashes, _OFFSET_TYPE)
        order = np.argsort(hashes, kind="stable")
        same = np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]])
        if len(same):
            store = DiskStore(self._folder)
            first, second = int(order[same[0]]), int(order[same[0] + 1])
            doc_id = store[first].id
            store.close()
            raise _twice(doc_id, first, second)
        return self._at

    def close(self) -> None:
        """Close the files, finished or not."""
        with suppress(OSError):
            self._closing.close()

    def _flush(self) -> None:
        self._offsets_file.write(np.array(self._pending, _OFFSET_TYPE).tobytes())
        self._pending = []

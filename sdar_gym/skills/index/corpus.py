"""Reads passage corpora as a stream, so that an index of millions is built in bounded memory."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

from sdar_gym.skills.index.base import Document

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".parquet")
_PARQUET_ROWS = 4096


class CorpusError(ValueError):
    """A passage corpus that is not there or cannot be read."""


class Corpus:
    """A file of passages; each time it is iterated over, it is read from its beginning.

    Formats: `.jsonl` (also gzipped) and `.parquet` with `id` and `contents` (as FlashRAG and Search-R1 publish them),
    or with `title` and `text`; `.json` with a list of such objects, or with one object `{title: sentences}` (as the
    HotpotQA samples). A passage without an id gets its row number. The contents of a passage are its title in double
    quotes on the first line, then its text.

    Args:
        path: The file.

    Raises:
        CorpusError: There is no such file, or its name has another ending.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path).expanduser()
        if not self.path.is_file():
            raise CorpusError(f"There is no passage corpus at {self.path}; name a file ({', '.join(SUFFIXES)}).")
        if not self.path.name.lower().endswith(SUFFIXES):
            raise CorpusError(f"{self.path} is no passage corpus by its name; known endings: {', '.join(SUFFIXES)}.")
        self.fraction = 0.0
        """How much of the file the running iteration has read, 0 to 1."""

    def __iter__(self) -> Iterator[Document]:
        """The passages, in the file's order.

        Raises:
            CorpusError: A row is no passage, or the file is damaged.
        """
        self.fraction = 0.0
        for number, row in enumerate(self._rows()):
            yield passage(row, number, f"{self.path}, row {number + 1}")
        self.fraction = 1.0

    def _rows(self) -> Iterator[Any]:
        name = self.path.name.lower()
        try:
            if name.endswith(".parquet"):
                yield from self._parquet_rows()
            elif name.endswith(".json"):
                yield from _json_rows(json.loads(self.path.read_bytes()), self.path)
            else:
                yield from self._json_lines(zipped=name.endswith(".gz"))
        except (OSError, EOFError, ValueError) as error:
            if isinstance(error, CorpusError):
                raise
            raise CorpusError(f"{self.path} cannot be read: {error}.") from error

    def _json_lines(self, zipped: bool) -> Iterator[Any]:
        size = max(1, self.path.stat().st_size)
        with ExitStack() as stack:
            raw: BinaryIO = stack.enter_context(self.path.open("rb"))
            lines: Any = stack.enter_context(gzip.open(raw, "rb")) if zipped else raw
            read = 0
            for number, line in enumerate(lines, start=1):
                read += len(line)
                self.fraction = min(1.0, (raw.tell() if zipped else read) / size)
                if line.isspace():
                    continue
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise CorpusError(f"{self.path}, line {number} is not JSON: {error}.") from error

    def _parquet_rows(self) -> Iterator[Any]:
        with parquet_file(self.path) as file:
            total, read = max(1, file.metadata.num_rows), 0
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS):
                for row in batch.to_pylist():
                    read += 1
                    self.fraction = read / total
                    yield row


def parquet_file(path: Path) -> Any:
    """An open parquet file.

    Raises:
        CorpusError: pyarrow is not installed, or the file is damaged.
    """
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise CorpusError(f'Reading {path} needs pyarrow. Install it: pip install "sdar-gym[search]"') from None
    try:
        return ParquetFile(path)
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path} cannot be read: {error}.") from error


def passage(row: Any, number: int, where: str) -> Document:
    """A passage from one row of a corpus.

    Raises:
        CorpusError: The row holds no text.
    """
    if not isinstance(row, dict):
        raise CorpusError(f"{where} is no passage: expected an object, got {type(row).__name__}.")
    text = row.get("contents")
    if text is None:
        text = row.get("text")
        if isinstance(text, list):
            text = "".join(map(str, text))
        if isinstance(text, str) and row.get("title"):
            text = contents_of(str(row["title"]), text)
    if not isinstance(text, str):
        raise CorpusError(f"{where} has neither `contents` nor `text`; it has: {', '.join(map(str, row))[:200]}.")
    doc_id = row.get("id", row.get("_id"))
    return Document(str(number) if doc_id is None or doc_id == "" else str(doc_id), text)


def contents_of(title: str, text: str) -> str:
    """Title and text as one passage.

    Source: the `contents` of the wiki-18 corpus of Search-R1 (arXiv 2503.09516) and FlashRAG.
    """
    return f'"{title}"\n{text.strip()}'


def _json_rows(content: Any, path: Path) -> Iterator[Any]:
    if isinstance(content, list):
        yield from content
    elif isinstance(content, dict) and all(isinstance(value, str | list) for value in content.values()):
        for title, text in content.items():
            yield {"title": title, "text": text}
    else:
        raise CorpusError(f"{path} is no passage corpus: expected a list of objects or one object of title: sentences.")

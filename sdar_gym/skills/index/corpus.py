"""Streaming reader of passage corpora, so that an index of millions is built in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sdar_gym.paths import local_path
from sdar_gym.skills.index.base import Document
from sdar_gym.skills.index.manifest import IndexFolderError
from sdar_gym.skills.index.rows import SUFFIXES, RowReader, as_text, fields_of, kind_of, plain

_CONTENTS = ("contents", "text")


class CorpusError(ValueError):
    """A passage corpus that is missing or cannot be read."""


class EmptyCorpusError(CorpusError, IndexFolderError):
    """A corpus without any text, so that no search could return a passage."""


class Corpus:
    """A passage corpus; each iteration reads the file from its beginning.

    Formats: `.jsonl` (also gzipped) and `.parquet` with `id` and `contents` (as FlashRAG and Search-R1 publish them),
    or with `title` and `text`; `.json` with a list of such objects, or with one object `{title: sentences}` (as the
    HotpotQA samples). A passage without an id gets its row number. The contents of a passage are its title in double
    quotes on the first line, then its text.

    Args:
        path: The file; made absolute, so that the working directory may change later.

    Raises:
        CorpusError: There is no such file, or its name has another ending.
    """

    def __init__(self, path: str | Path):
        self.path = local_path("The corpus", path)
        if not os.path.isfile(self.path):
            raise CorpusError(f"There is no passage corpus at {path}; name a file ({', '.join(SUFFIXES)}).")
        if not self.path.name.lower().endswith(SUFFIXES):
            raise CorpusError(f"{path} is no passage corpus by its name; known endings: {', '.join(SUFFIXES)}.")
        self._rows = RowReader(
            self.path,
            CorpusError,
            columns=("id", "_id", "title", *_CONTENTS),
            needed=_CONTENTS,
            unpack=self._unpacked,
        )

    @property
    def fraction(self) -> float:
        """Share of the file that the running iteration has read, 0 to 1."""
        return self._rows.fraction

    def __iter__(self) -> Iterator[Document]:
        """The passages, in the file's order.

        Raises:
            CorpusError: A row is no passage, the file is damaged, or nothing in it can be searched for.
        """
        count, filled = 0, False
        for row in self._rows:
            doc = passage(row, count, f"{self.path}, row {count + 1}")
            count += 1
            filled = filled or doc.text.strip() != ""
            yield doc
        if not filled:
            raise EmptyCorpusError(f"{self.path} holds no passages{' with any text' if count else ''}.")

    def _unpacked(self, content: Any) -> Iterable[Any]:
        if isinstance(content, list):
            return content
        if isinstance(content, dict) and all(isinstance(value, str | list) for value in content.values()):
            return ({"title": title, "text": text} for title, text in content.items())
        raise CorpusError(
            f"{self.path} is no passage corpus: expected a list of objects or one object of title: sentences."
        )


def passage(row: Any, number: int, where: str) -> Document:
    """A passage from one row of a corpus, or from a search server's response.

    Raises:
        CorpusError: The row holds no text, or something else where a text, a title or an id should be.
    """
    if not isinstance(row, dict):
        raise CorpusError(f"{where} is no passage: expected an object, found {kind_of(row)}.")
    field = next((name for name in _CONTENTS if row.get(name) is not None), None)
    if field is None:
        raise CorpusError(f"{where} has neither `contents` nor `text`; it has: {fields_of(row)}.")
    parts = plain(row[field])
    # Sentences are listed one by one in some of the published sets.
    sentences = [as_text(part) for part in parts] if isinstance(parts, list) and field == "text" else [as_text(parts)]
    if None in sentences or isinstance(parts, int):
        raise CorpusError(f"{where}: `{field}` must be a text, found {kind_of(parts)}.")
    text = "".join(sentence for sentence in sentences if sentence is not None)
    if field == "text" and row.get("title") not in (None, ""):
        text = contents_of(_scalar(row["title"], "title", where), text)
    doc_id = row["id"] if row.get("id") is not None else row.get("_id")
    return Document(str(number) if doc_id is None or doc_id == "" else _scalar(doc_id, "id", where), text)


def contents_of(title: str, text: str) -> str:
    """Title and text as one passage.

    Source: the `contents` of the wiki-18 corpus of Search-R1 (arXiv 2503.09516) and FlashRAG.
    """
    return f'"{title}"\n{text.strip()}'


def _scalar(value: Any, field: str, where: str) -> str:
    text = as_text(plain(value))
    if text is None:
        raise CorpusError(f"{where}: `{field}` must be a text or a whole number, found {kind_of(value)}.")
    return text

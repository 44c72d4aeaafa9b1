"""`index.json`, the manifest of an index folder: backend, parameters and corpus, for the record of a result."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from sdar_gym.paths import DAMAGED, first_line
from sdar_gym.text import shortened

FILE = "index.json"
# Raise when older folders can no longer be read as they are.
FORMAT = 1
_TYPES: dict[str, Any] = {"str": str, "int": int, "float": int | float}


class IndexFolderError(ValueError):
    """A folder without an index, with a damaged one, or with one of a format that this version cannot read."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The manifest of an index folder.

    Attributes:
        backend: `bm25s` or `lucene`.
        backend_version: Of the library that built it.
        k1: BM25 term-frequency saturation.
        b: BM25 length normalization.
        analyzer: How text becomes terms.
        documents: Number of passages.
        bytes: Size of the stored passages.
        corpus: File name of the corpus.
        corpus_bytes: Its size.
        corpus_sha256: Hash of its bytes.
        built_with: Version of sdar-gym.
        format: Of the folder.
    """

    backend: str
    backend_version: str
    k1: float
    b: float
    analyzer: str
    documents: int
    bytes: int
    corpus: str
    corpus_bytes: int
    corpus_sha256: str
    built_with: str
    format: int = FORMAT

    def save(self, folder: Path) -> None:
        """Save the manifest into an index folder."""
        (folder / FILE).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def is_index_folder(path: Path) -> bool:
    """Whether there is a manifest at `path`."""
    return os.path.isfile(path / FILE)


def load_manifest(folder: Path) -> Manifest:
    """The manifest of an index folder.

    Raises:
        IndexFolderError: There is none, it is damaged, or it has another format.
    """
    if not is_index_folder(folder):
        raise IndexFolderError(
            f"{folder} is no index folder (no {FILE}); build one: sdar-gym index CORPUS --output DIR."
        )
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise IndexFolderError(
                f"{folder} has index format {shortened(content['format'])}, this version reads {FORMAT}; "
                "build the index again."
            )
        for field in fields(Manifest):
            if not isinstance(content[field.name], _TYPES[str(field.type)]) or isinstance(content[field.name], bool):
                raise TypeError(f"`{field.name}` is {shortened(content[field.name])}")
        return Manifest(**{field.name: content[field.name] for field in fields(Manifest)})
    except IndexFolderError:
        raise
    except (*DAMAGED, KeyError, TypeError, ValueError) as error:
        raise IndexFolderError(f"{folder / FILE} is damaged ({first_line(error)}); build the index again.") from error

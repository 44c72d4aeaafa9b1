"""Data files of an environment: where they are, which there are in a folder, and the split that a name says."""

from __future__ import annotations

import os
import re
from pathlib import Path

from sdar_gym.paths import local_path
from sdar_gym.skills.index.rows import SUFFIXES

DATA_VARIABLE = "SDAR_GYM_DATA"
SPLITS = ("train", "dev", "test")
# Spellings of splits in file and folder names.
_SPLIT_WORDS = {"train": "train", "dev": "dev", "valid": "dev", "validation": "dev", "val": "dev", "test": "test"}


def located(name: str, path: str | os.PathLike[str], folder: str) -> str:
    """Absolute path of data; a relative path that does not exist is searched in `$SDAR_GYM_DATA/<folder>`.

    Absolute, so that it is independent of the working directory, the variable and the process.

    Args:
        name: The argument, for messages.
        path: What the user gave.
        folder: The environment's folder below the variable.
    """
    place = local_path(name, path)
    root = os.environ.get(DATA_VARIABLE)
    if root and not Path(path).expanduser().is_absolute() and not os.path.exists(place):
        below = local_path(DATA_VARIABLE, root) / folder / path
        place = below if os.path.exists(below) else place
    return str(place)


def row_files(place: Path, without: str | None = None) -> list[Path]:
    """A file itself, or the files of rows with a split in their name in a folder and its subfolders, sorted.

    Args:
        place: A file or a folder.
        without: A word; files with it in their name are left out.
    """
    if os.path.isfile(place):
        return [place]
    return [
        file
        for pattern in ("*", "*/*")
        for file in sorted(place.glob(pattern))
        if file.is_file()
        and file.name.lower().endswith(SUFFIXES)
        and (without is None or without not in file.name.lower())
        and split_of(file.name) is not None
    ]


def split_of(name: str) -> str | None:
    """Split in a file or folder name, or None; a number behind the word does not matter, as in `test6.jsonl`."""
    words = (word.rstrip("0123456789") for word in words_of(name))
    return next((_SPLIT_WORDS[word] for word in words if word in _SPLIT_WORDS), None)


def words_of(name: str) -> list[str]:
    """Lower-case words and numbers of a file, folder or data set name."""
    return re.findall(r"[a-z0-9]+", name.lower())


def identity_of(files: list[Path]) -> tuple[tuple[str, int, int], ...]:
    """Path, size and modification time (ns) of files, to detect that one was changed."""
    return tuple((str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files)

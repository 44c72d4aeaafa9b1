"""Atomic and durable file writes: after a crash there is the whole old file or the whole new one."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Suffixes of the temporary names from `_sibling` and `tempfile`, which a crash may leave behind. They include a digit,
# so a user's folder `policy.original` does not match.
UNFINISHED = re.compile(r"\.(?=[a-z_]*[0-9])[a-z0-9_]{8}$")


def replace_text(path: Path, text: str) -> None:
    """Replace a text file atomically (UTF-8, line ends as in `text`); see `replace_bytes`."""
    replace_bytes(path, text.encode("utf-8"))


def replace_bytes(path: Path, content: bytes) -> None:
    """Replace a file atomically and flush it: after a crash there is the whole old file or the whole new one.

    Raises:
        OSError: The file cannot be written; the old one stays, and nothing else is left.
    """
    fresh = _sibling(path)
    try:
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except BaseException:
        with suppress(OSError):
            fresh.unlink()
        raise
    flush_folder(path.parent)


def append_line(path: Path, line: str) -> None:
    """Append one line to a text file and flush it to disk."""
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def fresh_sibling(path: Path) -> Iterator[Path]:
    """Context manager: a new empty folder beside `path`, to be filled and renamed; removed at the end if it is left."""
    fresh = _sibling(path)
    fresh.mkdir()
    try:
        yield fresh
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def flush_tree(folder: Path) -> None:
    """Flush all files of a folder, and the folder itself, to disk."""
    for place, _, names in os.walk(folder):
        for name in names:
            _flush(Path(place) / name)
        flush_folder(Path(place))


def flush_folder(folder: Path) -> None:
    """Flush the entries of a folder to disk, if the system supports it."""
    # Windows cannot open folders, and some network file systems cannot flush them.
    with suppress(OSError):
        _flush(folder)


def remove_unfinished(folder: Path, names: tuple[str, ...]) -> list[str]:
    """Remove temporary files and folders that killed processes have left.

    Args:
        folder: Where to look; the caller must make sure that no other process writes there.
        names: The final names of the files and folders.

    Returns:
        The removed names.
    """
    removed = []
    for entry in sorted(folder.iterdir()):
        stem = UNFINISHED.sub("", entry.name)
        if stem == entry.name or stem not in names:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            with suppress(OSError):
                entry.unlink()
        removed.append(entry.name)
    return removed


def _sibling(path: Path) -> Path:
    # Not `tempfile`: its folders are private to the user, and this one will be renamed to its final name.
    return path.with_name(f"{path.name}.{secrets.token_hex(3)}{secrets.randbelow(90) + 10}")


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

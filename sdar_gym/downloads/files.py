"""Local files of downloads: hashes, free disk space, folder lock, partial files."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

Report = Callable[[int, int | None], None]
CHUNK = 1 << 18
FETCH_LOCK = ".fetch.lock"
CHECKSUMS = "CHECKSUMS.json"
# Bytes of disk space that always stay free.
_SPARE = 50_000_000
# Default size limit of files of unknown size; larger ones have a limit in the manifest.
UNKNOWN_LIMIT = 1_000_000_000
_FULL = (errno.ENOSPC, errno.EDQUOT)


class DataError(ValueError):
    """Data that could not be downloaded, checked or unpacked; says which file, why, and what to do."""


class NoRoomError(DataError):
    """There is not enough disk space."""


@dataclass(frozen=True, slots=True)
class Expected:
    """Expected size and hash of a file; None is unknown.

    Attributes:
        size: Size in bytes.
        sha256: SHA-256 hash.
        limit: Largest size in bytes if the size is unknown: a server may send without end.
    """

    size: int | None = None
    sha256: str | None = None
    limit: int = UNKNOWN_LIMIT


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def need_room(folder: Path, needed: int, what: str) -> None:
    """Check free disk space before writing.

    Args:
        folder: A folder on the disk.
        needed: Bytes to be written.
        what: What needs them, for the message.

    Raises:
        NoRoomError: There is too little space.
    """
    free = shutil.disk_usage(folder).free
    if needed + _SPARE > free:
        raise NoRoomError(
            f"{what} needs {needed / 1e6:,.0f} MB in {folder}, where {free / 1e6:,.0f} MB are free. "
            "Free some space, or choose another folder with --output."
        )


def keep_room(folder: Path, what: str) -> None:
    """Check free disk space while writing; call it before each chunk.

    Raises:
        NoRoomError: The space that has to stay free is reached.
    """
    if shutil.disk_usage(folder).free < _SPARE:
        raise NoRoomError(
            f"{what} was stopped: less than the {_SPARE / 1e6:,.0f} MB that must stay free are left in {folder}. "
            "Free some space, or choose another folder with --output."
        )


def disk_is_full(error: OSError) -> bool:
    """Whether writing failed because the disk is full."""
    return error.errno in _FULL


def put_in_place(part: Path, target: Path, digest: str) -> str:
    """Flush a checked partial file and rename it to its target."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(part, target)
    note_of(part).unlink(missing_ok=True)
    return digest


def note_of(part: Path) -> Path:
    """Path of the note that says which address a partial file comes from."""
    return part.with_name(part.name + ".json")


def forget(part: Path) -> None:
    """Delete a partial file and its note; never raises, as it is called while handling errors."""
    for path in (part, note_of(part)):
        with suppress(OSError):
            path.unlink(missing_ok=True)


def matches(path: Path, found: str, expected: Expected) -> bool:
    """Whether a file has the expected size and hash."""
    return expected.size in (None, path.stat().st_size) and expected.sha256 in (None, found)


def mismatch(source: str, size: int, found: str, expected: Expected) -> str:
    """Error message for a file with another size or hash than expected."""
    return (
        f"{source} is not the file that was meant: {size:,} bytes with SHA-256 {found}, not "
        f"{'any number of' if expected.size is None else format(expected.size, ',')} bytes with "
        f"{expected.sha256 or 'any hash'}. Use another --mirror, or --offline with the right file."
    )


def copy_checked(source: Path, target: Path, expected: Expected, report: Report) -> str:
    """Copy a local file to its target, with the same checks as a download.

    Raises:
        DataError: It is not the expected file, or there is too little space.
    """
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        forget(part)
        total = source.stat().st_size
        need_room(target.parent, total, target.name)
        with source.open("rb") as reading, part.open("wb") as writing:
            while chunk := reading.read(CHUNK):
                keep_room(target.parent, f"Copying {target.name}")
                writing.write(chunk)
                report(writing.tell(), total)
        found = sha256_of(part)
        if not matches(part, found, expected):
            size = part.stat().st_size
            forget(part)
            raise DataError(mismatch(str(source), size, found, expected))
        return put_in_place(part, target, found)
    except OSError as error:
        forget(part)
        raise DataError(f"{source} cannot be copied to {target}: {error.strerror or error}.") from error
    except NoRoomError:
        forget(part)  # A copy restarts from the beginning, so its partial file is useless.
        raise


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Lock a folder, so that only one process downloads into it.

    Raises:
        DataError: Another process holds the lock, or the folder is not writable.
    """
    try:
        import fcntl
    except ImportError:  # Not available on Windows: no lock there.
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / FETCH_LOCK).open("a")
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written to: {error.strerror or error}. Choose another --output."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise DataError(f"Another process is fetching into {folder}; wait for it.") from error
            # Some network drives have no locks: no lock there either.
        yield

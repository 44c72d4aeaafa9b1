"""Files on this disk: hashes, room, one writer at a time, and half files that never show under their name."""

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
# Room that is left on the disk whatever is fetched.
_SPARE = 50_000_000
# Files of unknown size have a few MB; those that are larger say so in the manifest.
UNKNOWN_LIMIT = 1_000_000_000
_FULL = (errno.ENOSPC, errno.EDQUOT)


class DataError(ValueError):
    """Data that could not be fetched, checked or unpacked; says which file, why, and what to do."""


class NoRoomError(DataError):
    """The disk holds no more, or would not."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known of a file beforehand; None is not known.

    Attributes:
        size: Bytes.
        sha256: Hash.
        limit: Most bytes where the size is not known: a server may send without end.
    """

    size: int | None = None
    sha256: str | None = None
    limit: int = UNKNOWN_LIMIT


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def need_room(folder: Path, needed: int, what: str) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises:
        NoRoomError: There is too little room.
    """
    free = shutil.disk_usage(folder).free
    if needed + _SPARE > free:
        raise NoRoomError(
            f"{what} needs {needed / 1e6:,.0f} MB in {folder}, where {free / 1e6:,.0f} MB are free. "
            "Free some room, or choose another folder with --output."
        )


def keep_room(folder: Path, what: str) -> None:
    """Stop before the disk is full, whatever was said beforehand; to be asked before each piece is written.

    Raises:
        NoRoomError: What shall stay free is reached.
    """
    if shutil.disk_usage(folder).free < _SPARE:
        raise NoRoomError(
            f"{what} was stopped: less than the {_SPARE / 1e6:,.0f} MB that have to stay free are left in {folder}. "
            "Free some room, or choose another folder with --output."
        )


def disk_is_full(error: OSError) -> bool:
    """Whether writing failed for lack of room."""
    return error.errno in _FULL


def put_in_place(part: Path, target: Path, digest: str) -> str:
    """Give a checked file its name, at once and for good."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(part, target)
    note_of(part).unlink(missing_ok=True)
    return digest


def note_of(part: Path) -> Path:
    """Where it is noted which file a part belongs to."""
    return part.with_name(part.name + ".json")


def forget(part: Path) -> None:
    """Drop what has arrived; never fails, for it is called where something else has."""
    for path in (part, note_of(part)):
        with suppress(OSError):
            path.unlink(missing_ok=True)


def matches(path: Path, found: str, expected: Expected) -> bool:
    """Whether a file is what was expected."""
    return expected.size in (None, path.stat().st_size) and expected.sha256 in (None, found)


def mismatch(source: str, size: int, found: str, expected: Expected) -> str:
    """The message for a file that is not."""
    return (
        f"{source} is not the file that was meant: {size:,} bytes with SHA-256 {found}, not "
        f"{'any number of' if expected.size is None else format(expected.size, ',')} bytes with "
        f"{expected.sha256 or 'any hash'}. Use another --mirror, or --offline with the right file."
    )


def copy_checked(source: Path, target: Path, expected: Expected, report: Report) -> str:
    """Copy a local file into place, with the same checks as one that is fetched.

    Raises:
        DataError: It is not what was expected, or there is no room.
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
        forget(part)  # A copy starts anew, so its part is of no use.
        raise


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Keep a second process from fetching into the same folder.

    Raises:
        DataError: One is at it, or the folder cannot be written to.
    """
    try:
        import fcntl
    except ImportError:  # Not on Windows; there, two at once are the user's own affair.
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
            # Some network drives know no locks; as on Windows.
        yield

"""Safe unpacking of untrusted archives: nothing outside the folder, no links, no more than the disk holds."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import stat
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, cast

from sdar_gym.downloads.files import CHECKSUMS, FETCH_LOCK, DataError, keep_room, need_room
from sdar_gym.paths import DAMAGED, first_line
from sdar_gym.text import shortened

Member = tuple[str, int, Callable[[], IO[bytes]]]
_WRITING = ".unpacking"
# Exceptions of the libraries for truncated, changed, encrypted or unknown archives; damaged numbers in headers raise
# errors of value and range.
_DAMAGED = (*DAMAGED, RuntimeError, ValueError, ArithmeticError, LookupError)
# sdar-gym's own files and suffixes of partial files, which an archive must not contain.
_OWN_NAMES = frozenset({CHECKSUMS.casefold(), FETCH_LOCK})
_OWN_ENDS = (_WRITING, ".part", ".part.json")
_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9])(\..*)?", re.DOTALL)
# Unicode categories: control, format and surrogate characters, line and paragraph separators.
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_PIECE = 1 << 20
# Tar files are padded to whole blocks; more data than this after the end is not padding.
_MOST_PADDING = 64 * _PIECE


def unpack(archive: Path, folder: Path, single: str = "", reserved: Collection[str] = ()) -> list[str]:
    """Unpack a zip, tar (compressed or not) or gzip file; the type is detected from the content.

    A member appears under its name when it is complete. Unpacking again replaces all members.

    Args:
        archive: The archive file.
        folder: Folder for its members.
        single: Target name of the only file in it, whatever its name in the archive.
        reserved: Names that no member may have, in any case, since other files in the folder have them.

    Returns:
        The written files, relative to the folder.

    Raises:
        DataError: The archive is damaged, holds a link, a path outside the folder or a forbidden name, does not hold
            exactly one file where one is expected, or is too large for the disk.
    """
    written = []
    # The archive's own name is reserved too: it is still being read.
    own = (archive.name,) if archive.parent.resolve() == folder.resolve() else ()
    taken = _OWN_NAMES | {_folded(name) for name in (*reserved, *own)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _members(archive, folder, taken) as members:
            if single:
                first = next(members, None)
                if first is None:
                    raise DataError(f"{archive} is empty; it should hold one file.")
                written.append(_write(first, folder, single))
                if next(members, None) is not None:
                    raise DataError(f"{archive} holds several files where one is expected.")
            else:
                written += [_write(member, folder, member[0]) for member in members]
    except DataError:
        raise
    except _DAMAGED as error:
        # System errors have an errno; bz2 and gzip raise OSError without one for damage.
        if isinstance(error, OSError) and error.errno is not None:
            reason = error.strerror or first_line(error)
            raise DataError(
                f"{archive} cannot be unpacked to {folder}: {reason}. Check the disk and the folder, and fetch again."
            ) from error
        raise DataError(f"{archive} cannot be unpacked: {first_line(error)}. Delete it and fetch it again.") from error
    return written


@contextmanager
def _members(archive: Path, folder: Path, taken: Collection[str]) -> Iterator[Iterator[Member]]:
    with archive.open("rb") as file:
        magic = file.read(4)
    if magic.startswith(b"PK"):
        with zipfile.ZipFile(archive) as opened:
            yield _zip_members(archive, opened, folder, taken)
    elif _is_tar(archive):
        # Read as a stream, in one pass.
        with _decompressed(archive, magic) as stream, tarfile.open(fileobj=stream, mode="r|") as opened:
            yield _tar_members(archive, opened, taken)
            # The checksum of the compressed stream is at its end, after what tarfile reads.
            behind = 0
            while piece := stream.read(_PIECE):
                behind += len(piece)
                if behind > _MOST_PADDING:
                    raise DataError(f"{archive} has data after its end. Do not use this archive.")
    elif magic.startswith(b"\x1f\x8b"):
        yield iter([(archive.stem, 0, lambda: cast(IO[bytes], gzip.GzipFile(archive, "rb")))])
    else:
        raise DataError(f"{archive} is not a zip, tar or gzip archive. Delete it and fetch it again.")


def _is_tar(archive: Path) -> bool:
    try:
        return tarfile.is_tarfile(archive)
    except DAMAGED:  # A damaged gzip file raises later, when it is read; anything else is unknown.
        return False


def _decompressed(archive: Path, magic: bytes) -> IO[bytes]:
    for start, opener in ((b"\x1f\x8b", gzip.open), (b"\xfd7zX", lzma.open), (b"BZh", bz2.open)):
        if magic.startswith(start):
            return cast(IO[bytes], opener(archive, "rb"))
    return archive.open("rb")


def _zip_members(archive: Path, opened: zipfile.ZipFile, folder: Path, taken: Collection[str]) -> Iterator[Member]:
    entries = [entry for entry in opened.infolist() if not entry.is_dir()]
    for entry in entries:
        # The names as stored: zipfile silently changes some of them.
        _check_name(archive, entry.orig_filename, taken)
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise DataError(f"{archive} holds {shortened(entry.filename)}, which is not a regular file.")
    need_room(folder, sum(entry.file_size for entry in entries), f"Unpacking {archive.name}")
    for entry in entries:
        yield entry.filename, entry.file_size, lambda entry=entry: opened.open(entry)


def _tar_members(archive: Path, opened: tarfile.TarFile, taken: Collection[str]) -> Iterator[Member]:
    for entry in opened:
        if entry.isdir():
            continue
        _check_name(archive, entry.name, taken)
        if not entry.isreg():
            raise DataError(f"{archive} holds {shortened(entry.name)}, which is not a regular file.")
        # Members are copied, not extracted by tarfile, so owner, mode and links of the archive are never applied.
        yield entry.name, entry.size, lambda entry=entry: cast(IO[bytes], opened.extractfile(entry))


def _check_name(archive: Path, name: str, taken: Collection[str]) -> None:
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\x00" in name:
        raise DataError(
            f"{archive} holds {shortened(name)}, which is a path outside the folder. Do not use this archive."
        )
    if any(unicodedata.category(letter) in _UNPRINTABLE for letter in name):
        raise DataError(
            f"{archive} holds {shortened(name)}, a name with invisible characters. Do not use this archive."
        )
    plain = _folded(name)
    parts = plain.split("/")
    if plain in taken or any(part in _OWN_NAMES or part.endswith(_OWN_ENDS) for part in parts):
        raise DataError(
            f"{archive} holds {shortened(name)}, a name reserved for sdar-gym's own files. Do not use this archive."
        )
    # Device names, and trailing dots and spaces, are not valid on Windows.
    if any(_DEVICES.fullmatch(part) or part != part.rstrip(". ") for part in parts):
        raise DataError(
            f"{archive} holds {shortened(name)}, a name that is not valid on every system. Do not use this archive."
        )


def _folded(name: str) -> str:
    """A name as a case-insensitive, Unicode-normalizing file system stores it."""
    path = PurePosixPath(unicodedata.normalize("NFKC", name).casefold())
    return str(path)


def _write(member: Member, folder: Path, name: str) -> str:
    _, size, open_member = member
    target = folder / name
    need_room(folder, size, f"Unpacking {name}")
    # Before folders are created, which would happen behind the link.
    if not target.parent.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{target} would be written outside {folder}: a link is in the way. Remove it.")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + _WRITING)
    try:
        with open_member() as reading, part.open("wb") as writing:
            while piece := reading.read(_PIECE):
                # The unpacked size of a compressed file is unknown.
                keep_room(folder, f"Unpacking {name}")
                writing.write(piece)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return name

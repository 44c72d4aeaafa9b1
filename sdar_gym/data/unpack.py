"""Unpacks archives without trusting them: nothing outside the folder, no links, no more than the disk holds."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, cast

from sdar_gym.data.files import DataError, need_room

Member = tuple[str, int, Callable[[], IO[bytes]]]
_WRITING = ".unpacking"
# What the libraries raise for archives that are cut off, changed, encrypted or of an unknown kind.
_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
)


def unpack(archive: Path, folder: Path, single: str = "") -> list[str]:
    """Unpack a zip, a tar (compressed or not) or a gzip file; which, its content says and not its name.

    A member appears under its name when it is whole. Unpacking again writes all of them anew.

    Args:
        archive: The file.
        folder: Where its members go.
        single: Name for the one file in it, whatever it is called there.

    Returns:
        What was written, relative to the folder.

    Raises:
        DataError: It is damaged, holds a link or a path that leads out of the folder, has more or fewer than one file
            where one is expected, or is too large for the disk.
    """
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _members(archive) as members:
            if single:
                first = next(members, None)
                if first is None:
                    raise DataError(f"{archive} is empty; it should hold one file.")
                written.append(_write(first, folder, single))
                if next(members, None) is not None:
                    raise DataError(f"{archive} holds several files where one is expected.")
            else:
                written += [_write(member, folder, member[0]) for member in members]
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        gzip.BadGzipFile,
        EOFError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise DataError(f"{archive} cannot be unpacked: {error}. Delete it and fetch it again.") from error
    except OSError as error:
        raise DataError(f"{archive} cannot be unpacked to {folder}: {error.strerror or error}.") from error
    return written


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[Member]]:
    with archive.open("rb") as file:
        magic = file.read(4)
    if magic.startswith(b"PK"):
        with zipfile.ZipFile(archive) as opened:
            yield _zip_members(archive, opened)
    elif tarfile.is_tarfile(archive):
        # Read as a stream: what comes first can be written before the rest is looked at.
        with _decompressed(archive, magic) as stream, tarfile.open(fileobj=stream, mode="r|") as opened:
            yield _tar_members(archive, opened)
            while stream.read(1 << 20):  # The checksum of the whole stands at its end, behind what tarfile reads.
                pass
    elif magic.startswith(b"\x1f\x8b"):
        yield iter([(archive.stem, 0, lambda: cast(IO[bytes], gzip.GzipFile(archive, "rb")))])
    else:
        raise DataError(f"{archive} is no archive that is known here: zip, tar or gzip. Delete it and fetch it again.")


def _decompressed(archive: Path, magic: bytes) -> IO[bytes]:
    for start, opener in ((b"\x1f\x8b", gzip.open), (b"\xfd7zX", lzma.open), (b"BZh", bz2.open)):
        if magic.startswith(start):
            return cast(IO[bytes], opener(archive, "rb"))
    return archive.open("rb")


def _zip_members(archive: Path, opened: zipfile.ZipFile) -> Iterator[Member]:
    entries = [entry for entry in opened.infolist() if not entry.is_dir()]
    for entry in entries:
        # The names as they are written: zipfile would quietly mend some of them.
        _check_name(archive, entry.orig_filename)
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise DataError(f"{archive} holds {entry.filename!r}, which is no plain file.")
    need_room(archive.parent, sum(entry.file_size for entry in entries), f"Unpacking {archive.name}")
    for entry in entries:
        yield entry.filename, entry.file_size, lambda entry=entry: opened.open(entry)


def _tar_members(archive: Path, opened: tarfile.TarFile) -> Iterator[Member]:
    for entry in opened:
        if entry.isdir():
            continue
        _check_name(archive, entry.name)
        if not entry.isreg():
            raise DataError(f"{archive} holds {entry.name!r}, which is no plain file.")
        # Nothing is extracted by tarfile itself, so no owner, mode or link of the archive is ever applied.
        yield entry.name, entry.size, lambda entry=entry: cast(IO[bytes], opened.extractfile(entry))


def _check_name(archive: Path, name: str) -> None:
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\x00" in name:
        raise DataError(f"{archive} holds {name!r}, which would lead out of the folder. Do not use this archive.")


def _write(member: Member, folder: Path, name: str) -> str:
    _, size, open_member = member
    target = folder / name
    need_room(folder, size, f"Unpacking {name}")
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.parent.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{target} would be written outside {folder}: a link stands in the way. Remove it.")
    part = target.with_name(target.name + _WRITING)
    try:
        with open_member() as reading, part.open("wb") as writing:
            shutil.copyfileobj(reading, writing, 1 << 20)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return name

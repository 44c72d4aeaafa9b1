"""Reads game files from tar or zip archives, with size limits and one error type for damaged archives."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple, cast

from sdar_gym.envs.alfworld.game_source import (
    GAME_FILE,
    SPLITS,
    TRAJECTORY_FILE,
    MissingGamesError,
    check_name,
    is_task_path,
    read_bounded,
    shown,
)
from sdar_gym.envs.alfworld.world import GameFormatError
from sdar_gym.paths import DAMAGED, first_line
from sdar_gym.text import shortened

ARCHIVE_SUFFIXES = (".zip", ".tar.bz2", ".tar", ".tar.xz", ".tar.gz", ".tgz", ".txz")
_COMPRESSED: dict[bytes, Callable[..., IO[bytes]]] = {
    b"\x1f\x8b": cast(Callable[..., IO[bytes]], gzip.open),
    b"\xfd7zXZ": cast(Callable[..., IO[bytes]], lzma.open),
    b"BZh": cast(Callable[..., IO[bytes]], bz2.open),
}
_File = tuple[str, Callable[[], IO[bytes]]]


class Member(NamedTuple):
    """A game or trajectory file of an archive; `origin` is its name in messages."""

    name: str
    task_id: str
    content: bytes
    origin: str


def read_members(archive: Path) -> Iterator[Member]:
    """Iterate over the game and trajectory files of an archive, in its order.

    Raises:
        GameFormatError: It is damaged or not an archive, or a file in it is too large or has an invalid name.
        MissingGamesError: It contains no games.
    """
    games, example = 0, ""
    try:
        for path, open_file in _files(archive):
            # Some Windows tools write backslashes, although both formats require slashes.
            *folders, name = path.replace("\\", "/").split("/")
            if name not in (GAME_FILE, TRAJECTORY_FILE):
                example = example or path
                continue
            example = path
            task_id, origin = "/".join(folders[-3:]), f"{archive}:{path}"
            if not is_task_path(task_id):
                continue
            check_name(task_id, origin)
            with open_file() as stream:
                content = read_bounded(stream, name, origin)
            games += name == GAME_FILE
            yield Member(name, task_id, content, origin)
    except (*DAMAGED, RuntimeError) as error:  # zipfile raises RuntimeError for passwords.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        raise _unreadable(archive, reason) from error
    if not games:
        found = f"Its files are named like {shortened(example)}." if example else "It is empty."
        raise MissingGamesError(
            f"{shown(archive)} holds no ALFWorld games, which are named "
            f"…/<split>/<task>/<trial>/{GAME_FILE} (splits: {', '.join(SPLITS)}). {found}"
        )


def _files(archive: Path) -> Iterator[_File]:
    with archive.open("rb") as file:
        start = file.read(6)
    if not start:
        raise _unreadable(archive, "it is an empty file")
    if start.startswith(b"PK"):
        with zipfile.ZipFile(archive) as opened:
            for entry in opened.infolist():
                if not entry.is_dir():
                    yield entry.filename, partial(opened.open, entry)
        return
    opener = next((opener for magic, opener in _COMPRESSED.items() if start.startswith(magic)), None)
    with archive.open("rb") if opener is None else opener(archive, "rb") as stream:
        yield from _tar_files(archive, stream, compressed=opener is not None)


def _tar_files(archive: Path, stream: IO[bytes], *, compressed: bool) -> Iterator[_File]:
    try:
        tar = tarfile.open(fileobj=stream, mode="r|")  # noqa: SIM115  closed below
    except tarfile.ReadError as error:
        kind = "the compressed content is not a tar archive" if compressed else "it is neither a tar nor a zip archive"
        raise _unreadable(archive, kind) from error
    with tar:
        for member in tar:
            if member.isfile():
                yield member.name, cast(Callable[[], IO[bytes]], partial(tar.extractfile, member))
        end = tar.offset
    if compressed:
        while stream.read(1 << 20):  # Up to the checksum at the end.
            pass
        return
    # tarfile takes a damaged header or a missing end for the end, but only the real end is a block of zeros.
    stream.seek(end)
    if stream.read(512) != bytes(512):
        raise _unreadable(archive, "it is damaged or cut off")


def _unreadable(archive: Path, reason: str) -> GameFormatError:
    return GameFormatError(
        f"{shown(archive)} is not a readable archive of ALFWorld games: {reason.rstrip('.')}. "
        "Fetch it again, or name a folder or a .zip, .tar, .tar.gz or .tar.xz of games."
    )

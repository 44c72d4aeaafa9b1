"""Where games come from: a folder or archive of real ALFWorld games, or the generator. All give the same `Game`."""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Collection, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from sdar_gym.envs.alfworld.pddl import parse_game
from sdar_gym.envs.alfworld.world import Game, GameFormatError, game_from_json
from sdar_gym.envs.text_env import TaskNotFoundError

SPLITS = ("train", "valid_seen", "valid_unseen")
_GAME_FILE = "game.tw-pddl"
_ARCHIVE_SUFFIXES = (".tar", ".tar.xz", ".tar.gz", ".tgz", ".txz")
# Raise when `Game.to_json` or the reading of a `.tw-pddl` changes: older compiled archives are then rebuilt.
_COMPILED_VERSION = 1


class GameSource(Protocol):
    """A set of games, by split."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have games."""
        ...

    def task_ids(self, split: str) -> tuple[str, ...]:
        """All task ids of a split, in a fixed order.

        Raises:
            TaskNotFoundError: There is no such split.
        """
        ...

    def load(self, task_id: str) -> Game:
        """One game.

        Raises:
            TaskNotFoundError: There is no such game.
            GameFormatError: Its file is damaged.
        """
        ...

    def files(self, task_ids: Collection[str]) -> Iterator[tuple[str, str]]:
        """Task id and text of `.tw-pddl` files, in no particular order: for ALFWorld's own engine, which runs them.

        Raises:
            TaskNotFoundError: One of them is not there.
        """
        ...


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise TaskNotFoundError(f"Unknown split {split!r}; ALFWorld has {', '.join(SPLITS)}.")


class FolderSource:
    """Games unpacked on disk as `[json_2.1.1/]<split>/<task>/<trial>/game.tw-pddl`."""

    def __init__(self, root: Path):
        # Absolute: the same folder for who compares sources after a change of the working directory.
        self._root = (root / "json_2.1.1" if (root / "json_2.1.1").is_dir() else root).absolute()
        self._ids: dict[str, tuple[str, ...]] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FolderSource) and other._root == self._root

    def __hash__(self) -> int:
        return hash((FolderSource, self._root))

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have a folder."""
        return tuple(split for split in SPLITS if (self._root / split).is_dir())

    def task_ids(self, split: str) -> tuple[str, ...]:
        """All task ids of a split, sorted."""
        _check_split(split)
        if split not in self._ids:
            folders = (file.parent.relative_to(self._root) for file in self._root.glob(f"{split}/*/*/{_GAME_FILE}"))
            self._ids[split] = tuple(sorted(id_ for folder in folders if _is_played(id_ := folder.as_posix())))
        if not self._ids[split]:
            raise TaskNotFoundError(f"{self._root} holds no games of split {split!r} ({split}/*/*/{_GAME_FILE}).")
        return self._ids[split]

    def load(self, task_id: str) -> Game:
        """Parse one game file."""
        file = self._root / task_id / _GAME_FILE
        if not _is_plain_task_id(task_id) or not file.is_file():
            raise TaskNotFoundError(f"No game {task_id!r} in {self._root}.")
        return parse_game(file.read_bytes(), task_id, str(file))

    def files(self, task_ids: Collection[str]) -> Iterator[tuple[str, str]]:
        """The files as they are."""
        for task_id in task_ids:
            file = self._root / task_id / _GAME_FILE
            if not _is_plain_task_id(task_id) or not file.is_file():
                raise TaskNotFoundError(f"No game {task_id!r} in {self._root}.")
            yield task_id, file.read_text(encoding="utf-8")


class ArchiveSource:
    """Games inside a tar archive, compiled once into one safe JSON-lines file under the user's cache folder."""

    def __init__(self, archive: Path):
        self._archive = archive
        self._lines: dict[str, bytes] = {}
        for line in _compiled(archive).splitlines():
            task_id, _, game = line.partition(b"\t")
            self._lines[task_id.decode()] = game

    def __reduce__(self) -> tuple[Callable[[Path], ArchiveSource], tuple[Path]]:
        # Other processes read the compiled file themselves; the train split is some seventy megabytes.
        return _open_archive, (self._archive,)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have games in the archive."""
        found = {task_id.split("/", 1)[0] for task_id in self._lines}
        return tuple(split for split in SPLITS if split in found)

    def task_ids(self, split: str) -> tuple[str, ...]:
        """All task ids of a split, sorted."""
        _check_split(split)
        ids = tuple(sorted(id_ for id_ in self._lines if id_.startswith(f"{split}/") and _is_played(id_)))
        if not ids:
            raise TaskNotFoundError(f"{self._archive} holds no games of split {split!r}.")
        return ids

    def load(self, task_id: str) -> Game:
        """Read one compiled game."""
        if task_id not in self._lines:
            raise TaskNotFoundError(f"No game {task_id!r} in {self._archive}.")
        return game_from_json(json.loads(self._lines[task_id]))

    def files(self, task_ids: Collection[str]) -> Iterator[tuple[str, str]]:
        """The files as they are; the archive is read once for all of them, which takes seconds."""
        wanted = set(task_ids)
        for task_id, content, _ in _members(self._archive):
            if task_id in wanted:
                wanted.discard(task_id)
                yield task_id, content.decode("utf-8")
        if wanted:
            raise TaskNotFoundError(f"No game {min(wanted)!r} in {self._archive}.")


class ArchiveFolderSource:
    """A folder with one archive a split: `train.tar.xz`, `valid_seen.tar.xz`, …; each is opened when asked for."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._archives = {
            split: folder / f"{split}{suffix}"
            for split in SPLITS
            for suffix in _ARCHIVE_SUFFIXES
            if (folder / f"{split}{suffix}").is_file()
        }
        self._key = tuple(_identity(archive) for archive in self._archives.values())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ArchiveFolderSource) and other._key == self._key

    def __hash__(self) -> int:
        return hash((ArchiveFolderSource, self._key))

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have an archive."""
        return tuple(self._archives)

    def _source(self, split: str) -> GameSource:
        _check_split(split)
        if split not in self._archives:
            raise TaskNotFoundError(f"{self._folder} holds no archive of split {split!r}.")
        return _open_archive(self._archives[split])

    def task_ids(self, split: str) -> tuple[str, ...]:
        """All task ids of a split, sorted."""
        return self._source(split).task_ids(split)

    def load(self, task_id: str) -> Game:
        """Read one compiled game."""
        return self._source(task_id.split("/", 1)[0]).load(task_id)

    def files(self, task_ids: Collection[str]) -> Iterator[tuple[str, str]]:
        """The files as they are."""
        for split in sorted({task_id.split("/", 1)[0] for task_id in task_ids}):
            yield from self._source(split).files([id_ for id_ in task_ids if id_.startswith(f"{split}/")])


def open_source(path: str | os.PathLike[str]) -> GameSource:
    """Open a folder or archive of real games.

    Args:
        path: A folder with `json_2.1.1/<split>/…`, with the splits themselves, or with `<split>.tar.xz` archives; or
            one such archive.

    Raises:
        MissingGamesError: Nothing is there, or it holds no ALFWorld games.
        GameFormatError: It is a damaged archive.
    """
    place = Path(path).expanduser()
    if not place.exists():
        raise MissingGamesError(
            f"No such folder or archive of ALFWorld games: {place}. Name one that holds json_2.1.1/<split>/…, or leave "
            "`games` out to play generated games."
        )
    if place.is_file():
        return _open_archive(place)
    if any((place / f"{split}{suffix}").is_file() for split in SPLITS for suffix in _ARCHIVE_SUFFIXES):
        return ArchiveFolderSource(place)
    if any((base / split).is_dir() for base in (place, place / "json_2.1.1") for split in SPLITS):
        return FolderSource(place)
    raise MissingGamesError(
        f"{place} holds no ALFWorld games: neither json_2.1.1/<split>/ nor <split>/ nor <split>.tar.xz "
        f"(splits: {', '.join(SPLITS)})."
    )


class MissingGamesError(ValueError):
    """The folder or archive of games named by the user is not there or holds none."""


def _open_archive(path: Path) -> ArchiveSource:
    return _open_archive_as(*_identity(path))


@lru_cache(maxsize=8)
def _open_archive_as(path: str, size: int, changed: int) -> ArchiveSource:
    # Size and time are there to tell a replaced archive from the one that was opened before.
    return ArchiveSource(Path(path))


def _identity(archive: Path) -> tuple[str, int, int]:
    stat = archive.stat()
    return str(archive.resolve()), stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=4096)
def load_cached(source: GameSource, task_id: str) -> Game:
    """`source.load`, with games shared between all environments of the process (a game never changes)."""
    return source.load(task_id)


def _is_plain_task_id(task_id: str) -> bool:
    parts = task_id.split("/")
    return len(parts) == 3 and parts[0] in SPLITS and all(part not in ("", ".", "..") for part in parts)


def _is_played(task_id: str) -> bool:
    # As in ALFWorld: tasks with sliced things or movable receptacles belong to no split, though folders may hold them.
    return "Sliced" not in task_id and "movable" not in task_id


def _compiled(archive: Path) -> bytes:
    identity = "|".join(map(str, (*_identity(archive), _COMPILED_VERSION)))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sdar_gym" / "alfworld"
    file = cache / f"{hashlib.sha256(identity.encode()).hexdigest()[:24]}.games"
    if file.is_file():
        return file.read_bytes()
    content = _compile(archive)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # Written beside and renamed: another process never reads half a file.
        with tempfile.NamedTemporaryFile(dir=cache, delete=False) as partial_file:
            partial_file.write(content)
        os.replace(partial_file.name, file)
    except OSError:
        pass  # A read-only or full home costs the next process a few seconds, nothing else.
    return content


def _compile(archive: Path) -> bytes:
    lines = []
    for task_id, content, origin in _members(archive):
        game = parse_game(content, task_id, origin)
        compact = json.dumps(game.to_json(), separators=(",", ":"))
        lines.append(f"{task_id}\t{compact}".encode())
    if not lines:
        raise MissingGamesError(f"{archive} holds no ALFWorld games (<split>/<task>/<trial>/{_GAME_FILE}).")
    return b"\n".join(lines)


def _members(archive: Path) -> Iterator[tuple[str, bytes, str]]:
    """Task id, content and origin of every game file of an archive."""
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                if not member.isfile() or not member.name.endswith(f"/{_GAME_FILE}"):
                    continue
                task_id = "/".join(member.name.split("/")[-4:-1])
                stream = tar.extractfile(member)
                if stream is not None and _is_plain_task_id(task_id):
                    yield task_id, stream.read(), f"{archive}:{member.name}"
            # To the very end: that is where gzip keeps its checksum.
            while tar.fileobj is not None and tar.fileobj.read(1 << 20):
                pass
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError) as error:
        raise GameFormatError(f"{archive} is not a readable archive of ALFWorld games: {error}.") from error

"""Game sources over tar or zip archives of real games, which are compiled once into a cache of JSON lines."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from sdar_gym.envs.alfworld.game_source import (
    GAME_FILE,
    SPLITS,
    GameSource,
    check_split,
    decoded,
    human_goals,
    is_played,
    is_solvable,
    no_game,
    no_split,
)
from sdar_gym.envs.alfworld.members import ARCHIVE_SUFFIXES, read_members
from sdar_gym.envs.alfworld.pddl import parse_game
from sdar_gym.envs.alfworld.world import Game, game_from_json
from sdar_gym.envs.compiled_cache import cache_folder, write_atomically

# Raise when `Game.to_json` or the parsing of `.tw-pddl` changes: it invalidates cached archives.
_COMPILED_VERSION = 4


class ArchiveSource:
    """Games of an archive, compiled into a JSON-lines file in the cache."""

    def __init__(self, archive: Path):
        self._archive = archive
        self._lines: dict[str, bytes] = {}
        for line in _compiled(archive).splitlines():
            task_id, _, game = line.partition(b"\t")
            self._lines[task_id.decode()] = game

    def __reduce__(self) -> tuple[Callable[[Path], ArchiveSource], tuple[Path]]:
        # Pickled by path: other processes read the compiled file, which has about 70 MB for the train split.
        return open_archive, (self._archive,)

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits with games in the archive."""
        found = {task_id.split("/", 1)[0] for task_id in self._lines}
        return tuple(split for split in SPLITS if split in found)

    def task_ids(self, split: str) -> tuple[str, ...]:
        """All task ids of a split, sorted."""
        check_split(split)
        ids = tuple(sorted(id_ for id_ in self._lines if id_.startswith(f"{split}/") and is_played(id_)))
        if not ids:
            raise no_split(self._archive, split, self.splits)
        return ids

    def load(self, task_id: str) -> Game:
        """Load a game by task id."""
        if task_id not in self._lines:
            raise no_game(self._archive, task_id)
        return game_from_json(json.loads(self._lines[task_id]))

    def human_goals(self, task_id: str) -> tuple[str, ...]:
        """Human goals from the game's `traj_data.json`, if the archive has one."""
        return tuple(json.loads(self._lines[task_id])["human_goals"]) if task_id in self._lines else ()

    def files(self, task_ids: Collection[str]) -> Iterator[tuple[str, str]]:
        """The original files; the archive is read once for all of them, which takes seconds."""
        wanted = set(task_ids)
        for name, task_id, content, origin in read_members(self._archive):
            if name == GAME_FILE and task_id in wanted:
                wanted.discard(task_id)
                yield task_id, decoded(content, origin)
        if wanted:
            raise no_game(self._archive, min(wanted))


class ArchiveFolderSource:
    """Games of a folder with one archive per split (`train.tar.xz`, `valid_seen.tar.xz`, …), each opened on demand."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._archives = {
            split: folder / f"{split}{suffix}"
            for split in SPLITS
            for suffix in ARCHIVE_SUFFIXES
            if (folder / f"{split}{suffix}").is_file()
        }
        self._key = tuple(_identity(archive) for archive in self._archives.values())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ArchiveFolderSource) and other._key == self._key

    def __hash__(self) -> int:
        return hash((ArchiveFolderSource, self._key))

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits with an archive."""
        return tuple(self._archives)

    def _source(self, split: str) -> GameSource:
        check_split(split)
        if split not in self._archives:
            raise no_split(self._folder, split, self.splits)
        return open_archive(self._archives[split])

    def task_ids(self, split: str) -> tuple[str, ...]:
        """All task ids of a split, sorted."""
        return self._source(split).task_ids(split)

    def load(self, task_id: str) -> Game:
        """Load a game by task id."""
        return self._source(task_id.split("/", 1)[0]).load(task_id)

    def human_goals(self, task_id: str) -> tuple[str, ...]:
        """Human goals from the game's `traj_data.json`, if the archive has one."""
        return self._source(task_id.split("/", 1)[0]).human_goals(task_id)

    def files(self, task_ids: Collection[str]) -> Iterator[tuple[str, str]]:
        """The original files."""
        for split in sorted({task_id.split("/", 1)[0] for task_id in task_ids}):
            yield from self._source(split).files([id_ for id_ in task_ids if id_.startswith(f"{split}/")])


def open_archive(path: Path) -> ArchiveSource:
    """Open an archive; cached per process until the file changes.

    Raises:
        GameFormatError: It is damaged.
        MissingGamesError: It holds no games.
    """
    return _open_as(*_identity(path))


@lru_cache(maxsize=8)
def _open_as(path: str, size: int, changed: int) -> ArchiveSource:
    # Size and modification time are cache keys, to detect a changed archive.
    return ArchiveSource(Path(path))


def _identity(archive: Path) -> tuple[str, int, int]:
    stat = archive.stat()
    return str(archive.resolve()), stat.st_size, stat.st_mtime_ns


def _compiled(archive: Path) -> bytes:
    """The compiled games: from the cache if it has them undamaged, else from the archive."""
    identity = "|".join(map(str, (*_identity(archive), _COMPILED_VERSION)))
    name = f"{hashlib.sha256(identity.encode()).hexdigest()[:24]}.games"
    cached = _read_cached(name)
    if cached is not None:
        return cached
    content = _compile(archive)
    with suppress(OSError):  # With a read-only or full home the next process compiles it again, in seconds.
        write_atomically(cache_folder("alfworld") / name, (_digest(content), b"\n", content))
    return content


def _read_cached(name: str) -> bytes | None:
    """A cached file without its digest; None if it is missing or damaged."""
    try:
        digest, _, content = (cache_folder("alfworld") / name).read_bytes().partition(b"\n")
    except OSError:
        return None
    # A truncated file would make a split smaller than it is.
    return content if digest == _digest(content) else None


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def _compile(archive: Path) -> bytes:
    games: dict[str, dict[str, Any]] = {}
    sentences: dict[str, tuple[str, ...]] = {}
    for name, task_id, content, origin in read_members(archive):
        if name == GAME_FILE:
            if is_solvable(content):
                games[task_id] = parse_game(content, task_id, origin).to_json()
        else:
            sentences[task_id] = human_goals(content, origin)
    lines = [
        f"{id_}\t{json.dumps({**game, 'human_goals': sentences.get(id_, ())}, separators=(',', ':'))}".encode()
        for id_, game in games.items()
    ]
    return b"\n".join(lines)

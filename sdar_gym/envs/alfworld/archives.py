"""Real games inside tar archives, compiled once into a safe form under the user's cache folder."""

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
from typing import Any

from sdar_gym.envs.alfworld.layout import (
    GAME_FILE,
    SPLITS,
    TRAJECTORY_FILE,
    GameSource,
    MissingGamesError,
    check_split,
    human_goals,
    is_plain_task_id,
    is_played,
)
from sdar_gym.envs.alfworld.pddl import parse_game
from sdar_gym.envs.alfworld.world import Game, GameFormatError, game_from_json
from sdar_gym.envs.text_env import TaskNotFoundError

ARCHIVE_SUFFIXES = (".tar", ".tar.xz", ".tar.gz", ".tgz", ".txz")
# Raise when `Game.to_json` or the reading of a `.tw-pddl` changes: older compiled archives are then rebuilt.
_COMPILED_VERSION = 2


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
        return open_archive, (self._archive,)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have games in the archive."""
        found = {task_id.split("/", 1)[0] for task_id in self._lines}
        return tuple(split for split in SPLITS if split in found)

    def task_ids(self, split: str) -> tuple[str, ...]:
        """All task ids of a split, sorted."""
        check_split(split)
        ids = tuple(sorted(id_ for id_ in self._lines if id_.startswith(f"{split}/") and is_played(id_)))
        if not ids:
            raise TaskNotFoundError(f"{self._archive} holds no games of split {split!r}.")
        return ids

    def load(self, task_id: str) -> Game:
        """Read one compiled game."""
        if task_id not in self._lines:
            raise TaskNotFoundError(f"No game {task_id!r} in {self._archive}.")
        return game_from_json(json.loads(self._lines[task_id]))

    def human_goals(self, task_id: str) -> tuple[str, ...]:
        """The goals in the game's `traj_data.json`, if the archive has one."""
        return tuple(json.loads(self._lines[task_id])["human_goals"]) if task_id in self._lines else ()

    def files(self, task_ids: Collection[str]) -> Iterator[tuple[str, str]]:
        """The files as they are; the archive is read once for all of them, which takes seconds."""
        wanted = set(task_ids)
        for name, task_id, content, _ in _members(self._archive):
            if name == GAME_FILE and task_id in wanted:
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
        """The splits that have an archive."""
        return tuple(self._archives)

    def _source(self, split: str) -> GameSource:
        check_split(split)
        if split not in self._archives:
            raise TaskNotFoundError(f"{self._folder} holds no archive of split {split!r}.")
        return open_archive(self._archives[split])

    def task_ids(self, split: str) -> tuple[str, ...]:
        """All task ids of a split, sorted."""
        return self._source(split).task_ids(split)

    def load(self, task_id: str) -> Game:
        """Read one compiled game."""
        return self._source(task_id.split("/", 1)[0]).load(task_id)

    def human_goals(self, task_id: str) -> tuple[str, ...]:
        """The goals in the game's `traj_data.json`, if the archive has one."""
        return self._source(task_id.split("/", 1)[0]).human_goals(task_id)

    def files(self, task_ids: Collection[str]) -> Iterator[tuple[str, str]]:
        """The files as they are."""
        for split in sorted({task_id.split("/", 1)[0] for task_id in task_ids}):
            yield from self._source(split).files([id_ for id_ in task_ids if id_.startswith(f"{split}/")])


def open_archive(path: Path) -> ArchiveSource:
    """An archive, opened once by all environments of the process until it is replaced.

    Raises:
        GameFormatError: It is damaged.
        MissingGamesError: It holds no games.
    """
    return _open_as(*_identity(path))


@lru_cache(maxsize=8)
def _open_as(path: str, size: int, changed: int) -> ArchiveSource:
    # Size and time are there to tell a replaced archive from the one that was opened before.
    return ArchiveSource(Path(path))


def _identity(archive: Path) -> tuple[str, int, int]:
    stat = archive.stat()
    return str(archive.resolve()), stat.st_size, stat.st_mtime_ns


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
    games: dict[str, dict[str, Any]] = {}
    sentences: dict[str, tuple[str, ...]] = {}
    for name, task_id, content, origin in _members(archive):
        if name == GAME_FILE:
            games[task_id] = parse_game(content, task_id, origin).to_json()
        else:
            sentences[task_id] = human_goals(content, origin)
    lines = [
        f"{id_}\t{json.dumps({**game, 'human_goals': sentences.get(id_, ())}, separators=(',', ':'))}".encode()
        for id_, game in games.items()
    ]
    if not lines:
        raise MissingGamesError(f"{archive} holds no ALFWorld games (<split>/<task>/<trial>/{GAME_FILE}).")
    return b"\n".join(lines)


def _members(archive: Path) -> Iterator[tuple[str, str, bytes, str]]:
    """File name, task id, content and origin of every game and trajectory file of an archive."""
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = member.name.rsplit("/", 1)[-1]
                if not member.isfile() or name not in (GAME_FILE, TRAJECTORY_FILE):
                    continue
                task_id = "/".join(member.name.split("/")[-4:-1])
                stream = tar.extractfile(member)
                if stream is not None and is_plain_task_id(task_id):
                    yield name, task_id, stream.read(), f"{archive}:{member.name}"
            # To the very end: that is where gzip keeps its checksum.
            while tar.fileobj is not None and tar.fileobj.read(1 << 20):
                pass
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError) as error:
        raise GameFormatError(f"{archive} is not a readable archive of ALFWorld games: {error}.") from error

"""Where games come from: a folder or archive of real ALFWorld games, or the generator. All give the same `Game`."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from functools import lru_cache
from pathlib import Path

from sdar_gym.envs.alfworld.archives import ARCHIVE_SUFFIXES, ArchiveFolderSource, open_archive
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
from sdar_gym.envs.alfworld.world import Game
from sdar_gym.envs.text_env import TaskNotFoundError


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
        check_split(split)
        if split not in self._ids:
            folders = (file.parent.relative_to(self._root) for file in self._root.glob(f"{split}/*/*/{GAME_FILE}"))
            self._ids[split] = tuple(sorted(id_ for folder in folders if is_played(id_ := folder.as_posix())))
        if not self._ids[split]:
            raise TaskNotFoundError(f"{self._root} holds no games of split {split!r} ({split}/*/*/{GAME_FILE}).")
        return self._ids[split]

    def load(self, task_id: str) -> Game:
        """Parse one game file."""
        file = self._root / task_id / GAME_FILE
        if not is_plain_task_id(task_id) or not file.is_file():
            raise TaskNotFoundError(f"No game {task_id!r} in {self._root}.")
        return parse_game(file.read_bytes(), task_id, str(file))

    def human_goals(self, task_id: str) -> tuple[str, ...]:
        """The goals in the game's `traj_data.json`, if there is one."""
        file = self._root / task_id / TRAJECTORY_FILE
        return human_goals(file.read_bytes(), str(file)) if is_plain_task_id(task_id) and file.is_file() else ()

    def files(self, task_ids: Collection[str]) -> Iterator[tuple[str, str]]:
        """The files as they are."""
        for task_id in task_ids:
            file = self._root / task_id / GAME_FILE
            if not is_plain_task_id(task_id) or not file.is_file():
                raise TaskNotFoundError(f"No game {task_id!r} in {self._root}.")
            yield task_id, file.read_text(encoding="utf-8")


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
        return open_archive(place)
    if any((place / f"{split}{suffix}").is_file() for split in SPLITS for suffix in ARCHIVE_SUFFIXES):
        return ArchiveFolderSource(place)
    if any((base / split).is_dir() for base in (place, place / "json_2.1.1") for split in SPLITS):
        return FolderSource(place)
    raise MissingGamesError(
        f"{place} holds no ALFWorld games: neither json_2.1.1/<split>/ nor <split>/ nor <split>.tar.xz "
        f"(splits: {', '.join(SPLITS)})."
    )


@lru_cache(maxsize=4096)
def load_cached(source: GameSource, task_id: str) -> Game:
    """`source.load`, with games shared between all environments of the process (a game never changes)."""
    return source.load(task_id)

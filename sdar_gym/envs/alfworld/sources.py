"""Opens real games from folders and archives, and caches loaded games."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from functools import lru_cache
from pathlib import Path

from sdar_gym.envs.alfworld.archives import ArchiveFolderSource, open_archive
from sdar_gym.envs.alfworld.game_source import (
    GAME_FILE,
    SPLITS,
    TRAJECTORY_FILE,
    GameSource,
    MissingGamesError,
    check_name,
    check_split,
    decoded,
    human_goals,
    is_plain_task_id,
    is_played,
    is_solvable,
    no_game,
    no_split,
    read_bounded,
    shown,
)
from sdar_gym.envs.alfworld.members import ARCHIVE_SUFFIXES
from sdar_gym.envs.alfworld.pddl import parse_game
from sdar_gym.envs.alfworld.world import Game, GameFormatError
from sdar_gym.paths import first_line, local_path

# Top-level folder of ALFWorld's download.
VERSION_FOLDER = "json_2.1.1"
# Size of the game cache, more than the tasks of an update: 4 to 12 MB of generated games (benchmarks/game_cache.py).
_CACHED_GAMES = 512
# Maximum number of suggestions in a message, and of folder entries searched for them.
_MAX_SUGGESTIONS = 5
_MAX_ENTRIES = 200


class FolderSource:
    """Games of an unpacked folder: `[json_2.1.1/]<split>/<task>/<trial>/game.tw-pddl`."""

    def __init__(self, root: Path):
        # Absolute, so that sources compare equal after a change of the working directory.
        self._root = (root / VERSION_FOLDER if (root / VERSION_FOLDER).is_dir() else root).absolute()
        self._ids: dict[str, tuple[str, ...]] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FolderSource) and other._root == self._root

    def __hash__(self) -> int:
        return hash((FolderSource, self._root))

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits with a folder."""
        return tuple(split for split in SPLITS if (self._root / split).is_dir())

    def task_ids(self, split: str) -> tuple[str, ...]:
        """All task ids of a split, sorted."""
        check_split(split)
        if split not in self._ids:
            folders = (file.parent.relative_to(self._root) for file in self._root.glob(f"{split}/*/*/{GAME_FILE}"))
            ids = tuple(sorted(id_ for folder in folders if is_played(id_ := folder.as_posix())))
            for task_id in ids:
                check_name(task_id, str(self._root))
            self._ids[split] = tuple(task_id for task_id in ids if is_solvable(self._game_file(task_id)))
        if not self._ids[split]:
            raise no_split(self._root, split, tuple(other for other in self.splits if other != split))
        return self._ids[split]

    def load(self, task_id: str) -> Game:
        """Load a game by task id."""
        return parse_game(self._game_file(task_id), task_id, str(self._root / task_id / GAME_FILE))

    def human_goals(self, task_id: str) -> tuple[str, ...]:
        """Human goals from the game's `traj_data.json`, if there is one."""
        content = self._read(task_id, TRAJECTORY_FILE)
        return () if content is None else human_goals(content, str(self._root / task_id / TRAJECTORY_FILE))

    def files(self, task_ids: Collection[str]) -> Iterator[tuple[str, str]]:
        """The original files."""
        for task_id in task_ids:
            yield task_id, decoded(self._game_file(task_id), str(self._root / task_id / GAME_FILE))

    def _game_file(self, task_id: str) -> bytes:
        content = self._read(task_id, GAME_FILE)
        if content is None:
            raise no_game(self._root, task_id)
        return content

    def _read(self, task_id: str, name: str) -> bytes | None:
        if not is_plain_task_id(task_id):
            return None
        file = self._root / task_id / name
        try:
            if not file.is_file():
                return None
            with file.open("rb") as stream:
                return read_bounded(stream, name, str(file))
        except OSError as error:
            raise GameFormatError(f"{shown(file)} cannot be read: {error.strerror or first_line(error)}.") from error


def open_source(path: str | os.PathLike[str], name: str = "games") -> GameSource:
    """Open a folder or archive of real games.

    Args:
        path: A folder with `json_2.1.1/<split>/…`, with the splits themselves, or with an archive for each split
            (`<split>.tar.xz`, `<split>.zip`, …); or an archive of games: `.zip` as ALFWorld publishes them, or tar.
        name: Name of the path in messages.

    Raises:
        MissingGamesError: The path does not exist or has no ALFWorld games; the message suggests nearby ones.
        GameFormatError: The archive is damaged.
        PathError: The path is invalid.
    """
    place = local_path(name, path)
    try:
        if place.is_file():
            if place.suffix == Path(GAME_FILE).suffix:
                raise MissingGamesError(f"{shown(place)} is a single game. {_advice_for_game(place)}")
            return open_archive(place)
        if not place.exists():
            raise MissingGamesError(
                f"No such folder or archive of ALFWorld games: {shown(place)}. Name one that holds "
                f"{VERSION_FOLDER}/<split>/…, or leave `games` out to play generated games. {_suggestion(place)}"
            )
        if any((place / f"{split}{suffix}").is_file() for split in SPLITS for suffix in ARCHIVE_SUFFIXES):
            return ArchiveFolderSource(place)
        if any((base / split).is_dir() for base in (place, place / VERSION_FOLDER) for split in SPLITS):
            return FolderSource(place)
        near = _suggestion(place)
    except OSError as error:
        raise MissingGamesError(
            f"{shown(place)} cannot be read: {error.strerror or first_line(error)}. Name a folder or archive of games."
        ) from error
    raise MissingGamesError(
        f"{shown(place)} holds no ALFWorld games: neither {VERSION_FOLDER}/<split>/ nor <split>/ nor "
        f"<split>.zip or <split>.tar.xz (splits: {', '.join(SPLITS)}). {near}"
    )


def _suggestion(place: Path) -> str:
    """A sentence that suggests game folders or archives near a path."""
    split = next((folder for folder in (place, *place.parents)[:4] if _is_split(folder)), None)
    if split is not None:
        return f"It is in the folder of a split: name {shown(split.parent)} (with split={split.name!r})."
    below = [child for child in _children(place) if child.is_dir()]
    inside = [*_children(place), *(inner for folder in below for inner in _children(folder))]
    found = [folder for folder in inside if _has_split(folder)]
    found += [file for file in inside if file.name.endswith(ARCHIVE_SUFFIXES) and file.is_file()]
    if not found:
        found = [beside for beside in _children(place.parent) if beside != place and _has_split(beside)]
    if not found:
        return "There are none near it; `sdar-gym data fetch alfworld` fetches them."
    return f"Near it are {' and '.join(shown(one) for one in found[:_MAX_SUGGESTIONS])}."


def _has_split(folder: Path) -> bool:
    return any(_is_split(folder / name) for name in SPLITS)


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())[:_MAX_ENTRIES]
    except OSError:  # Not a readable folder.
        return []


def _is_split(folder: Path) -> bool:
    return folder.name in SPLITS and next(folder.glob(f"*/*/{GAME_FILE}"), None) is not None


def _advice_for_game(place: Path) -> str:
    split = place.parents[2] if len(place.parents) > 3 else place
    if split.name in SPLITS:
        return f"Name the folder that its split is in: {shown(split.parent)} (with split={split.name!r})."
    return (
        f"Put it into <folder>/<split>/<task>/<trial>/{GAME_FILE} (splits: {', '.join(SPLITS)}), and name that folder."
    )


@lru_cache(maxsize=_CACHED_GAMES)
def load_cached(source: GameSource, task_id: str) -> Game:
    """`source.load` with a cache shared by all environments of the process; games are immutable."""
    return source.load(task_id)

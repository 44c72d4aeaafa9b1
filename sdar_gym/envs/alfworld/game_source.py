"""How ALFWorld's real games lie on disk and in archives, and what every source of games promises."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any, Protocol

from sdar_gym.envs.alfworld.world import Game, GameFormatError
from sdar_gym.envs.text_env import TaskNotFoundError
from sdar_gym.paths import first_line
from sdar_gym.text import shortened, terminal_safe, well_formed

SPLITS = ("train", "valid_seen", "valid_unseen")
GAME_FILE = "game.tw-pddl"
TRAJECTORY_FILE = "traj_data.json"
# Most bytes of one file. The largest real game has 138 kB; a small archive can hold a file that fills all memory.
LARGEST = {GAME_FILE: 2 << 20, TRAJECTORY_FILE: 16 << 20}
# What file systems allow in one name.
_LONGEST_NAME = 255
_UNSOLVABLE = re.compile(rb'"solvable"\s*:\s*false\b')


class MissingGamesError(ValueError):
    """The folder or archive of games named by the user is not there or holds none."""


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

    def human_goals(self, task_id: str) -> tuple[str, ...]:
        """What people wrote as the goal of this game; empty if nothing is known."""
        ...

    def files(self, task_ids: Collection[str]) -> Iterator[tuple[str, str]]:
        """Task id and text of `.tw-pddl` files, in no particular order: for ALFWorld's own engine, which runs them.

        Raises:
            TaskNotFoundError: One of them is not there.
        """
        ...


def shown(place: object) -> str:
    """A path or the name of a file as messages quote it: one line, and nothing that acts on a terminal."""
    return terminal_safe(str(place)).replace("\n", "\\n")


def check_split(split: str) -> None:
    """Refuse a split that ALFWorld does not have.

    Raises:
        TaskNotFoundError: There is no such split.
    """
    if split not in SPLITS:
        raise TaskNotFoundError(f"Unknown split {shortened(split)}; ALFWorld has {', '.join(SPLITS)}.")


def no_split(place: Path, split: str, splits: tuple[str, ...]) -> TaskNotFoundError:
    """The error for a split that a place with games does not have."""
    others = f"it has games of {', '.join(splits)}" if splits else f"they would be {split}/<task>/<trial>/{GAME_FILE}"
    return TaskNotFoundError(f"{shown(place)} holds no games of split {shortened(split)}; {others}.")


def no_game(place: Path, task_id: str) -> TaskNotFoundError:
    """The error for a game that a place with games does not have."""
    return TaskNotFoundError(f"No game {shortened(task_id)} in {shown(place)}.")


def is_task_path(task_id: str) -> bool:
    """Whether an id is `<split>/<task>/<trial>` and leads nowhere else as a path."""
    parts = task_id.split("/")
    return len(parts) == 3 and parts[0] in SPLITS and all(part not in ("", ".", "..") for part in parts)


def is_plain_task_id(task_id: str) -> bool:
    """Whether a game may have this id: a task path of printable characters, none of its names too long for a disk."""
    return (
        is_task_path(task_id)
        and task_id.isprintable()
        and all(len(part.encode()) <= _LONGEST_NAME for part in task_id.split("/"))
    )


def check_name(task_id: str, origin: str) -> None:
    """Refuse the name of a game that could not be shown, encoded or listed.

    Raises:
        GameFormatError: It is no plain task id.
    """
    if not is_plain_task_id(task_id):
        raise GameFormatError(
            f"{shown(origin)} holds a game under the name {shortened(task_id)}. Names have to be printable "
            f"UTF-8 of at most {_LONGEST_NAME} bytes: rename its folders, or take it out."
        )


def is_played(task_id: str) -> bool:
    """Whether ALFWorld plays a game that is there."""
    # As in ALFWorld: tasks with sliced things or movable receptacles belong to no split, though folders may hold them.
    return "Sliced" not in task_id and "movable" not in task_id


def is_solvable(content: bytes) -> bool:
    """Whether a game file is not marked as one that has no solution; ALFWorld leaves those out."""
    return _UNSOLVABLE.search(content) is None


def read_bounded(stream: IO[bytes], name: str, origin: str) -> bytes:
    """The content of a game or trajectory file, if it is no larger than such files can be.

    Raises:
        GameFormatError: It is larger.
    """
    limit = LARGEST[name]
    content = stream.read(limit + 1)
    if len(content) > limit:
        raise GameFormatError(
            f"{shown(origin)} has more than {limit:,} bytes, which no real {name} comes near. Take it out."
        )
    return content


def decoded(content: bytes, origin: str) -> str:
    """The text of a game file.

    Raises:
        GameFormatError: It is not UTF-8.
    """
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise GameFormatError(f"{shown(origin)} is not UTF-8 from byte {error.start} on.") from error


def json_object(content: str | bytes) -> dict[str, Any]:
    """A file's JSON object.

    Raises:
        GameFormatError: It is none; says why in half a sentence, for who knows the file.
    """
    try:
        fields = json.loads(content)
    except UnicodeDecodeError as error:
        raise GameFormatError(f"it is not UTF-8 from byte {error.start} on") from error
    except ValueError as error:
        raise GameFormatError(f"it is not JSON: {first_line(error)}") from error
    except RecursionError as error:
        raise GameFormatError("its JSON is nested too deeply") from error
    if not isinstance(fields, dict):
        raise GameFormatError(f"it holds no JSON object but {shortened(fields, 40)}")
    return fields


def human_goals(trajectory: bytes, origin: str) -> tuple[str, ...]:
    """What people wrote as the goal, from a `traj_data.json`; white space is folded, empty goals are left out.

    Raises:
        GameFormatError: The file is damaged.
    """
    try:
        fields = json_object(trajectory)
        try:
            sentences = [annotation["task_desc"] for annotation in fields["turk_annotations"]["anns"]]
        except (KeyError, TypeError) as error:
            raise GameFormatError("it has no list turk_annotations.anns of objects with a task_desc") from error
        strange = [sentence for sentence in sentences if not isinstance(sentence, str)]
        if strange:
            raise GameFormatError(f"a task_desc in turk_annotations.anns is no text but {shortened(strange[0], 40)}")
    except GameFormatError as error:
        raise GameFormatError(
            f"{shown(origin)} is not a readable ALFRED trajectory: {error}. Fetch it again, or take it out."
        ) from error
    folded = (" ".join(well_formed(sentence).split()) for sentence in sentences)
    return tuple(sentence for sentence in folded if sentence)

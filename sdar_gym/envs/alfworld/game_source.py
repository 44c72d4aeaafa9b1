"""`GameSource`, the protocol of game sources, and checks for the files of real games in folders and archives."""

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
# Maximum bytes of a file, against decompression bombs. The largest real game has 138 kB.
LARGEST = {GAME_FILE: 2 << 20, TRAJECTORY_FILE: 16 << 20}
# Maximum bytes of a file name in common file systems.
_LONGEST_NAME = 255
_UNSOLVABLE = re.compile(rb'"solvable"\s*:\s*false\b')


class MissingGamesError(ValueError):
    """The folder or archive of games is missing or contains none."""


class GameSource(Protocol):
    """Protocol of game sources."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits with games."""
        ...

    def task_ids(self, split: str) -> tuple[str, ...]:
        """All task ids of a split, in a fixed order.

        Raises:
            TaskNotFoundError: There is no such split.
        """
        ...

    def load(self, task_id: str) -> Game:
        """Load a game by task id.

        Raises:
            TaskNotFoundError: There is no such game.
            GameFormatError: Its file is damaged.
        """
        ...

    def human_goals(self, task_id: str) -> tuple[str, ...]:
        """Human-written goals of a game; empty without annotations."""
        ...

    def files(self, task_ids: Collection[str]) -> Iterator[tuple[str, str]]:
        """Task id and text of `.tw-pddl` files, in any order, for ALFWorld's original engine.

        Raises:
            TaskNotFoundError: One of the games does not exist.
        """
        ...


def shown(place: object) -> str:
    """A path for messages: one line, with terminal control characters escaped."""
    return terminal_safe(str(place)).replace("\n", "\\n")


def check_split(split: str) -> None:
    """Check the name of a split.

    Raises:
        TaskNotFoundError: There is no such split.
    """
    if split not in SPLITS:
        raise TaskNotFoundError(f"Unknown split {shortened(split)}; ALFWorld has {', '.join(SPLITS)}.")


def no_split(place: Path, split: str, splits: tuple[str, ...]) -> TaskNotFoundError:
    """Error for a split without games."""
    others = f"it has games of {', '.join(splits)}" if splits else f"they would be {split}/<task>/<trial>/{GAME_FILE}"
    return TaskNotFoundError(f"{shown(place)} holds no games of split {shortened(split)}; {others}.")


def no_game(place: Path, task_id: str) -> TaskNotFoundError:
    """Error for an unknown task id."""
    return TaskNotFoundError(f"No game {shortened(task_id)} in {shown(place)}.")


def is_task_path(task_id: str) -> bool:
    """Whether an id has the format `<split>/<task>/<trial>` without path traversal."""
    parts = task_id.split("/")
    return len(parts) == 3 and parts[0] in SPLITS and all(part not in ("", ".", "..") for part in parts)


def is_plain_task_id(task_id: str) -> bool:
    """Whether an id is valid: a task path of printable characters, with names that file systems allow."""
    return (
        is_task_path(task_id)
        and task_id.isprintable()
        and all(len(part.encode()) <= _LONGEST_NAME for part in task_id.split("/"))
    )


def check_name(task_id: str, origin: str) -> None:
    """Check that a task id can be displayed, encoded and used as a path.

    Raises:
        GameFormatError: It is not a valid task id.
    """
    if not is_plain_task_id(task_id):
        raise GameFormatError(
            f"{shown(origin)} holds a game under the name {shortened(task_id)}. Names have to be printable "
            f"UTF-8 of at most {_LONGEST_NAME} bytes: rename its folders, or take it out."
        )


def is_played(task_id: str) -> bool:
    """Whether ALFWorld uses a game."""
    # As in ALFWorld: tasks with sliced objects or movable receptacles are excluded from all splits.
    return "Sliced" not in task_id and "movable" not in task_id


def is_solvable(content: bytes) -> bool:
    """Whether a game file is not marked as unsolvable; ALFWorld skips those."""
    return _UNSOLVABLE.search(content) is None


def read_bounded(stream: IO[bytes], name: str, origin: str) -> bytes:
    """Read a game or trajectory file up to a size limit.

    Raises:
        GameFormatError: The file is larger.
    """
    limit = LARGEST[name]
    content = stream.read(limit + 1)
    if len(content) > limit:
        raise GameFormatError(
            f"{shown(origin)} has more than {limit:,} bytes, which no real {name} comes near. Take it out."
        )
    return content


def decoded(content: bytes, origin: str) -> str:
    """Decode the text of a game file.

    Raises:
        GameFormatError: It is not UTF-8.
    """
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise GameFormatError(f"{shown(origin)} is not UTF-8 from byte {error.start} on.") from error


def json_object(content: str | bytes) -> dict[str, Any]:
    """Parse the JSON object of a file.

    Raises:
        GameFormatError: It is not a JSON object; the message is a clause to which the caller adds the file.
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
        raise GameFormatError(f"it is not a JSON object but {shortened(fields, 40)}")
    return fields


def human_goals(trajectory: bytes, origin: str) -> tuple[str, ...]:
    """Parse human-written goals from a `traj_data.json`; white space is normalized, empty goals are skipped.

    Raises:
        GameFormatError: The file is damaged.
    """
    try:
        fields = json_object(trajectory)
        try:
            sentences = [annotation["task_desc"] for annotation in fields["turk_annotations"]["anns"]]
        except (KeyError, TypeError) as error:
            raise GameFormatError("it has no list turk_annotations.anns of objects with a task_desc") from error
        invalid = [sentence for sentence in sentences if not isinstance(sentence, str)]
        if invalid:
            raise GameFormatError(f"a task_desc in turk_annotations.anns is not a text but {shortened(invalid[0], 40)}")
    except GameFormatError as error:
        raise GameFormatError(
            f"{shown(origin)} is not a readable ALFRED trajectory: {error}. Fetch it again, or take it out."
        ) from error
    folded = (" ".join(well_formed(sentence).split()) for sentence in sentences)
    return tuple(sentence for sentence in folded if sentence)

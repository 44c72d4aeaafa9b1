"""How ALFWorld's real games lie on disk and in archives, and what every source of games promises."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Protocol

from sdar_gym.envs.alfworld.world import Game, GameFormatError
from sdar_gym.envs.text_env import TaskNotFoundError

SPLITS = ("train", "valid_seen", "valid_unseen")
GAME_FILE = "game.tw-pddl"
TRAJECTORY_FILE = "traj_data.json"


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


def check_split(split: str) -> None:
    """Refuse a split that ALFWorld does not have.

    Raises:
        TaskNotFoundError: There is no such split.
    """
    if split not in SPLITS:
        raise TaskNotFoundError(f"Unknown split {split!r}; ALFWorld has {', '.join(SPLITS)}.")


def is_plain_task_id(task_id: str) -> bool:
    """Whether an id is `<split>/<task>/<trial>` and leads nowhere else as a path."""
    parts = task_id.split("/")
    return len(parts) == 3 and parts[0] in SPLITS and all(part not in ("", ".", "..") for part in parts)


def is_played(task_id: str) -> bool:
    """Whether ALFWorld plays a game that is there."""
    # As in ALFWorld: tasks with sliced things or movable receptacles belong to no split, though folders may hold them.
    return "Sliced" not in task_id and "movable" not in task_id


def human_goals(trajectory: bytes, origin: str) -> tuple[str, ...]:
    """What people wrote as the goal, from a `traj_data.json`; white space is folded.

    Raises:
        GameFormatError: The file is damaged.
    """
    try:
        annotations = json.loads(trajectory)["turk_annotations"]["anns"]
        return tuple(" ".join(annotation["task_desc"].split()) for annotation in annotations)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise GameFormatError(f"{origin} is not a readable ALFRED trajectory ({error!r}).") from error

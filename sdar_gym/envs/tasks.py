"""Task panels: fixed evaluation sets, each a named list of task ids with a hash."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdar_gym.envs.text_env import TextEnv
from sdar_gym.files import replace_text
from sdar_gym.paths import DAMAGED, first_line, local_path
from sdar_gym.text import shortened, well_formed
from sdar_gym.validation import whole_number


class PanelError(ValueError):
    """A panel that cannot be read or written, or that does not match its hash."""


@dataclass(frozen=True, slots=True)
class TaskPanel:
    """A fixed evaluation set: a named list of tasks.

    Attributes:
        name: Name, shown with every result.
        env_id: Environment of the tasks.
        task_ids: Task ids, in evaluation order.

    Raises:
        PanelError: There are no tasks, an id occurs twice, or a value is not a string.
    """

    name: str
    env_id: str
    task_ids: tuple[str, ...]

    def __post_init__(self) -> None:
        for key in ("name", "env_id"):
            object.__setattr__(self, key, _text(key, getattr(self, key)))
        if not isinstance(self.task_ids, list | tuple):
            raise PanelError(f"task_ids has to be a list of texts, got {shortened(self.task_ids)}.")
        object.__setattr__(self, "task_ids", tuple(_text("a task id", task_id) for task_id in self.task_ids))
        if not self.task_ids:
            raise PanelError(f"Panel {self.name!r} has no tasks.")
        if len(set(self.task_ids)) != len(self.task_ids):
            raise PanelError(f"Panel {self.name!r} names a task twice.")

    @property
    def hash(self) -> str:
        """First 12 hex digits of the SHA-256 of environment and ids; only results with equal hashes are comparable."""
        text = "\n".join((self.env_id, *self.task_ids))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def save(self, path: Path) -> None:
        """Write the panel as JSON, atomically.

        Raises:
            PanelError: The file cannot be written.
        """
        content = {"name": self.name, "env_id": self.env_id, "hash": self.hash, "task_ids": list(self.task_ids)}
        try:
            replace_text(path, json.dumps(content, indent=1) + "\n")
        except OSError as error:
            raise PanelError(
                f"The panel cannot be written to {path}: {error.strerror or first_line(error)}."
            ) from error


def load_panel(path: Path) -> TaskPanel:
    """Read a panel written by `TaskPanel.save`.

    Raises:
        PanelError: The file is not a panel, or its ids do not match its hash.
    """
    path = local_path("The panel", path)
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        if not isinstance(content, dict):
            raise PanelError(f"it is {type(content).__name__}, no object")
        missing = [key for key in ("name", "env_id", "task_ids", "hash") if key not in content]
        if missing:
            raise PanelError(f"it has no {missing[0]!r}")
        panel = TaskPanel(content["name"], content["env_id"], content["task_ids"])
    except (*DAMAGED, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or first_line(error)
        raise PanelError(
            f"{path} is not a readable task panel: {reason.removesuffix('.')}. Take the file that `TaskPanel.save` "
            "wrote, such as the panel.json of a run."
        ) from error
    if panel.hash != content["hash"]:
        raise PanelError(
            f"{path} was changed after it was frozen: its ids hash to {panel.hash}, it says "
            f"{shortened(content['hash'])}. Take the file as it was, or freeze a new panel."
        )
    return panel


def freeze_panel(
    name: str, env_id: str, task_ids: Iterable[str], size: int, task_type_of: Mapping[str, str] | None = None
) -> TaskPanel:
    """Choose a panel from a split deterministically, stratified by task type.

    Tasks are ranked by the hash of their id, so the choice depends neither on a seed nor on the order of a directory.
    Task types alternate, so that a small panel contains all of them.

    Args:
        name: Name of the panel.
        env_id: Environment of the tasks.
        task_ids: All task ids of the split.
        size: Number of tasks to choose; all of them if the split has fewer.
        task_type_of: Task type by id; without it there is one stratum.

    Raises:
        PanelError: `size` is not positive, or there are no tasks.
    """
    try:
        size = whole_number("size", size, 1)
    except ValueError:
        raise PanelError(f"A panel needs at least one task, got size {shortened(size)}.") from None
    by_type: defaultdict[str, list[str]] = defaultdict(list)
    for task_id in task_ids:
        by_type["" if task_type_of is None else task_type_of[task_id]].append(task_id)
    ranked = {kind: sorted(ids, key=_rank) for kind, ids in by_type.items()}
    chosen: list[str] = []
    position = 0
    while len(chosen) < size and any(position < len(ids) for ids in ranked.values()):
        chosen += [ids[position] for _, ids in sorted(ranked.items()) if position < len(ids)]
        position += 1
    return TaskPanel(name, env_id, tuple(sorted(chosen[:size])))


def split_panel(env_id: str, env: TextEnv, split: str, size: int) -> TaskPanel:
    """The frozen panel of a split: what every evaluation of this split and size plays.

    Args:
        env_id: The environment's id.
        env: The environment.
        split: One of its splits.
        size: How many tasks to keep.

    Raises:
        ValueError: There is no such split, or the size is below 1.
    """
    ids = env.task_ids(split)
    types = {task_id: env.task_type(task_id) for task_id in ids}
    return freeze_panel(f"{split}-{min(size, len(ids))}", env_id, ids, size, types)


def _rank(task_id: str) -> str:
    return hashlib.sha256(well_formed(task_id).encode()).hexdigest()


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise PanelError(f"{name} has to be a text, got {shortened(value)}.")
    return well_formed(value)

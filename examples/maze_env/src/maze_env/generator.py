"""Mazes from task ids: an id alone says where the walls, the key and the exit are."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from random import Random
from zlib import crc32

from sdar_gym.envs import TaskNotFoundError

Cell = tuple[int, int]
DIRECTIONS = {"north": (0, -1), "east": (1, 0), "south": (0, 1), "west": (-1, 0)}
TASK_TYPES = ("find_exit", "fetch_key")
TASKS_PER_SPLIT = {"train": 400, "test": 100}
# Raise it whenever ids would give other mazes: old results must not be compared with new ones.
VERSION = 1


@dataclass(frozen=True, slots=True)
class Maze:
    """One maze; `doors` holds each open way once in each direction."""

    size: int
    doors: frozenset[tuple[Cell, str]]
    start: Cell
    exit: Cell
    key: Cell | None


def task_ids(split: str) -> tuple[str, ...]:
    """All ids of a split.

    Raises:
        TaskNotFoundError: There is no such split.
    """
    if split not in TASKS_PER_SPLIT:
        raise TaskNotFoundError(f"No split {split!r}; mazes have {', '.join(TASKS_PER_SPLIT)}.")
    return tuple(f"{split}/{number:03d}" for number in range(TASKS_PER_SPLIT[split]))


def task_type_of(task_id: str) -> str:
    """Types take turns.

    Raises:
        TaskNotFoundError: There is no such task.
    """
    split, _, number = task_id.partition("/")
    if not (number.isascii() and number.isdigit()) or task_id not in task_ids(split):
        raise TaskNotFoundError(f"No maze {task_id!r}; ids look like 'train/007'.")
    return TASK_TYPES[int(number) % len(TASK_TYPES)]


@lru_cache(maxsize=4096)
def make_maze(task_id: str, size: int) -> Maze:
    """The maze of an id.

    Small mazes are few, so ids of two splits could give the same one. Each maze therefore belongs to one split by its
    own hash, and an id draws until it meets a maze of its split.

    Raises:
        TaskNotFoundError: There is no such task.
    """
    kind = task_type_of(task_id)
    wanted = task_id.startswith("test/")
    for attempt in count():
        maze = _draw(Random(f"{VERSION} {size} {task_id} {attempt}"), size, kind)
        if (crc32(name_of(maze).encode()) % 5 == 0) == wanted:
            return maze
    raise AssertionError("count() does not end")


def name_of(maze: Maze) -> str:
    """A text that two mazes share only if they are the same."""
    return f"{maze.size} {sorted(maze.doors)} {maze.start} {maze.exit} {maze.key}"


def _draw(rng: Random, size: int, kind: str) -> Maze:
    # A random tree over all cells: one way leads from anywhere to anywhere.
    def choose(items: list[Cell]) -> Cell:
        # `random()` alone gives the same numbers in every Python version.
        return items[int(rng.random() * len(items))]

    cells = [(x, y) for y in range(size) for x in range(size)]
    trail, doors = [choose(cells)], set[tuple[Cell, str]]()
    seen = {trail[0]}
    while trail:
        here = trail[-1]
        ways = [name for name in DIRECTIONS if (there := step(here, name)) in cells and there not in seen]
        if not ways:
            trail.pop()
            continue
        taken = ways[int(rng.random() * len(ways))]
        there = step(here, taken)
        doors |= {(here, taken), (there, opposite(taken))}
        seen.add(there)
        trail.append(there)
    start = choose(cells)
    goal = choose([cell for cell in cells if cell != start])
    key = choose([cell for cell in cells if cell not in (start, goal)]) if kind == "fetch_key" else None
    return Maze(size, frozenset(doors), start, goal, key)


def step(cell: Cell, direction: str) -> Cell:
    """The cell next door."""
    x, y = DIRECTIONS[direction]
    return cell[0] + x, cell[1] + y


def opposite(direction: str) -> str:
    """The way back."""
    names = list(DIRECTIONS)
    return names[(names.index(direction) + 2) % 4]


def way(maze: Maze, origin: Cell, target: Cell) -> list[str]:
    """Directions from one cell to another."""
    found: dict[Cell, list[str]] = {origin: []}
    queue = deque([origin])
    while queue:
        here = queue.popleft()
        for name in DIRECTIONS:
            there = step(here, name)
            if (here, name) in maze.doors and there not in found:
                found[there] = [*found[here], name]
                queue.append(there)
    return found[target]

"""`examples/Maze-v0`: find the way out of a maze that is told room by room."""

from __future__ import annotations

from maze_env.generator import DIRECTIONS, TASKS_PER_SPLIT, Maze, make_maze, name_of, step, task_ids, task_type_of
from sdar_gym.envs import Task, TextEnv, Turn

GOALS = {
    "find_exit": "find the exit of the maze.",
    "fetch_key": "find the key, then leave the maze by the exit.",
}


class MazeEnv(TextEnv):
    """A text maze.

    Task:
        Reach the room with the exit; in `fetch_key` pick up the key on the way.

    Observation:
        The doors of the room, what lies there, and what you carry.

    Action:
        `go north`, `go east`, `go south`, `go west`, `take key`.

    Reward:
        1 when the goal is reached, else 0.

    Episode end:
        Terminated when the goal is reached; truncated after `max_steps` turns.

    Info:
        `task_id, task_type, split, goal, admissible_actions, action_valid, score, won, turn`. The score is 0.5 with
        the key in hand.

    Splits:
        `train` (400 mazes) and `test` (100), generated from their ids. No maze is in both.

    Arguments:
        size: Rooms along each side.
        split: The split that `reset()` draws from.
        max_steps: Turn limit.

    Differences from the reference:
        There is none: the maze is an example.

    Version history:
        v0: first release.
    """

    def __init__(self, size: int = 4, split: str = "train", max_steps: int = 40, render_mode: str | None = None):
        super().__init__(max_steps, render_mode)
        if not 3 <= size <= 20:
            raise ValueError(f"size must lie between 3 and 20, got {size}.")
        task_ids(split)
        self._size = size
        self._split = split
        self._maze: Maze | None = None
        self._here = (0, 0)
        self._has_key = False

    @property
    def maze(self) -> Maze:
        """The maze of the running episode, for experts."""
        if self._maze is None:
            raise ValueError("There is no maze before reset().")
        return self._maze

    @property
    def splits(self) -> tuple[str, ...]:
        """Always both."""
        return tuple(TASKS_PER_SPLIT)

    def task_ids(self, split: str | None = None) -> tuple[str, ...]:
        """See `TextEnv`."""
        return task_ids(split or self._split)

    def task_type(self, task_id: str) -> str:
        """See `TextEnv`."""
        return task_type_of(task_id)

    def task_group(self, task_id: str) -> str:
        """The maze itself: two ids that gave the same one must not be in two splits."""
        return name_of(make_maze(task_id, self._size))

    def _load_task(self, task_id: str) -> Task:
        kind = task_type_of(task_id)
        return Task(task_id, kind, task_id.partition("/")[0], GOALS[kind])

    def _begin(self, task: Task) -> Turn:
        self._maze = make_maze(task.task_id, self._size)
        self._here, self._has_key = self._maze.start, False
        return self._now(f"You are in a maze. Your task: {task.goal}\n", True)

    def _act(self, action: str) -> Turn:
        if action not in self._possible():
            return self._now("That does not work.\n", False)
        if action == "take key":
            self._has_key = True
            return self._now("You take the key.\n", True)
        direction = action.removeprefix("go ")
        self._here = step(self._here, direction)
        return self._now(f"You go {direction}.\n", True)

    def _possible(self) -> tuple[str, ...]:
        doors = [f"go {name}" for name in DIRECTIONS if (self._here, name) in self.maze.doors]
        return (*doors, "take key") if self._key_is_here() else tuple(doors)

    def _key_is_here(self) -> bool:
        return self.maze.key == self._here and not self._has_key

    def _now(self, said: str, valid: bool) -> Turn:
        maze = self.maze
        won = self._here == maze.exit and (maze.key is None or self._has_key)
        doors = ", ".join(name for name in DIRECTIONS if (self._here, name) in maze.doors)
        text = f"{said}Doors lead {doors}."
        if self._key_is_here():
            text += " A key lies here."
        if self._here == maze.exit:
            text += " The exit is here."
        if self._has_key:
            text += " You carry the key."
        return Turn(
            observation=text,
            reward=float(won),
            terminated=won,
            action_valid=valid,
            admissible_actions=self._possible(),
            score=1.0 if won else 0.5 * self._has_key,
            won=won,
        )

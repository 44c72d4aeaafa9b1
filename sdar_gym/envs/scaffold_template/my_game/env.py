"""The environment: its tasks, its rules and texts, its prompt, and an expert that solves it.

The game is an example to replace: a lamp stands in one room of a square house; find it, or bring it back.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import permutations
from typing import Any

from sdar_gym.envs import Task, TaskNotFoundError, TextEnv, Turn, WindowTemplate, whole_number

Room = tuple[int, int]
DOORS = {"north": (0, -1), "east": (1, 0), "south": (0, 1), "west": (-1, 0)}
# The task types, each with its goal. A skill is written for a task type: skills/<task type>.md.
GOALS = {
    "find_lamp": "find the lamp and take it.",
    "bring_back": "find the lamp and bring it back to the room where you start.",
}
# The prompts that a model can be given, by name; the role is the first sentence of this one.
PROMPTS = {"window": WindowTemplate("You are looking for a lamp in a dark house, room by room.")}


@lru_cache
def all_tasks(size: int) -> dict[str, tuple[str, Room, Room]]:
    """Every task by its id: the task type, the first room, and the room with the lamp.

    A task id alone determines the episode: no clock, no global random state. Every seventh layout is a test layout, for
    both task types, so the splits share none.
    """
    rooms = [(x, y) for y in range(size) for x in range(size)]
    tasks: dict[str, tuple[str, Room, Room]] = {}
    for number, (start, lamp) in enumerate(permutations(rooms, 2)):
        split = "train" if number % 7 else "test"
        for task_type in GOALS:
            tasks[f"{split}/{number:03d}/{task_type}"] = (task_type, start, lamp)
    return tasks


class MyGameEnv(TextEnv):
    """Find a lamp in a house of rooms.

    The reward is 1 when the goal is reached and 0 before; the score is 0.5 with the lamp in hand.

    Args:
        size: Rooms along each side of the house.
        split: The split that `reset()` draws tasks from.
        max_steps: Turns before the episode is truncated.
        render_mode: None or "ansi".
    """

    def __init__(self, size: int = 4, split: str = "train", max_steps: int = 30, render_mode: str | None = None):
        super().__init__(max_steps, render_mode)
        self._size = whole_number("size", size, 3, 5)
        self._split = split
        self.task_ids(split)  # An unknown split is an error here, not at the first reset.
        self._task_type = ""
        self.start: Room = (0, 0)
        self.lamp: Room = (0, 0)
        self._here: Room = (0, 0)
        self._has_lamp = False

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have tasks."""
        return ("train", "test")

    def task_ids(self, split: str | None = None) -> tuple[str, ...]:
        """The ids of all tasks of a split."""
        split = split or self._split
        if split not in self.splits:
            raise TaskNotFoundError(f"No split {split!r}; there are {', '.join(self.splits)}.")
        return tuple(task_id for task_id in all_tasks(self._size) if task_id.startswith(f"{split}/"))

    def task_type(self, task_id: str) -> str:
        """The task type of an id."""
        return self._find(task_id)[0]

    def task_group(self, task_id: str) -> str:
        """What the splits must not share: the rooms of start and lamp."""
        _, start, lamp = self._find(task_id)
        return f"{start} {lamp}"

    def _find(self, task_id: str) -> tuple[str, Room, Room]:
        tasks = all_tasks(self._size)
        if task_id not in tasks:
            raise TaskNotFoundError(f"No task {task_id!r}; ids look like {next(iter(tasks))!r}.")
        return tasks[task_id]

    def _load_task(self, task_id: str) -> Task:
        task_type = self.task_type(task_id)
        return Task(task_id, task_type, task_id.partition("/")[0], GOALS[task_type])

    def _begin(self, task: Task) -> Turn:
        self._task_type, self.start, self.lamp = self._find(task.task_id)
        self._here, self._has_lamp = self.start, False
        return self._turn_after(f"You are in a dark house. Your task: {task.goal}", valid=True)

    def _act(self, action: str) -> Turn:
        # An action may be any text, and must never raise.
        if action not in self._admissible():
            return self._turn_after("That does not work.", valid=False)
        if action == "take lamp":
            self._has_lamp = True
            return self._turn_after("You take the lamp.", valid=True)
        direction = action.removeprefix("go ")
        self._here = self._next_room(direction)
        return self._turn_after(f"You go {direction}.", valid=True)

    def _next_room(self, direction: str) -> Room:
        x, y = DOORS[direction]
        return self._here[0] + x, self._here[1] + y

    def _doors(self) -> list[str]:
        return [name for name in DOORS if all(0 <= place < self._size for place in self._next_room(name))]

    def _sees_lamp(self) -> bool:
        return self._here == self.lamp and not self._has_lamp

    def _admissible(self) -> tuple[str, ...]:
        actions = [f"go {name}" for name in self._doors()]
        return (*actions, "take lamp") if self._sees_lamp() else tuple(actions)

    def _turn_after(self, event: str, *, valid: bool) -> Turn:
        """The turn that the model reads after an event: observation, reward, end, and admissible actions."""
        won = self._has_lamp and (self._task_type == "find_lamp" or self._here == self.start)
        observation = f"{event}\nDoors lead {', '.join(self._doors())}."
        if self._here == self.start:
            observation += " You started in this room."
        if self._sees_lamp():
            observation += " A lamp stands here."
        if self._has_lamp:
            observation += " You carry the lamp."
        return Turn(
            observation=observation,
            reward=float(won),
            terminated=won,
            action_valid=valid,
            admissible_actions=self._admissible(),
            score=1.0 if won else 0.5 * self._has_lamp,
            won=won,
        )


class Expert:
    """A scripted policy that knows where the lamp is; `sdar-gym baselines` plays it beside the random policy."""

    def __init__(self) -> None:
        self._plan: list[str] = []

    def begin(self, env: TextEnv, observation: str, info: dict[str, Any]) -> None:
        """Plan the episode."""
        if not isinstance(env, MyGameEnv):
            raise TypeError(f"This expert plays MyGameEnv, not {type(env).__name__}.")
        self._plan = [*_way(env.start, env.lamp), "take lamp"]
        if info["task_type"] == "bring_back":
            self._plan += _way(env.lamp, env.start)

    def act(self, observation: str, info: dict[str, Any]) -> str:
        """The next action of the plan."""
        return self._plan.pop(0)


def _way(origin: Room, target: Room) -> list[str]:
    """The actions that lead from one room to another."""
    x, y = target[0] - origin[0], target[1] - origin[1]
    return ["go east"] * x + ["go west"] * -x + ["go south"] * y + ["go north"] * -y

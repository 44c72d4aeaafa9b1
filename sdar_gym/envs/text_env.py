"""`TextEnv`, the base class of all text environments: one episode of text turns per task."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import gymnasium

from sdar_gym.envs.spaces import FreeText
from sdar_gym.text import shortened, terminal_safe, well_formed
from sdar_gym.validation import whole_number


class TaskNotFoundError(ValueError):
    """Unknown task id or split."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Result of one action.

    Attributes:
        observation: The text shown to the agent.
        reward: Reward of this turn.
        terminated: Whether the episode ended by itself (the base class handles the turn limit).
        action_valid: Whether the environment understood the action. An invalid action counts as a turn.
        admissible_actions: Actions that have an effect now, in the benchmark's order; may be empty if actions are
            open-ended. Sent back unchanged, each is valid.
        score: Progress, 0 to 1.
        won: Whether the goal is reached.
        extra: Further `info` entries of this environment; must not reuse the names of the base class.
    """

    observation: str
    reward: float
    terminated: bool
    action_valid: bool
    admissible_actions: tuple[str, ...]
    score: float
    won: bool
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Task:
    """A task; its id alone reproduces the episode."""

    task_id: str
    task_type: str
    split: str
    goal: str


class TextEnv(gymnasium.Env[str, str]):
    """Base class of all text environments: observations and actions are strings.

    Subclasses implement `splits`, `task_ids`, `task_type`, `_load_task`, `_begin`, `_act`; this class handles seeding,
    the turn limit and `info`.

    `reset(seed=…, options={"task_id": …} | {"split": …})`: the same seed, or the same task id, gives the same episode
    byte for byte. All texts can be encoded as UTF-8: file contents go through `sdar_gym.text.well_formed` when they
    are read. `info` holds `task_id, task_type, split, goal, admissible_actions, action_valid, score, won, turn`,
    and the entries of `Turn.extra`.

    Args:
        max_steps: Turns before `truncated`.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi"], "render_fps": 4}  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, max_steps: int, render_mode: str | None = None):
        limit = whole_number("max_steps", max_steps, 1)
        if render_mode is not None and render_mode != "ansi":
            raise ValueError(f"render_mode {shortened(render_mode)} is not supported; use 'ansi' or leave it out.")
        self.observation_space = FreeText()
        self.action_space = FreeText()
        self.render_mode = render_mode
        self.max_steps = limit
        self._task: Task | None = None
        self._turn = 0
        self._ended = True
        self._last_text = ""

    @property
    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """Splits with tasks, `train` first if present."""

    @abstractmethod
    def task_ids(self, split: str | None = None) -> tuple[str, ...]:
        """Ids of all tasks of a split (default: the environment's), in a fixed order.

        Raises:
            TaskNotFoundError: There is no such split, or it has no tasks.
        """

    @abstractmethod
    def task_type(self, task_id: str) -> str:
        """Task type of an id, without loading the task."""

    def task_group(self, task_id: str) -> str:
        """Leakage group of a task (floor plan, product or question): splits must not share groups.

        Splits are disjoint by group and not only by id; otherwise evaluation would measure memorization. The default
        is the id itself, for tasks that share nothing but the rules. If a benchmark has a split that overlaps with
        another on purpose, its group names what does not overlap.

        Args:
            task_id: Task id of any split.
        """
        return task_id

    def check_ready(self) -> None:
        """Preflight check: open resources that otherwise a step would open first, such as a corpus or search server.

        Called before a run, so that missing resources are found before training starts. The default does nothing, for
        environments that open everything in their constructor.

        Raises:
            ValueError: A resource is missing or does not respond; the message names it.
        """

    @abstractmethod
    def _load_task(self, task_id: str) -> Task:
        """Load a task by id.

        Raises:
            TaskNotFoundError: There is no such task.
        """

    def _random_task_id(self, split: str | None) -> str:
        """Draw a task id with `self.np_random`; override if a split has too many ids to list.

        Raises:
            TaskNotFoundError: There is no such split.
        """
        ids = self.task_ids(split)
        return ids[int(self.np_random.integers(len(ids)))]

    @abstractmethod
    def _begin(self, task: Task) -> Turn:
        """Start the episode; the reward of the returned turn is ignored."""

    @abstractmethod
    def _act(self, action: str) -> Turn:
        """Carry out one action. Must not raise for any text."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start an episode.

        Options apply to this reset only, as everywhere in Gymnasium. A later reset without options (vector environments
        do this automatically at the end of an episode) draws from the split that the environment was made with; to
        stay in another split, pass `split=` to the constructor. See `docs/environments/tools.md` for playing given
        tasks in vector environments.

        Args:
            seed: Seed of the task choice.
            options: `{"task_id": str}` for one task, or `{"split": str}` for a random one of that split.

        Raises:
            TaskNotFoundError: The task id or split does not exist, or the task is not of that split.
            ValueError: An unknown option, options that are not a dict, or an invalid seed.
        """
        task_id, split = _checked_options(options)
        super().reset(seed=None if seed is None else whole_number("seed", seed, 0))
        task = self._load_task(self._random_task_id(split) if task_id is None else task_id)
        if split is not None and task.split != split:
            raise TaskNotFoundError(
                f"The task {shortened(task.task_id)} is of split {task.split!r}, and the reset option 'split' asks for "
                f"{shortened(split)}; leave one of the two out."
            )
        self._task = task
        self._turn = 0
        self._ended = False
        turn = self._begin(self._task)
        self._last_text = turn.observation
        return turn.observation, self._info(turn)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Play one turn.

        Raises:
            TypeError: The action is not a string.
            gymnasium.error.ResetNeeded: There is no running episode.
        """
        if self._task is None or self._ended:
            raise gymnasium.error.ResetNeeded("The episode is over (or never began): call reset() before step().")
        if not isinstance(action, str):
            raise TypeError(f"An action is a str, got {type(action).__name__}.")
        # Environments repeat parts of an action (an answer, a query), which must be encodable.
        turn = self._act(well_formed(action))
        self._turn += 1
        truncated = not turn.terminated and self._turn >= self.max_steps
        self._ended = turn.terminated or truncated
        self._last_text = turn.observation
        return turn.observation, turn.reward, turn.terminated, truncated, self._info(turn)

    def render(self) -> str | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The last observation if `render_mode="ansi"`, with terminal control characters escaped."""
        return terminal_safe(self._last_text) if self.render_mode == "ansi" else None

    def _info(self, turn: Turn) -> dict[str, Any]:
        task = self._task
        assert task is not None  # set by reset()
        return {
            "task_id": task.task_id,
            "task_type": task.task_type,
            "split": task.split,
            "goal": task.goal,
            "admissible_actions": turn.admissible_actions,
            "action_valid": turn.action_valid,
            "score": turn.score,
            "won": turn.won,
            "turn": self._turn,
            **turn.extra,
        }


def _checked_options(options: Any) -> tuple[str | None, str | None]:
    """Validate reset options; return task id and split."""
    if options is None:
        return None, None
    if not isinstance(options, Mapping):
        raise ValueError(
            f"The options of reset() must be a dict such as {{'split': 'train'}}, got {shortened(options)}."
        )
    unknown = sorted((name for name in options if name not in ("task_id", "split")), key=repr)
    if unknown:
        raise ValueError(f"Unknown reset option(s) {shortened(unknown)}; this environment knows 'task_id' and 'split'.")
    for name, value in options.items():
        if isinstance(value, list | tuple):
            raise TaskNotFoundError(
                f"The reset option {name!r} must be a str, got {shortened(value)}. All environments of a vector get "
                "the same options. To play given tasks in one, make it with AutoresetMode.DISABLED, and reset its "
                "environments one by one with options={'reset_mask': ..., 'task_id': ...}."
            )
        if value is not None and not isinstance(value, str):
            raise TaskNotFoundError(f"The reset option {name!r} must be a str, got {shortened(value)}.")
        if value == "":
            raise TaskNotFoundError(f"The reset option {name!r} is empty; leave it out, or name a {name}.")
    return options.get("task_id"), options.get("split")

"""The contract every environment of the gym keeps: one episode of text turns over one named task."""

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
    """A task id or a split that this environment does not have."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What the world answers to one action.

    Attributes:
        observation: The text the world shows.
        reward: Reward of this turn.
        terminated: Whether the episode ended by itself (time limits are the base class's business).
        action_valid: Whether the world understood the action. A nonsense action is a turn like any other.
        admissible_actions: Actions that would do something now, in the benchmark's order; may be empty if open-ended.
            Each is understood as it is written: who copies it gets `action_valid=True`.
        score: Progress, 0 to 1.
        won: Whether the goal is reached now.
        extra: What this environment adds to `info`, under names that `info` does not have yet.
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
    """One task: its id is all that is needed to play the same episode again."""

    task_id: str
    task_type: str
    split: str
    goal: str


class TextEnv(gymnasium.Env[str, str]):
    """Base of all text environments: observations are what the world shows, actions are the text of one action.

    Subclasses implement `splits`, `task_ids`, `task_type`, `_load_task`, `_begin`, `_act`; this class owns seeding,
    the turn limit and `info`.

    `reset(seed=…, options={"task_id": …} | {"split": …})`: the same seed, or the same task id, gives the same episode
    byte for byte. Texts can be encoded as UTF-8: what comes from files is cleaned by `sdar_gym.text.well_formed` where
    it is read. `info` holds `task_id, task_type, split, goal, admissible_actions, action_valid, score, won, turn`,
    and what `Turn.extra` adds.

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
        """The splits that have tasks, `train` first if there is one."""

    @abstractmethod
    def task_ids(self, split: str | None = None) -> tuple[str, ...]:
        """The ids of all tasks of a split (default: the environment's), in a fixed order.

        Raises:
            TaskNotFoundError: There is no such split, or it has no tasks.
        """

    @abstractmethod
    def task_type(self, task_id: str) -> str:
        """The task type of an id, without loading the task."""

    def task_group(self, task_id: str) -> str:
        """What tasks of different splits must not share: the floor plan, the product, the question behind an id.

        Splits are disjoint in this, not only in their ids, else what is measured is memory. The default is the id
        itself, for environments whose tasks have nothing in common but their rules. Where a benchmark has a split that
        shares something on purpose, the name says what it does not share.

        Args:
            task_id: The id of a task of any split.
        """
        return task_id

    def check_ready(self) -> None:
        """Open what only a step would open, such as a corpus or a search server.

        A check before a run calls it, so that what is missing is found then and not in the middle. Nothing is left to
        open for environments that open everything when they are made, which is the default.

        Raises:
            ValueError: Something is missing or does not answer; says what.
        """

    @abstractmethod
    def _load_task(self, task_id: str) -> Task:
        """The task of an id.

        Raises:
            TaskNotFoundError: There is no such task.
        """

    def _random_task_id(self, split: str | None) -> str:
        """Draws a task from `self.np_random`; override where a list of all ids is too long to make.

        Raises:
            TaskNotFoundError: There is no such split.
        """
        ids = self.task_ids(split)
        return ids[int(self.np_random.integers(len(ids)))]

    @abstractmethod
    def _begin(self, task: Task) -> Turn:
        """Start the episode; the turn's reward is ignored."""

    @abstractmethod
    def _act(self, action: str) -> Turn:
        """Carry out one action. Must not raise, however odd the text."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start an episode.

        Options are for this one reset, as everywhere in Gymnasium. Whoever resets without them afterwards, as a vector
        does by itself when an episode is over, gets a task of the split that the environment was made with: to stay in
        a split, say `split=` when making it. `docs/environments/tools.md` tells how vectors play given tasks.

        Args:
            seed: Seeds the choice of tasks.
            options: `{"task_id": str}` for one task, or `{"split": str}` for a random one of that split.

        Raises:
            TaskNotFoundError: The task id or split does not exist, or the task is not of that split.
            ValueError: An option that this environment does not know, options that are no dict, or a senseless seed.
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
            TypeError: The action is not text.
            gymnasium.error.ResetNeeded: There is no running episode.
        """
        if self._task is None or self._ended:
            raise gymnasium.error.ResetNeeded("The episode is over (or never began): call reset() before step().")
        if not isinstance(action, str):
            raise TypeError(f"An action is a str, got {type(action).__name__}.")
        # What an environment repeats of an action, as an answer or a query, has to be text that can be encoded.
        turn = self._act(well_formed(action))
        self._turn += 1
        truncated = not turn.terminated and self._turn >= self.max_steps
        self._ended = turn.terminated or truncated
        self._last_text = turn.observation
        return turn.observation, turn.reward, turn.terminated, truncated, self._info(turn)

    def render(self) -> str | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The last text the world showed, if `render_mode="ansi"`, with what acts on a terminal made visible."""
        return terminal_safe(self._last_text) if self.render_mode == "ansi" else None

    def _info(self, turn: Turn) -> dict[str, Any]:
        task = self._task
        assert task is not None  # set by reset(), which every path goes through
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
    """Task id and split of the options of a reset."""
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

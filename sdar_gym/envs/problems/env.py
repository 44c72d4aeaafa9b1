"""`ProblemEnv`, the base class of environments in which a verifier checks a whole answer."""

from __future__ import annotations

import os
from abc import abstractmethod
from dataclasses import replace
from typing import Any, Generic, TypeVar

from gymnasium.envs.registration import EnvSpec

from sdar_gym.envs.data_files import located
from sdar_gym.envs.problems.problem import Problem, Verdict
from sdar_gym.envs.problems.sources import ProblemSource
from sdar_gym.envs.text_env import Task, TaskNotFoundError, TextEnv, Turn
from sdar_gym.text import shortened
from sdar_gym.validation import finite_number

P = TypeVar("P", bound=Problem)
EMBEDDED = "embedded"


class ProblemEnv(TextEnv, Generic[P]):
    """One problem an episode; every action is a whole answer, which a verifier checks.

    With `max_steps=1` the first answer ends the episode. With more turns, a wrong answer is followed by an observation
    that says what is wrong, and the agent answers again. The episode ends with a correct answer or after the last turn.

    `info` has, beside the keys of `TextEnv`: `data_source`; `answer` (found in the last action); `feedback` (the
    verifier's result in detail) and `reference` (a worked solution), both for teachers and logs only: they hold what
    the agent must not see; and the numbers of `Verdict.metrics`. `feedback` is empty after `reset()`.

    Subclasses implement `_open`, `_judge` and `reference_answer`, and name their folder of data in `FOLDER`.

    Args:
        problems: A file or folder of problems; None or `embedded` for the generated ones.
        split: The split that `reset()` draws from; None for the first one present.
        max_steps: Turn limit.
        success_reward: Reward for a correct answer.
    """

    FOLDER: str

    def __init__(
        self,
        problems: str | os.PathLike[str] | None,
        split: str | None,
        max_steps: int,
        success_reward: float,
        render_mode: str | None,
    ):
        super().__init__(max_steps, render_mode)
        self._success_reward = finite_number("success_reward", success_reward)
        self._problems_path = (
            None if problems is None or problems == EMBEDDED else located("problems", problems, self.FOLDER)
        )
        self._opened: ProblemSource[P] | None = None
        self._split = self._source.splits[0] if split is None else split
        self.task_ids(self._split)  # Raises for an unknown split now instead of at the first reset.
        self._made_with: EnvSpec | None = None
        self._problem: P | None = None

    @abstractmethod
    def _open(self, path: str | None) -> ProblemSource[P]:
        """Open the problems: a file or folder, or the embedded ones for None.

        Raises:
            ValueError: They are missing or damaged.
        """

    @abstractmethod
    def _judge(self, problem: P, action: str) -> Verdict:
        """Check an answer. Must not raise for any text."""

    @abstractmethod
    def reference_answer(self) -> str:
        """A correct action for the problem of the running episode, with its working if there is a solution.

        Raises:
            ValueError: No episode is running.
        """

    def mistaken_answers(self) -> tuple[str, ...]:
        """Actions with known mistakes for the problem of the running episode; empty if none are known."""
        return ()

    @property
    def problem(self) -> P:
        """Problem of the running episode, with its answer.

        Raises:
            ValueError: No episode is running.
        """
        if self._problem is None:
            raise ValueError("No episode is running: call reset() first.")
        return self._problem

    @property
    def embedded(self) -> bool:
        """Whether the problems are generated."""
        return self._problems_path is None

    @property
    def spec(self) -> EnvSpec | None:
        """Spec from which `gymnasium.make` makes the same environment, in any directory or process."""
        return self._made_with

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        if spec is not None and spec.kwargs.get("problems") is not None and self._problems_path is not None:
            # Absolute, since relative paths depend on the working directory and on $SDAR_GYM_DATA.
            spec = replace(spec, kwargs={**spec.kwargs, "problems": self._problems_path})
        self._made_with = spec

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits that the problems have."""
        return self._source.splits

    def task_ids(self, split: str | None = None) -> tuple[str, ...]:
        """Ids of all problems of a split (default: the environment's).

        Raises:
            TaskNotFoundError: There is no such split.
        """
        split = self._split if split is None else split
        if not isinstance(split, str):
            raise TaskNotFoundError(f"A split must be a string, got {shortened(split)}.")
        return self._source.task_ids(split)

    def task_type(self, task_id: str) -> str:
        """Task type of an id.

        Raises:
            TaskNotFoundError: There is no such problem.
        """
        return self._source.load(task_id).task_type

    def task_group(self, task_id: str) -> str:
        """Leakage group of a problem: its text.

        Raises:
            TaskNotFoundError: There is no such problem.
        """
        return self._source.load(task_id).group

    @property
    def _source(self) -> ProblemSource[P]:
        if self._opened is None:
            self._opened = self._open(self._problems_path)
        return self._opened

    def _load_task(self, task_id: str) -> Task:
        problem = self._source.load(task_id)
        return Task(task_id, problem.task_type, problem.split, problem.text)

    def _begin(self, task: Task) -> Turn:
        self._problem = self._source.load(task.task_id)
        nothing = Verdict("", True, False, 0.0, task.goal, "", self._no_metrics(self._problem))
        return self._turn_of(nothing, ended=False)

    def _no_metrics(self, problem: P) -> dict[str, float]:
        """The numbers of `Verdict.metrics` before the first answer."""
        return {}

    def _act(self, action: str) -> Turn:
        verdict = self._judge(self.problem, action)
        return self._turn_of(verdict, ended=verdict.won or self._turn + 1 >= self.max_steps)

    def _turn_of(self, verdict: Verdict, ended: bool) -> Turn:
        problem = self.problem
        return Turn(
            observation=verdict.observation,
            reward=self._success_reward if verdict.won else 0.0,
            terminated=ended,
            action_valid=verdict.valid,
            admissible_actions=(),
            score=verdict.score,
            won=verdict.won,
            extra={
                "data_source": problem.source,
                "answer": verdict.answer,
                "feedback": verdict.feedback,
                "reference": problem.solution,
                **verdict.metrics,
            },
        )

    def __getstate__(self) -> dict[str, Any]:
        # The receiving process opens its own problems.
        return {**self.__dict__, "_opened": None}

    def close(self) -> None:
        """Drop the running episode; may be called twice."""
        self._problem = None
        self._ended = True

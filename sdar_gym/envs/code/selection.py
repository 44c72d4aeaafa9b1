"""Selection of tasks: those of some levels of difficulty, or published in a window of time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from functools import cached_property

from sdar_gym.envs.code.problem import CodeProblem
from sdar_gym.envs.problems.problem import ProblemFormatError
from sdar_gym.envs.problems.sources import ProblemSource
from sdar_gym.envs.text_env import TaskNotFoundError
from sdar_gym.text import shortened


class SelectedProblems:
    """The tasks of a source that a condition on their ids admits; ids stay as they are.

    Args:
        source: All tasks.
        admits: The condition.
        what: What is selected, for messages.

    Raises:
        ProblemFormatError: No task is admitted.
    """

    def __init__(self, source: ProblemSource[CodeProblem], admits: Callable[[str], bool], what: str):
        self._source = source
        self._admits = admits
        self._what = what
        if not self._ids:
            raise ProblemFormatError(f"There are no tasks {what}.")

    @cached_property
    def _ids(self) -> dict[str, tuple[str, ...]]:
        chosen = {split: tuple(filter(self._admits, self._source.task_ids(split))) for split in self._source.splits}
        return {split: ids for split, ids in chosen.items() if ids}

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits with selected tasks."""
        return tuple(self._ids)

    def task_ids(self, split: str) -> tuple[str, ...]:
        """Selected task ids of a split."""
        if split not in self._ids:
            raise TaskNotFoundError(
                f"There is no split {shortened(split)} of tasks {self._what}; there are: {', '.join(self._ids)}."
            )
        return self._ids[split]

    def load(self, task_id: str) -> CodeProblem:
        """Load a task by id, if it is selected."""
        problem = self._source.load(task_id)
        if not self._admits(task_id):
            raise TaskNotFoundError(f"The task {shortened(task_id)} is not one of those {self._what}.")
        return problem


def of_levels(source: ProblemSource[CodeProblem], levels: tuple[int, ...]) -> SelectedProblems:
    """The embedded tasks of some levels."""
    texts = {str(level) for level in levels}
    return SelectedProblems(
        source, lambda task_id: task_id.split("/")[2] in texts, f"of level {', '.join(sorted(texts))}"
    )


def of_window(source: ProblemSource[CodeProblem], since: str, until: str) -> SelectedProblems:
    """The tasks published in a window of time, both days included; an empty text is no limit.

    Raises:
        ProblemFormatError: A task has no date, or none is in the window.
    """
    dates = {task_id: source.load(task_id).date for split in source.splits for task_id in source.task_ids(split)}
    undated = next((task_id for task_id, day in dates.items() if not day), None)
    if undated is not None:
        raise ProblemFormatError(
            f"The task {undated} has no `contest_date`, so that `since` and `until` cannot be applied; leave them out."
        )
    what = f"published {f'since {since} ' if since else ''}{f'until {until} ' if until else ''}".rstrip()
    return SelectedProblems(
        source, lambda task_id: since <= dates[task_id] and (not until or dates[task_id] <= until), what
    )


def check_day(name: str, value: str | date | None) -> str:
    """A day as `YYYY-MM-DD`; empty for None.

    Raises:
        ValueError: It is no day.
    """
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.date().isoformat()
    if isinstance(value, date):
        return value.isoformat()
    try:
        return datetime.strptime(value, "%Y-%m-%d").date().isoformat()
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a day such as 2025-01-31, got {shortened(value)}.") from None

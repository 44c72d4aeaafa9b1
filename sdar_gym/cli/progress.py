"""Progress bars, and lines instead where the output is no terminal, as in the logs of a cluster's jobs."""

from __future__ import annotations

import math
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from sdar_gym.cli.terminal import Column, Terminal

# Between two lines of a task.
_INTERVAL_S = 10.0


class LoggedProgress(Progress):
    """Progress bars of rich; in a file or a pipe, lines at its beginning, every ten seconds at most, and at its end.

    Args:
        columns: What is shown of a task; bars are left out of lines.
        console: Where it is drawn.
        **settings: Those of rich's `Progress`.
    """

    def __init__(self, *columns: ProgressColumn, console: Terminal, **settings: Any):
        self._logs = not (console.is_terminal or console.is_jupyter)
        super().__init__(*columns, console=console, disable=self._logs, **settings)
        self._shown = columns
        self._told: dict[TaskID, float] = {}

    def add_task(self, description: str, **settings: Any) -> TaskID:  # type: ignore[override]
        """Adds a task, and tells it: what follows may take long."""
        task_id = super().add_task(description, **settings)
        self._tell(task_id)
        return task_id

    def update(self, task_id: TaskID, **changes: Any) -> None:  # type: ignore[override]
        """Changes a task, and tells it."""
        super().update(task_id, **changes)
        self._tell(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """Counts a task's steps, and tells it."""
        super().advance(task_id, advance)
        self._tell(task_id)

    def _tell(self, task_id: TaskID) -> None:
        task = self._tasks[task_id]
        before = self._told.get(task_id, -math.inf)
        if not self._logs or not task.visible or before == math.inf:
            return
        now = self.get_time()
        if task.finished or now - before >= _INTERVAL_S:
            self._told[task_id] = math.inf if task.finished else now
            texts = [_text(column, task) for column in self._shown]
            self.console.print(" · ".join(text for text in texts if text), soft_wrap=True)


def _text(column: ProgressColumn, task: Task) -> str:
    """A column in a line; empty for a bar, and for times that are not known."""
    shown = column.render(task)
    text = shown.plain.strip() if isinstance(shown, Text) else ""
    if isinstance(column, TimeRemainingColumn):
        return "" if task.finished or not text.strip("-: ") else f"{text} left"
    return text if text.strip("-: ") else ""


def progress_bar(console: Terminal, text: str) -> LoggedProgress:
    """A progress bar with count, elapsed and remaining time.

    Args:
        console: Where it is drawn.
        text: Its last column, which may name the task's fields.
    """
    return LoggedProgress(
        Column("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Column(text),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )

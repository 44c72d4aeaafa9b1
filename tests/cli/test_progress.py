"""Progress without a terminal: a line at the beginning, every ten seconds, and at the end."""

from __future__ import annotations

import io

from sdar_gym.cli.progress import progress_bar
from sdar_gym.cli.terminal import Terminal


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def written(terminal: bool) -> list[str]:
    console, clock = Terminal(), Clock()
    console.file, console._force_terminal = io.StringIO(), terminal
    bar = progress_bar(console, "{task.fields[state]}")
    bar.get_time = clock
    with bar:
        task = bar.add_task("training", total=4, state="first evaluation")
        for update in range(1, 5):
            clock.now += 6.0
            bar.update(task, completed=update, state=f"train 0.{update}")
        bar.update(task, completed=4, state="train 0.9")
    return console.file.getvalue().splitlines()


def test_a_log_has_lines_that_say_where_the_work_is() -> None:
    assert written(terminal=False) == [
        "training · 0/4 · first evaluation · 0:00:00",
        "training · 2/4 · train 0.2 · 0:00:12 · 0:00:12 left",
        "training · 4/4 · train 0.4 · 0:00:24",
    ]


def test_a_terminal_has_a_bar() -> None:
    assert "━" in "".join(written(terminal=True))


def test_a_hidden_task_is_told_when_it_begins() -> None:
    console = Terminal()
    console.file = io.StringIO()
    with progress_bar(console, "episodes") as bar:
        task = bar.add_task("expert", total=None, visible=False)
        assert not console.file.getvalue()
        bar.reset(task, total=2, visible=True)
        bar.advance(task)
        bar.advance(task)
    first, last = console.file.getvalue().splitlines()
    assert first.startswith("expert · 1/2 · episodes") and last.startswith("expert · 2/2 · episodes")

"""The command `compare`: two evaluations on the same panel, task by task."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path

from rich.table import Table

from sdar_gym.cli.path_arguments import check_output_file
from sdar_gym.cli.terminal import Terminal
from sdar_gym.evaluation.compare import Comparison, Difference, compare, played_panel
from sdar_gym.files import replace_text
from sdar_gym.paths import local_path
from sdar_gym.text import terminal_safe

# Flipped tasks that are listed in each direction; --json has all of them.
_LISTED = 20


def compare_command(first: Path, second: Path, json_output: Path | None) -> None:
    """Prints the comparison."""
    if json_output is not None:
        check_output_file("--json", json_output)
    sides = [played_panel(local_path("evaluation", side)) for side in (first, second)]
    result = compare(*sides)
    console = Terminal()
    console.tell(f"A  {sides[0].file}\nB  {sides[1].file}")
    for difference in result.differences or []:
        console.tell(f"   {difference}")
    if any(result.unfinished):
        console.print(
            f"{result.unfinished[0]} episode(s) of A and {result.unfinished[1]} of B failed or are missing; the "
            f"comparison is over the {result.all.tasks} tasks that both finished, {len(result.left_out)} are left out.",
            style="bold red",
        )
    console.print(_table(result))
    low, high = result.all.low, result.all.high
    verdict = "B is better" if low > 0 else "A is better" if high < 0 else "the interval includes 0: undecided"
    console.tell(f"B - A = {result.all.difference:+.3f} [{low:+.3f}, {high:+.3f}] (95 %, {result.method}): {verdict}")
    if result.counts is not None and result.mcnemar_p is not None:
        counts = result.counts
        console.tell(
            f"both solve {counts.both} tasks, only A {counts.first}, only B {counts.second}, neither {counts.neither}; "
            f"McNemar's exact test p = {_p(result.mcnemar_p)}"
        )
    _list_flipped(console, "B solves and A does not" if result.counts else "B does better", result.better, result)
    _list_flipped(console, "A solves and B does not" if result.counts else "A does better", result.worse, result)
    if json_output is not None:
        json_output.parent.mkdir(parents=True, exist_ok=True)
        replace_text(json_output, json.dumps(result.to_json(), indent=1, ensure_ascii=False) + "\n")
        console.tell(f"written to {json_output}")
    console.tell(f"sdar-gym view {shlex.quote(result.first)} {shlex.quote(result.second)}")


def _table(result: Comparison) -> Table:
    episodes = "" if result.episodes == (1, 1) else f", {result.episodes[0]} and {result.episodes[1]} episodes each"
    table = Table(
        title=f"success on {terminal_safe(result.panel)} (hash {result.panel_hash}{episodes})",
        title_justify="left",
        title_style="",
    )
    table.add_column("", overflow="fold")
    for name in ("tasks", "A", "B", "B - A", "95 % interval"):
        table.add_column(name, justify="right")
    table.add_row("all tasks", *_cells(result.all), style="bold")
    for kind, difference in result.by_type.items():
        table.add_row(kind, *_cells(difference))
    return table


def _cells(difference: Difference) -> tuple[str, ...]:
    return (
        str(difference.tasks),
        f"{difference.first:.3f}",
        f"{difference.second:.3f}",
        f"{difference.difference:+.3f}",
        f"{difference.low:+.3f} to {difference.high:+.3f}",
    )


def _list_flipped(console: Terminal, title: str, tasks: Mapping[str, tuple[float, float]], result: Comparison) -> None:
    if not tasks:
        console.tell(f"{title}: no task")
        return
    # The largest changes first; with one episode of a task all are equally large.
    order = sorted(tasks, key=lambda task: -abs(tasks[task][1] - tasks[task][0]))
    console.tell(f"{title}: {len(tasks)} task{'s' if len(tasks) > 1 else ''}")
    for task in order[:_LISTED]:
        rates = "" if result.counts is not None else f"  {tasks[task][0]:.2f} -> {tasks[task][1]:.2f}"
        console.tell(f"  {task}{rates}")
    if len(order) > _LISTED:
        console.tell(f"  and {len(order) - _LISTED} more (--json FILE lists all)")


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 1e-4 else f"{value:.0e}"

"""Terminal view of a run: learning curve, success by type, episodes; plain text, for ssh and for pipes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from rich.text import Text

from sdar_gym.cli.terminal import Terminal, symbol, table
from sdar_gym.evaluation.summary import success_by_type
from sdar_gym.viewer.recording import Batch, Recording, RecordingError, read_episodes
from sdar_gym.viewer.run_details import tokens_of
from sdar_gym.viewer.terminal_rows import print_rows
from sdar_gym.viewer.text_curve import sparkline, text_curve

# Longest goal in the list, in characters; the episode itself has all of it.
_GOAL = 60
# A pipe has no width: tables there take what they need, so that no cell is broken.
_PIPE_WIDTH = 1_000
# The plots' width there.
_PLOT_WIDTH = 100
OUTCOMES = ("won", "lost", "truncated", "prompt_too_long", "context_full", "error")


@dataclass(frozen=True, slots=True)
class EpisodeFilter:
    """Which episodes are listed; None admits all.

    Attributes:
        type: Task type.
        outcome: One of `OUTCOMES`; `lost` is every episode that was not won.
        update: Number of updates before it.
        task: Part of the task id or of the goal, in any case.
    """

    type: str | None = None
    outcome: str | None = None
    update: int | None = None
    task: str | None = None

    def admits(self, episode: Mapping[str, Any]) -> bool:
        """Whether an episode is listed, but for its update."""
        if self.type is not None and episode["task_type"] != self.type:
            return False
        if self.outcome in ("won", "lost") and episode["won"] != (self.outcome == "won"):
            return False
        if self.outcome not in (None, "won", "lost") and episode.get("ended") != self.outcome:
            return False
        text = f"{episode['task_id']}\n{episode['goal']}".lower()
        return self.task is None or self.task.lower() in text


def view_terminal() -> Terminal:
    """The standard output, as wide as the window; in a pipe without a limit, unless `COLUMNS` sets one."""
    console = Terminal()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _PIPE_WIDTH
    return console


def plot_width(console: Terminal) -> int:
    """Columns for plots and tokens."""
    return min(console.width, _PLOT_WIDTH) if console.width == _PIPE_WIDTH else console.width


def percent(rate: float | None) -> str:
    """A rate as a percentage, `-` if it is missing."""
    return "-" if rate is None else f"{100 * rate:.1f} %"


def show_overview(console: Terminal, recording: Recording) -> None:
    """The settings in a line, the learning curve, and success by type at the first and the last evaluation."""
    settings, result = recording.settings, recording.result
    told = [str(settings[key]) for key in ("method", "env") if key in settings]
    console.print(Text(recording.name, style="bold"), *told, sep=", ")
    records = recording.records()
    evaluations: list[tuple[int, Mapping[str, Any]]] = [
        (record["update"], record["evaluation"]) for record in records if isinstance(record.get("evaluation"), dict)
    ]
    if result.get("panel"):
        console.tell(
            f"panel {result['panel']}, {result.get('tasks')} tasks, temperature {result.get('temperature')}, "
            f"{result.get('panel_hash')}"
        )
    points = [
        (update, each["success"], each.get("success_low"), each.get("success_high"))
        for update, each in evaluations
        if isinstance(each.get("success"), int | float)
    ]
    if len(points) > 1:
        console.print()
        console.tell("success on the panel by update, with its 95 % interval")
        for line in text_curve(points, plot_width(console), symbol):
            console.tell(line)
    train = [
        success for record in records if isinstance(success := (record.get("train") or {}).get("success"), int | float)
    ]
    if train:
        line = sparkline(train, plot_width(console) - 20, symbol)
        console.tell(f"training episodes {line} {percent(train[0])} to {percent(train[-1])}")
    console.print()
    if not evaluations and result:
        evaluations = [(0, result)]
    _show_types(console, evaluations)


def _show_types(console: Terminal, evaluations: list[tuple[int, Mapping[str, Any]]]) -> None:
    if not evaluations:
        console.tell("No evaluation yet.")
        return
    shown = evaluations[:1] if len(evaluations) == 1 else [evaluations[0], evaluations[-1]]
    heads = [f"update {update}" for update, _ in shown]
    rates = [success_by_type(result) for _, result in shown]
    types = sorted({name for each in rates for name in each})
    rows = [["all", *(_with_interval(result) for _, result in shown)]]
    rows += [[name, *(percent(each.get(name)) for each in rates)] for name in types]
    if len(shown) == 2:
        heads.append("change")
        pairs = [(shown[0][1].get("success"), shown[1][1].get("success"))]
        pairs += [(rates[0].get(name), rates[1].get(name)) for name in types]
        for row, (before, after) in zip(rows, pairs, strict=True):
            row.append("-" if before is None or after is None else f"{100 * (after - before):+.1f}")
    console.print(table(("success by type", *heads), rows))


def _with_interval(result: Mapping[str, Any]) -> str:
    low, high = result.get("success_low"), result.get("success_high")
    interval = "" if low is None or high is None else f" [{100 * low:.1f}, {100 * high:.1f}]"
    return f"{percent(result.get('success'))}{interval}"


def show_episodes(console: Terminal, recording: Recording, wanted: EpisodeFilter, limit: int) -> None:
    """A table of episodes, those of the newest batch first.

    Args:
        console: Where to print.
        recording: The run.
        wanted: Which ones.
        limit: Most rows.

    Raises:
        RecordingError: No batch has the update, or none of the episodes is admitted.
    """
    batches = [batch for batch in recording.batches() if wanted.update in (None, batch.update)]
    if not batches:
        known = ", ".join(dict.fromkeys(str(batch.update) for batch in recording.batches()))
        raise RecordingError(f"{recording.path} has no episodes of update {wanted.update}; it has: {known or 'none'}.")
    notices: list[str] = []
    rows, more, types = [], False, set()
    for batch in reversed(batches):
        found = []
        for episode in read_episodes(batch):
            types.add(episode["task_type"])
            if wanted.admits(episode):
                more = len(rows) + len(found) == limit
                if more:
                    break
                found.append(episode)
        rows += _rows(batch, found, notices)
        if more:
            break
    if not rows:
        raise RecordingError(f"No episode of {recording.path} is like that; task types: {', '.join(sorted(types))}.")
    heads = ("episode", "type", "outcome", "reward", "turns", "invalid", "gap", "task", "goal")
    print_rows(console, heads, rows, ("task", "type", "goal"))
    for notice in notices:
        console.print(notice, style="yellow")
    if more:
        console.tell(f"The first {limit}; --limit shows more.")
    console.tell(f"One of them: --episode {rows[0][0]}")


def _rows(batch: Batch, episodes: list[dict[str, Any]], notices: list[str]) -> Iterator[list[str | Text]]:
    tokens = tokens_of(batch, notices) if episodes else {}
    for episode in episodes:
        turns = episode["turns"]
        invalid = sum(not (turn.get("valid_form", True) and turn.get("valid_action", True)) for turn in turns)
        played = tokens.get(episode["episode_id"], {}).values()
        gaps = [gap for row in played for gap in row["gap"] or () if gap is not None]
        goal = " ".join(episode["goal"].split())
        yield [
            f"{batch.name}/{episode['episode_id']}",
            episode["task_type"],
            outcome_text(episode),
            f"{episode.get('reward', 0.0):.2f}",
            str(len(turns)),
            str(invalid),
            f"{fmean(gaps):+.3f}" if gaps else "-",
            episode["task_id"],
            goal if len(goal) <= _GOAL else f"{goal[: _GOAL - 3]}...",
        ]


def outcome_text(episode: Mapping[str, Any]) -> Text:
    """How an episode ended, in the color of success or failure."""
    return Text(
        str(episode.get("ended") or ("won" if episode["won"] else "lost")), style="green" if episode["won"] else "red"
    )


def find_episode(recording: Recording, address: str) -> tuple[Batch, dict[str, Any]]:
    """The episode at an address.

    Args:
        recording: The run.
        address: `BATCH/ID`, as the table of episodes shows it; in an evaluation's folder the id alone is enough.

    Raises:
        RecordingError: There is no such batch or episode; names those there are.
    """
    batches = {batch.name: batch for batch in recording.batches()}
    name, _, wanted = address.partition("/")
    if name not in batches and list(batches) == ["episodes"]:
        name, wanted = "episodes", address
    if name not in batches:
        raise RecordingError(
            f"{recording.path} has no batch {name!r}; it has: {', '.join(batches) or 'none'}. An episode is "
            "BATCH/ID, such as train-00010/3/1."
        )
    for episode in read_episodes(batches[name]):
        if episode["episode_id"] == wanted:
            return batches[name], episode
    raise RecordingError(f"{batches[name].file} has no episode {wanted!r}; --update {batches[name].update} lists them.")

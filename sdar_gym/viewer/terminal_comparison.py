"""Comparison of two recordings in the terminal: task by task, which one succeeded, by type, and the flipped tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from sdar_gym.cli.terminal import Terminal
from sdar_gym.evaluation.paired import PairedCounts, mcnemar_p, mean_difference, newcombe_interval
from sdar_gym.viewer.recording import Batch, Recording, RecordingError, read_episodes
from sdar_gym.viewer.terminal import percent
from sdar_gym.viewer.terminal_rows import print_rows


@dataclass(slots=True)
class _Task:
    """A task's episodes in one evaluation."""

    type: str
    goal: str
    first: str
    episodes: int = 0
    won: int = 0

    @property
    def rate(self) -> float:
        return self.won / self.episodes


@dataclass(frozen=True, slots=True)
class _Pair:
    """A task that both evaluations played."""

    task: str
    a: _Task
    b: _Task

    @property
    def outcome(self) -> str:
        if self.a.rate == self.b.rate:
            return "both" if self.a.won else "neither"
        return "A" if self.a.rate > self.b.rate else "B"


def show_comparison(console: Terminal, first: Recording, second: Recording, update: int | None, limit: int) -> None:
    """Prints the paired table of two evaluations.

    With several episodes a task, the one with the higher success rate counts as the one that succeeded; with equal
    rates above 0 both do.

    Args:
        console: Where to print.
        first: A.
        second: B.
        update: The evaluations' update; None for the last one of each.
        limit: Most flipped tasks to list.

    Raises:
        RecordingError: One has no such evaluation, or they have no task in common.
    """
    batches = [_evaluation(recording, update) for recording in (first, second)]
    sides = [_tasks(batch) for batch in batches]
    pairs = [_Pair(task, a, sides[1][task]) for task, a in sides[0].items() if task in sides[1]]
    if not pairs:
        raise RecordingError(f"{first.path} and {second.path} have no task of an evaluation in common.")
    for label, recording, batch in zip("AB", (first, second), batches, strict=True):
        console.tell(f"{label}: {recording.name}, {batch.name}")
    left_out = [len(side) - len(pairs) for side in sides]
    if any(left_out):
        console.print(
            f"The panels differ: {len(pairs)} tasks are compared; A has {left_out[0]} more and B {left_out[1]}.",
            style="yellow",
        )
    types = sorted({pair.a.type for pair in pairs})
    rows = [_row("all", pairs)] + [_row(name, [pair for pair in pairs if pair.a.type == name]) for name in types]
    heads = ("type", "tasks", "both", "only A", "only B", "neither", "A", "B", "B - A")
    print_rows(console, heads, rows, ("tasks",))
    console.tell(_paired(pairs))
    flipped = [pair for pair in pairs if pair.outcome in "AB"]
    console.tell(f"\nflipped tasks: {len(flipped)}")
    if flipped:
        flipped.sort(key=lambda pair: (pair.outcome, pair.a.type, pair.task))
        listed = [
            (
                f"only {pair.outcome}",
                pair.a.first,
                _won(pair.a),
                _won(pair.b),
                pair.a.type,
                pair.task,
                " ".join(pair.a.goal.split()),
            )
            for pair in flipped[:limit]
        ]
        heads = ("solved by", "episode", "A", "B", "type", "task", "goal")
        print_rows(console, heads, listed, ("type", "task", "goal"))
    if len(flipped) > limit:
        console.tell(f"The first {limit}; --limit shows more.")


def _paired(pairs: Sequence[_Pair]) -> str:
    """The difference with its interval, and McNemar's test where each task was played once."""
    if any(task.episodes > 1 for pair in pairs for task in (pair.a, pair.b)):
        mean, low, high = mean_difference([pair.a.rate for pair in pairs], [pair.b.rate for pair in pairs])
        return f"B - A = {100 * mean:+.1f} points, 95 % {100 * low:+.1f} to {100 * high:+.1f} (bootstrap by task)"
    counts = PairedCounts.of([pair.a.won > 0 for pair in pairs], [pair.b.won > 0 for pair in pairs])
    low, high = newcombe_interval(counts)
    difference = (counts.second - counts.first) / counts.tasks
    p = mcnemar_p(counts.first, counts.second)
    return (
        f"B - A = {100 * difference:+.1f} points, 95 % {100 * low:+.1f} to {100 * high:+.1f} (Newcombe, paired); "
        f"McNemar's exact test p = {p:.2g}"
    )


def _evaluation(recording: Recording, update: int | None) -> Batch:
    found = [batch for batch in recording.batches() if batch.kind == "eval"]
    if update is not None:
        found = [batch for batch in found if batch.update == update]
    if not found:
        which = "no evaluation" if update is None else f"no evaluation at update {update}"
        raise RecordingError(f"{recording.path} has {which}; both need one to be compared.")
    return found[-1]


def _tasks(batch: Batch) -> dict[str, _Task]:
    tasks: dict[str, _Task] = {}
    for episode in read_episodes(batch):
        address = f"{batch.name}/{episode['episode_id']}"
        task = tasks.setdefault(episode["task_id"], _Task(episode["task_type"], episode["goal"], address))
        task.episodes += 1
        task.won += episode["won"]
    return tasks


def _row(label: str, pairs: Sequence[_Pair]) -> list[str]:
    outcomes = [pair.outcome for pair in pairs]
    a, b = fmean(pair.a.rate for pair in pairs), fmean(pair.b.rate for pair in pairs)
    counts = (str(outcomes.count(outcome)) for outcome in ("both", "A", "B", "neither"))
    return [label, str(len(pairs)), *counts, percent(a), percent(b), f"{100 * (b - a):+.1f}"]


def _won(task: _Task) -> str:
    if task.episodes == 1:
        return "won" if task.won else "lost"
    return f"{task.won} of {task.episodes}"

"""Comparison of two evaluations on the same panel: paired difference with its interval, by task type, flipped tasks."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sdar_gym.envs.tasks import TaskPanel, load_panel
from sdar_gym.evaluation.folder import EPISODES, PANEL, RECORD, EvaluationFolder
from sdar_gym.evaluation.paired import PairedCounts, mcnemar_p, mean_difference, newcombe_interval
from sdar_gym.evaluation.record import EvaluationRecord
from sdar_gym.evaluation.rows import episode_of, read_rows
from sdar_gym.rollout.trajectory import Episode


class ComparisonError(ValueError):
    """Two evaluations that cannot be compared."""


@dataclass(frozen=True, slots=True)
class PlayedPanel:
    """The episodes of an evaluation, from its folder or from a run's.

    Attributes:
        path: The folder.
        file: The file of the episodes.
        panel: The panel.
        wins: Outcomes of each task's finished episodes.
        types: Task type by task.
        unfinished: Episodes of the panel that failed or were not played.
        record: What the evaluation depends on; None for a run's.
    """

    path: Path
    file: Path
    panel: TaskPanel
    wins: dict[str, list[bool]]
    types: dict[str, str]
    unfinished: int
    record: EvaluationRecord | None = None


def played_panel(path: Path) -> PlayedPanel:
    """The last evaluation in a folder.

    Args:
        path: An evaluation folder, or a run folder with `episodes/eval-*.jsonl`.

    Raises:
        ComparisonError: It is neither, or has no finished episode.
        ValueError: A file of it is damaged.
    """
    record = None
    if (path / RECORD).is_file():
        folder = EvaluationFolder(path)
        record, panel, episodes, file = folder.record(), folder.panel(), folder.episodes(), path / EPISODES
    elif (path / PANEL).is_file():
        found = sorted((path / "episodes").glob("eval-*.jsonl"))
        if not found:
            raise ComparisonError(f"{path} has a panel, but no evaluation: episodes/eval-*.jsonl is missing.")
        panel, file = load_panel(path / PANEL), found[-1]
        episodes = [episode_of(row) for row in read_rows(file)]
    else:
        reason = "there is no such folder" if not path.is_dir() else f"it has neither {RECORD} nor {PANEL}"
        raise ComparisonError(f"{path} is no evaluation and no run: {reason}.")
    return replace(_played(path, file, panel, episodes), record=record)


def _played(path: Path, file: Path, panel: TaskPanel, episodes: Sequence[Episode]) -> PlayedPanel:
    known = set(panel.task_ids)
    wins: defaultdict[str, list[bool]] = defaultdict(list)
    for episode in episodes:
        if episode.task_id not in known:
            raise ComparisonError(f"{file} has an episode of the task {episode.task_id!r}, which {PANEL} has not.")
        if episode.ended != "error":
            wins[episode.task_id].append(episode.won)
    if not wins:
        raise ComparisonError(f"{file} has no finished episode.")
    repeats = max(map(len, wins.values()))
    unfinished = repeats * len(known) - sum(map(len, wins.values()))
    types = {episode.task_id: episode.task_type for episode in episodes}
    return PlayedPanel(path, file, panel, dict(wins), types, unfinished)


@dataclass(frozen=True, slots=True)
class Difference:
    """Success of both in some tasks, and the second minus the first.

    Attributes:
        tasks: Number of tasks.
        first: Success rate of the first, the mean over tasks.
        second: Success rate of the second.
        difference: Second minus first, with its 95 % interval `low` to `high`.
    """

    tasks: int
    first: float
    second: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two evaluations on the same panel.

    Attributes:
        first: Folder of the first.
        second: Folder of the second.
        panel: Name of the panel.
        panel_hash: Its hash.
        differences: Settings in which the evaluations differ, `setting: first -> second`; None if not known of a run.
        episodes: Episodes of a task, of the first and of the second.
        unfinished: Episodes that failed or were not played, of the first and of the second.
        left_out: Tasks that one of them did not finish.
        all: All tasks.
        method: The interval's method.
        by_type: The same by task type.
        counts: Tasks by both outcomes; None with several episodes of a task.
        mcnemar_p: Exact p-value; None with several episodes of a task.
        better: Tasks in which the second did better, with both rates.
        worse: Tasks in which it did worse.
    """

    first: str
    second: str
    panel: str
    panel_hash: str
    differences: list[str] | None
    episodes: tuple[int, int]
    unfinished: tuple[int, int]
    left_out: list[str]
    all: Difference
    method: str
    by_type: dict[str, Difference]
    counts: PairedCounts | None
    mcnemar_p: float | None
    better: dict[str, tuple[float, float]]
    worse: dict[str, tuple[float, float]]

    def to_json(self) -> dict[str, Any]:
        """The comparison as plain data."""
        return json.loads(json.dumps(asdict(self)))


def compare(first: PlayedPanel, second: PlayedPanel) -> Comparison:
    """Compares two evaluations, paired by task.

    With one episode of each task the interval is Newcombe's for paired rates and p is McNemar's; with several it is a
    bootstrap over tasks, since episodes of one task are alike.

    Args:
        first: The first.
        second: The second.

    Raises:
        ComparisonError: The panels differ, or no task was finished by both.
    """
    if first.panel.hash != second.panel.hash:
        raise ComparisonError(
            f"{first.path} and {second.path} played other tasks: panel {first.panel.name} ({first.panel.hash}) and "
            f"{second.panel.name} ({second.panel.hash}). Evaluate both on one: --panel {first.path / PANEL}."
        )
    tasks = [task for task in first.panel.task_ids if task in first.wins and task in second.wins]
    if not tasks:
        raise ComparisonError(f"{first.path} and {second.path} have no finished task in common.")
    repeats = tuple(max(map(len, side.wins.values())) for side in (first, second))
    rates = {
        task: (sum(a) / len(a), sum(b) / len(b)) for task in tasks for a, b in [(first.wins[task], second.wins[task])]
    }
    once = repeats == (1, 1)
    by_type: defaultdict[str, list[str]] = defaultdict(list)
    for task in tasks:
        by_type[first.types[task]].append(task)
    counts = _counts(rates, tasks) if once else None
    return Comparison(
        first=str(first.path),
        second=str(second.path),
        panel=first.panel.name,
        panel_hash=first.panel.hash,
        differences=None if first.record is None or second.record is None else first.record.differences(second.record),
        episodes=(repeats[0], repeats[1]),
        unfinished=(first.unfinished, second.unfinished),
        left_out=[task for task in first.panel.task_ids if task not in rates],
        all=_difference(rates, tasks, once),
        method="Newcombe, paired" if once else "bootstrap over tasks",
        by_type={kind: _difference(rates, named, once) for kind, named in sorted(by_type.items())},
        counts=counts,
        mcnemar_p=None if counts is None else mcnemar_p(counts.first, counts.second),
        better={task: rates[task] for task in tasks if rates[task][1] > rates[task][0]},
        worse={task: rates[task] for task in tasks if rates[task][1] < rates[task][0]},
    )


def _counts(rates: dict[str, tuple[float, float]], tasks: Sequence[str]) -> PairedCounts:
    return PairedCounts.of([rates[task][0] == 1 for task in tasks], [rates[task][1] == 1 for task in tasks])


def _difference(rates: dict[str, tuple[float, float]], tasks: Sequence[str], once: bool) -> Difference:
    ones, others = [rates[task][0] for task in tasks], [rates[task][1] for task in tasks]
    mean, low, high = mean_difference(ones, others)
    if once:
        low, high = newcombe_interval(_counts(rates, tasks))
    return Difference(len(tasks), sum(ones) / len(tasks), sum(others) / len(tasks), mean, low, high)

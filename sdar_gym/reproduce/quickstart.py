"""Study of the quick start: GRPO, SDAR, and SDAR with the skills of another task type, one run each, from one start."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sdar_gym.configs.load import load_config
from sdar_gym.configs.record import resolved
from sdar_gym.configs.schema import RunConfig
from sdar_gym.evaluation.compare import Comparison, compare, played_panel
from sdar_gym.reproduce.runs import StudyError
from sdar_gym.runs.folder import RunFolder
from sdar_gym.runs.resume import changed_settings

# Between two looks at how far the runs are, in seconds.
_INTERVAL = 0.5


@dataclass(frozen=True, slots=True)
class QuickRun:
    """A run of the study.

    Attributes:
        title: In a table.
        changes: What it changes in the quick start; the run's name among it.
    """

    title: str
    changes: tuple[str, ...]

    def config(self, output: Path, changes: Sequence[str]) -> RunConfig:
        """Its configuration.

        Args:
            output: Folder of the runs.
            changes: Of all runs, `key=value`.
        """
        return load_config("quickstart", [*changes, *self.changes, f"runs_dir={output}"])

    def folder(self, output: Path) -> RunFolder:
        """Its run folder."""
        run = self.config(output, ())
        return RunFolder(output / f"{run.name}-{run.method}")


GRPO = QuickRun("GRPO, no teacher", ("method=grpo", "name=quickstart"))
RIGHT = QuickRun("SDAR, right skills", ("method=sdar", "name=quickstart"))
WRONG = QuickRun("SDAR, wrong skills", ("method=sdar", "skills.library=wrong", "name=wrong"))
RUNS = (GRPO, RIGHT, WRONG)


def play_quickstart(
    output: Path, changes: Sequence[str], concurrent: int, report: Callable[[Mapping[str, int]], None]
) -> list[tuple[QuickRun, Comparison]]:
    """Plays the runs that are not finished in a folder, each in a process of its own, and compares them with GRPO's.

    Args:
        output: Folder of the runs.
        changes: Of all runs, `key=value`.
        concurrent: Runs at a time.
        report: Called every half second with the number of updates done by each run's title.

    Returns:
        Each run with its comparison to GRPO's; GRPO's with itself.

    Raises:
        StudyError: A run has other settings than it was begun with, or failed.
    """
    left = [run for run in RUNS if not _is_finished(run, output, changes)]
    output.mkdir(parents=True, exist_ok=True)
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_INTERVAL):
            report(_progress(output))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        with ThreadPoolExecutor(concurrent) as pool:
            list(pool.map(lambda run: _play(run, output, changes), left))
    finally:
        ended.set()
        watcher.join()
    report(_progress(output))
    base = played_panel(GRPO.folder(output).path)
    return [(run, compare(base, played_panel(run.folder(output).path))) for run in RUNS]


def _is_finished(run: QuickRun, output: Path, changes: Sequence[str]) -> bool:
    folder = run.folder(output)
    if not folder.config.exists():
        return False
    changed = changed_settings(load_config(str(folder.config)), resolved(run.config(output, changes)))
    if changed:
        raise StudyError(
            f"{folder.path} was begun with other settings: {changed[0]}. Name another folder with --output, or remove "
            "this one."
        )
    return (folder.path / "summary.json").exists()


def _play(run: QuickRun, output: Path, changes: Sequence[str]) -> None:
    folder = run.folder(output)
    if folder.checkpoint.exists():
        arguments = ["--resume", str(folder.path)]
    else:  # Of a run that was interrupted before its first update.
        shutil.rmtree(folder.path, ignore_errors=True)
        arguments = ["quickstart", *changes, *run.changes, f"runs_dir={output}"]
    log = output / f"{folder.path.name}.log"
    with log.open("w") as file:
        code = subprocess.run(
            [sys.executable, "-m", "sdar_gym", "train", *arguments],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "COLUMNS": "160"},
            check=False,
        ).returncode
    if code:
        lines = log.read_text(errors="replace").strip().splitlines() or ["without a message"]
        raise StudyError(f"{run.title} ended with status {code}: {lines[-1]} ({log} has all of it.)")


def _progress(output: Path) -> dict[str, int]:
    done: dict[str, int] = {}
    for run in RUNS:
        folder = run.folder(output)
        if (folder.path / "metrics.jsonl").exists():
            done[run.title] = sum("train" in record for record in folder.records())
    return done

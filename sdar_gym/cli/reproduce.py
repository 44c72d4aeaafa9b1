"""The command `reproduce`: plays a study, part by part, and writes its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.progress import Progress

from sdar_gym.cli.path_arguments import check_output_folder
from sdar_gym.cli.terminal import Terminal
from sdar_gym.cli.training import progress_bar, quiet
from sdar_gym.configs.load import load_config
from sdar_gym.configs.schema import ConfigError
from sdar_gym.reproduce.micro import PARTS
from sdar_gym.reproduce.report import write_report
from sdar_gym.reproduce.runs import run_jobs
from sdar_gym.reproduce.study import Job, Part, chosen_values, final_jobs, tuning_jobs
from sdar_gym.runs.check import check_run


def reproduce_command(
    only: Sequence[str], seeds: int, tuning_seeds: int, jobs: int, output: Path, changes: Sequence[str]
) -> None:
    """Plays the parts and prints the tables; what the output's log has is not played again."""
    known = {part.name: part for part in PARTS}
    unknown = [name for name in only if name not in known]
    if unknown:
        raise ConfigError(f"There is no part {unknown[0]}; the parts are {', '.join(known)}.")
    if not (output / "runs.jsonl").exists():
        check_output_folder("--output", output)
    parts = [known[name] for name in only or known]
    # A part that uses another's chosen values needs that one's tuning.
    tuned = [known[name] for name in dict.fromkeys(part.chosen_in or part.name for part in parts)]
    console = Terminal()
    quiet()
    _check(parts, changes)
    log = output / "runs.jsonl"
    with progress_bar(console, "{task.fields[state]}") as bar:
        tuning = {
            part.name: _played(bar, f"{part.name}, tuning", [*tuning_jobs(part, tuning_seeds)], log, jobs, changes)
            for part in tuned
        }
        chosen = {part.name: chosen_values(part, tuning[part.name]) for part in tuned}
        runs = {
            part.name: _played(
                bar,
                part.name,
                [*final_jobs(part, chosen[part.chosen_in or part.name], range(seeds))],
                log,
                jobs,
                changes,
            )
            for part in parts
        }
    command = f"sdar-gym reproduce micro --only {' --only '.join(part.name for part in parts)} --seeds {seeds}"
    console.tell(write_report(parts, tuning, runs, chosen, output, command))
    console.tell(f"written to {output}")


def _played(
    bar: Progress, title: str, jobs: list[Job], log: Path, concurrent: int, changes: Sequence[str]
) -> list[dict[str, Any]]:
    jobs = [
        Job(job.part, job.arm, job.value, job.seed, job.stage, job.config, (*job.changes, *changes)) for job in jobs
    ]
    task = bar.add_task(title, total=len(jobs), state="")

    def report(done: int, left: int, row: Mapping[str, Any]) -> None:
        value = "" if row["value"] is None else f" {row['value']}"
        bar.update(task, completed=len(jobs) - left + done, state=f"{row['arm']}{value}: {row['success']:.2f}")

    rows = run_jobs(jobs, log, concurrent, report)
    bar.update(task, completed=len(jobs))
    return rows


def _check(parts: Sequence[Part], changes: Sequence[str]) -> None:
    """Every arm's settings are read before the first run starts."""
    for part in parts:
        for arm in part.arms:
            run = load_config(
                part.setting.config,
                [
                    *part.setting.changes,
                    *part.setting.test,
                    *arm.settings(arm.values[0] if arm.values else None),
                    *changes,
                ],
            )
            check_run(run)

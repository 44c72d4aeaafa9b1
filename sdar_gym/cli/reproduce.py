"""The command `reproduce`: plays a study and shows its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.progress import Progress
from rich.table import Table

from sdar_gym.cli.path_arguments import check_output_folder
from sdar_gym.cli.progress import progress_bar
from sdar_gym.cli.terminal import Terminal
from sdar_gym.cli.training import quiet
from sdar_gym.configs.load import load_config
from sdar_gym.configs.schema import ConfigError
from sdar_gym.evaluation.compare import Comparison
from sdar_gym.evaluation.summary import wilson_interval
from sdar_gym.reproduce.chat import CHAT
from sdar_gym.reproduce.micro import PARTS
from sdar_gym.reproduce.quickstart import GRPO, RIGHT, RUNS, WRONG, QuickRun, play_quickstart
from sdar_gym.reproduce.report import write_report
from sdar_gym.reproduce.runs import run_jobs
from sdar_gym.reproduce.study import Job, Part, chosen_values, final_jobs, tuning_jobs
from sdar_gym.runs.check import check_run
from sdar_gym.viewer.page import write_page
from sdar_gym.viewer.recording import Recording


def reproduce_micro(
    only: Sequence[str], seeds: int, tuning_seeds: int, jobs: int, output: Path, changes: Sequence[str]
) -> None:
    """The methods with tiny policies."""
    known = {part.name: part for part in PARTS}
    unknown = [name for name in only if name not in known]
    if unknown:
        raise ConfigError(f"There is no part {unknown[0]}; the parts are {', '.join(known)}.")
    parts = [known[name] for name in only or known]
    command = " ".join(["sdar-gym reproduce micro", *(f"--only {name}" for name in only), f"--seeds {seeds}"])
    _study(parts, seeds, tuning_seeds, jobs, output, changes, command)


def reproduce_chat(seeds: int, jobs: int, output: Path, changes: Sequence[str]) -> None:
    """A chat model that reads skills."""
    if not any(change.startswith("policy.model=") for change in changes):
        raise ConfigError(
            "chat needs policy.model=FOLDER, a model that was taught to read skills: sdar-gym warmstart with "
            "warmstart.play=skill_reader, see docs/results/chat.md."
        )
    command = f"sdar-gym reproduce chat --seeds {seeds} {' '.join(changes)}"
    _study([CHAT], seeds, 0, jobs, output, changes, command)


def _study(
    parts: Sequence[Part],
    seeds: int,
    tuning_seeds: int,
    jobs: int,
    output: Path,
    changes: Sequence[str],
    command: str,
) -> None:
    """Plays the parts and prints the tables; what the output's log has is not played again."""
    if not (output / "runs.jsonl").exists():
        check_output_folder("--output", output)
    # A part that uses another's chosen values needs that one's tuning.
    tuned = list({part.tuned_in.name: part.tuned_in for part in parts}.values())
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
                [*final_jobs(part, chosen[part.tuned_in.name], range(seeds))],
                log,
                jobs,
                changes,
            )
            for part in parts
        }
    console.tell(write_report(parts, tuning, runs, chosen, output, command))
    console.tell(f"written to {output}")


def reproduce_quickstart(jobs: int, output: Path, changes: Sequence[str]) -> None:
    """Plays the quick start's three runs, and prints their comparison and the viewer's page."""
    quiet()
    if not output.is_dir():
        check_output_folder("--output", output)
    for run in RUNS:
        check_run(run.config(output, changes))
    console = Terminal()
    with progress_bar(console, "") as bar:
        updates = GRPO.config(output, changes).training.iterations
        bars = {run.title: bar.add_task(run.title, total=updates) for run in RUNS}

        def report(done: Mapping[str, int]) -> None:
            for title, count in done.items():
                bar.update(bars[title], completed=count)

        results = play_quickstart(output, changes, jobs, report)
    console.print(_quickstart_table(results))
    console.tell(
        "One run of each shows how to look and decides little. Over eight seeds: docs/results/micro.md, by sdar-gym "
        "reproduce micro; what follows from it: docs/when-does-the-teacher-help.md"
    )
    page, _ = write_page([Recording(run.folder(output).path) for run in (RIGHT, WRONG)], output / "view.html")
    console.tell(f"runs: {output}\nviewer, right beside wrong skills: {page.as_uri()}")


def _quickstart_table(results: Sequence[tuple[QuickRun, Comparison]]) -> Table:
    tasks, panel = results[0][1].all.tasks, results[0][1].panel
    table = Table(
        title=f"success on {panel} ({tasks} held-out tasks), without skills in the prompt", title_justify="left"
    )
    for heading in ("run", "success [95 %]", "− GRPO, paired", "McNemar p"):
        table.add_column(heading, justify="left" if heading == "run" else "right")
    for run, found in results:
        low, high = wilson_interval(round(found.all.second * found.all.tasks), found.all.tasks)
        difference = f"{found.all.difference:+.3f} [{found.all.low:+.3f}, {found.all.high:+.3f}]"
        p = "" if found.mcnemar_p is None else f"{found.mcnemar_p:.3f}"
        cells = ("", "") if run is GRPO else (difference, p)
        table.add_row(run.title, f"{found.all.second:.3f} [{low:.3f}, {high:.3f}]", *cells)
    return table


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
    """Every arm's settings are read before the first run starts; what they open is tried with one arm of each part."""
    for part in parts:
        runs = [
            load_config(part.setting.config, [*part.setting.changes, *part.setting.test, *settings, *changes])
            for settings in (arm.settings(arm.values[0] if arm.values else None) for arm in part.arms)
        ]
        check_run(runs[-1])

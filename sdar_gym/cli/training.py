"""The command `train`: progress bar and result table."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from sdar_gym.cli.progress import progress_bar
from sdar_gym.cli.terminal import Terminal
from sdar_gym.configs import load_config
from sdar_gym.configs.schema import ConfigError, RunConfig
from sdar_gym.text import terminal_safe


def train_command(config: str | None, changes: Sequence[str], resume: Path | str | None) -> None:
    """Trains with a progress bar, then prints the summary.

    Args:
        config: A configuration; with `resume` possibly the first of the changes.
        changes: `key=value`.
        resume: Run folder to resume, or the address of its mirror, from which it is copied to `runs_dir`.
    """
    if isinstance(resume, str):
        from sdar_gym.runs.mirror import fetch_run

        given = dict(change.split("=", 1) for change in [config or "", *changes] if "=" in change)
        resume = fetch_run(resume, given.get("runs_dir", "runs"))
    run = _run_config(config, changes, resume)
    quiet()  # Loads transformers, so settings are checked before.
    from sdar_gym.rollout.notices import Notices
    from sdar_gym.runs.check import check_run
    from sdar_gym.runs.stop import RunStopped
    from sdar_gym.runs.train import Progress as RunProgress
    from sdar_gym.runs.train import train

    console = Terminal()
    for note in check_run(run):
        console.tell(note)
    warned = Notices()
    heading = f": {run.method} on {run.env}, {run.training.iterations} updates"
    console.print(Text.assemble((run.name, "bold"), heading))
    with progress_bar(console, "{task.fields[state]}") as bar:
        task = bar.add_task("training", total=run.training.iterations, state="starting, then the first evaluation")

        def report(progress: RunProgress) -> None:
            train_part = "" if progress.train_success is None else f"train {progress.train_success:.2f} · "
            # Beside training, the first evaluation may be in progress still.
            panel_part = f"panel {progress.evaluation['success']:.2f}" if progress.evaluation else "first evaluation"
            state = f"{train_part}{panel_part}"
            bar.update(task, completed=progress.update, total=progress.updates, state=state)
            for sentence in warned.new(progress.figures):
                bar.console.print(f"update {progress.update}: {sentence}", style="yellow")

        try:
            folder, summary = train(run, resume, report)
        except RunStopped as stopped:
            bar.stop()
            Terminal(stderr=True).tell(stopped.message)
            raise
    console.print(result_table([("before", summary["before"]), ("after", summary["after"])]))
    console.print(f"{summary['updates']} updates in {summary['seconds']:.0f} s")
    console.tell(f"run folder: {folder.path}")
    from sdar_gym.viewer.page import write_page
    from sdar_gym.viewer.recording import Recording, RecordingError

    try:
        page, _ = write_page([Recording(folder.path)])
    except RecordingError as error:  # The run itself is complete.
        console.print(f"No viewer page: {terminal_safe(str(error))}", style="yellow")
    else:
        console.tell(f"viewer: {page.as_uri()}")


def _run_config(config: str | None, changes: Sequence[str], resume: Path | None) -> RunConfig:
    if resume is None:
        if config is None:
            raise ConfigError("Name a configuration (quickstart, or a YAML file), or a run to continue: --resume RUN.")
        return load_config(config, changes)
    from sdar_gym.runs.resume import resumed_run

    # If only changes are given, the first one arrives as `config`.
    if config is not None and "=" in config and not Path(config).exists():
        config, changes = None, [config, *changes]
    resumption, unused = resumed_run(resume, config, changes)
    lines = [f"{resumption.folder.path} continues after update {resumption.manifest.update}"]
    lines += [f"changed: {change}" for change in resumption.changes]
    if unused:
        lines.append(f"ignored, since the run keeps its saved settings: {', '.join(unused)} of {config}")
    Terminal().tell("\n".join(lines))
    return resumption.run


def result_table(results: Sequence[tuple[str, dict[str, Any]]]) -> Table:
    """Evaluation results side by side.

    Args:
        results: Name and summary of each.
    """
    from sdar_gym.evaluation.summary import success_by_type

    first = results[0][1]
    coverage = "" if first["skill_coverage"] is None else f", skill coverage {first['skill_coverage']:.0%}"
    repeats = f", {first['repeats']} episodes each" if first["repeats"] > 1 else ""
    table = Table(
        title=(
            f"success on {first['panel']} ({first['tasks']} tasks{repeats}, hash {first['panel_hash']}), "
            f"T={first['temperature']:g}, seed {first['seed']}, "
            f"{'with' if first['with_skills'] else 'without'} skills{coverage}"
        ),
        title_justify="left",
        title_style="",
    )
    table.add_column("")
    for name, _ in results:
        table.add_column(Text(terminal_safe(name)), justify="right")
    table.add_row("all tasks", *(f"{result['success']:.3f}" for _, result in results), style="bold")
    table.add_row("95 % interval", *(f"{r['success_low']:.3f} to {r['success_high']:.3f}" for _, r in results))
    # Of several episodes a task: the chance that one of k succeeds, and that all of them do.
    for name in [
        name for name in first if name.startswith(("pass@", "pass^")) and name[5:].isdigit() and name[5:] != "1"
    ]:
        table.add_row(name, *(f"{result.get(name, float('nan')):.3f}" for _, result in results))
    by_type = [success_by_type(result) for _, result in results]
    for kind in by_type[0]:
        table.add_row(kind, *(f"{rates.get(kind, float('nan')):.2f}" for rates in by_type))
    for name in [name for name in first if name.startswith(("env/", "custom/"))]:
        table.add_row(name.partition("/")[2], *(f"{result.get(name, float('nan')):.3f}" for _, result in results))
    teachers = [result.get("teacher") for _, result in results]
    if any(teachers):
        # A teacher that shares the student's weights can get worse during training.
        tasks = next(teacher["tasks"] for teacher in teachers if teacher)
        table.add_row(
            f"its teacher, with its view ({tasks} tasks)",
            *(f"{teacher['success']:.3f}" if teacher else "" for teacher in teachers),
        )
    table.add_row("mean turns", *(f"{result['episode_turns']:.1f}" for _, result in results))
    # Two rows, since the remedies differ: a response without the required form, an action that the environment refuses.
    for label, name in (
        ("responses not in the form", "form_errors"),
        ("actions not understood", "action_errors"),
        ("responses cut off", "cut_off"),
        ("prompts without all past turns", "prompts_cut"),
    ):
        table.add_row(label, *(f"{result[name]:.1%}" for _, result in results))
    table.add_row(
        "tokens a prompt", *(f"{r['prompt_tokens_mean']:.0f} (max {r['prompt_tokens_max']})" for _, r in results)
    )
    table.add_row(
        "tokens a response", *(f"{r['response_tokens_mean']:.1f} (max {r['response_tokens_max']})" for _, r in results)
    )
    return table


def quiet() -> None:
    """Silences log messages of libraries during the progress bar, except for errors."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()

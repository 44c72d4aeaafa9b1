"""The commands `train` and `eval`: progress bars and result tables."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from sdar_gym.cli.path_arguments import check_output_folder
from sdar_gym.cli.terminal import Column, Terminal
from sdar_gym.configs import load_config
from sdar_gym.configs.load import PUBLISHED
from sdar_gym.configs.schema import ConfigError, RunConfig
from sdar_gym.paths import is_uri, local_path, without_password
from sdar_gym.text import shortened, terminal_safe


def train_command(config: str | None, changes: Sequence[str], resume: Path | None) -> None:
    """Trains with a progress bar, then prints the summary."""
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
            state = f"{train_part}panel {progress.evaluation['success']:.2f}"
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


def eval_command(checkpoint: str, changes: Sequence[str], config: str | None, output: Path | None) -> None:
    """Plays a panel with a progress bar, then prints the result."""
    if is_uri(checkpoint) and not checkpoint.startswith("file:"):
        raise ConfigError(
            f"{shortened(without_password(checkpoint))} is an address; a policy is a local folder, builtin:tiny or a "
            "hub model's name. Copy it first."
        )
    if output is not None:
        check_output_folder("--output", output)
    folder = local_path("policy", checkpoint)
    is_run = _is_file(folder / "config.yaml")
    model = str(folder / "policy") if is_run else checkpoint
    # The quick start's prompt does not explain the task: only the tiny policy was trained on it.
    default = "quickstart" if checkpoint.startswith("builtin:") else PUBLISHED
    chosen = config or (str(folder / "config.yaml") if is_run else default)
    run = load_config(chosen, changes)
    if is_run and not (folder / "policy").is_dir():
        raise ConfigError(f"{folder} holds no exported policy: the run has not finished. Use --resume {folder}.")
    quiet()
    from sdar_gym.evaluation.panels import play_panel
    from sdar_gym.policy.trained_prompt import prompt_differences
    from sdar_gym.rollout.notices import notices

    console = Terminal()
    console.tell(
        f"{run.env}, configuration {chosen}: context {run.rollout.context}, prompt {run.rollout.prompt}, "
        f"{'with' if run.rollout.think else 'without'} reasoning, up to {run.rollout.max_prompt_tokens} + "
        f"{run.rollout.max_response_tokens} tokens, "
        f"T={run.evaluation.temperature:g}"
    )
    for difference in prompt_differences(folder / "policy" if is_run else folder, run.rollout):
        console.print(f"The policy was trained with other prompts. {difference}.", style="yellow")
    started = time.perf_counter()
    with progress_bar(console, "episodes") as bar:
        task = bar.add_task("evaluating", total=run.evaluation.tasks * run.evaluation.repeats)
        summary, episodes = play_panel(run, model, lambda done, total: bar.update(task, completed=done, total=total))
    console.print(result_table([(checkpoint, summary)]))
    seconds = time.perf_counter() - started
    turns = [turn for episode in episodes for turn in episode.turns]
    read, sampled = sum(t.prompt_tokens - t.cached_tokens for t in turns), sum(len(t.response_ids) for t in turns)
    console.print(
        f"{len(episodes)} episodes in {seconds:.0f} s: {read} prompt tokens read and {sampled} response tokens, "
        f"{(read + sampled) / max(seconds, 1e-9):.0f} tokens/s"
    )
    for sentence in notices(summary).values():
        console.print(sentence, style="yellow")
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        (output / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        with (output / "episodes.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(episode.to_json(), ensure_ascii=False) + "\n" for episode in episodes)
        console.tell(f"written to {output}")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # A name too long for the file system, or a folder that may not be read.
        return False


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


def progress_bar(console: Terminal, text: str) -> Progress:
    """A progress bar with count, elapsed and remaining time.

    Args:
        console: Where it is drawn.
        text: Its last column, which may name the task's fields.
    """
    return Progress(
        Column("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Column(text),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


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

"""The command `rescore`: an evaluation scored again by the environment as it is now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import typer

from sdar_gym.cli.evaluation_plan import recorded_config
from sdar_gym.cli.path_arguments import check_output_folder
from sdar_gym.cli.progress import progress_bar
from sdar_gym.cli.terminal import Terminal
from sdar_gym.configs.record import settings_of, versions
from sdar_gym.configs.schema import ConfigError
from sdar_gym.evaluation.folder import EvaluationFolder
from sdar_gym.evaluation.rescore import Rescored, rescore
from sdar_gym.evaluation.summary import summarize_finished
from sdar_gym.paths import local_path
from sdar_gym.rollout.environments import make_env

# Episodes that differ and are listed; with --output all of them can be compared.
_LISTED = 20


def rescore_command(path: Path, changes: Sequence[str], output: Path | None) -> None:
    """Prints what differs, and writes the evaluation with the new scores; exit status 1 if an episode failed."""
    folder = EvaluationFolder(local_path("evaluation", path))
    record, panel, episodes = folder.record(), folder.panel(), folder.episodes()
    if not episodes:
        raise ConfigError(f"{folder.path} has no finished episode.")
    if output is not None:
        check_output_folder("--output", output)
        EvaluationFolder(local_path("--output", output)).refuse_another()
    keys = [change.partition("=")[0].strip() for change in changes]
    other = [key for key in keys if not key.startswith("env_config.") and key != "imports"]
    if other:
        raise ConfigError(f"{other[0]} plays no part: only arguments of the environment do, env_config.NAME=VALUE.")
    hidden = [name for name in record.secrets_left_out if name.startswith("env_config.") and name not in keys]
    if hidden:
        raise ConfigError(f"{folder.path} does not keep the password of {', '.join(hidden)}; give the setting again.")
    run = recorded_config(record, folder.path, changes)
    settings, console = run.evaluation, Terminal()
    env = make_env(run.env, run.env_config)
    try:
        with progress_bar(console, "episodes") as bar:
            task = bar.add_task("scoring", total=len(episodes))
            results = rescore(env, episodes, settings.seed, lambda _: bar.advance(task))
    finally:
        env.close()
    finished = [each.now for each in results if each.now.ended != "error"]
    failed = len(results) - len(finished)
    before, now = (sum(episode.won for episode in side) for side in (episodes, finished))
    different = [each for each in results if each.differences]
    console.tell(f"{len(episodes)} episodes of {folder.path}: {before} were won, {now} are now")
    _list_differences(console, different)
    if output is not None and finished:
        about = {**record.about, "rescored_from": str(folder.path), "versions": versions()}
        target = EvaluationFolder(local_path("--output", output))
        target.begin(replace(record, settings=settings_of(run), about=about), panel)
        for each in results:
            target.add(each.now)
        target.write_summary(
            summarize_finished(
                finished, panel, settings.repeats, settings.temperature, settings.seed, settings.with_skills
            )
        )
        console.tell(f"written to {target.path}")
    if failed:
        console.print(f"{failed} episodes could not be played and have no score.", style="bold red")
        raise typer.Exit(1)


def _list_differences(console: Terminal, different: Sequence[Rescored]) -> None:
    if not different:
        console.tell("observations, rewards and scores are all the same")
        return
    console.tell(f"{len(different)} differ:")
    for each in different[:_LISTED]:
        console.tell(f"  {each.before.episode_id} {each.before.task_id}: {'; '.join(each.differences)}")
    if len(different) > _LISTED:
        console.tell(f"  and {len(different) - _LISTED} more")

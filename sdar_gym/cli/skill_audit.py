"""`sdar-gym skills audit`: what skills are worth to a policy, as two tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import TaskID

from sdar_gym.cli.evaluated_policy import evaluated_policy
from sdar_gym.cli.path_arguments import check_output_file
from sdar_gym.cli.progress import progress_bar
from sdar_gym.cli.terminal import Terminal, table
from sdar_gym.cli.training import quiet
from sdar_gym.configs import load_config
from sdar_gym.configs.schema import ConfigError, RunConfig
from sdar_gym.text import terminal_safe

if TYPE_CHECKING:
    from sdar_gym.evaluation.skill_audit import AuditRow, SkillAudit

# Settings of an evaluation that an audit decides itself, and what to use instead.
_DECIDED = {
    "split": "--split",
    "panel": "--split and --tasks",
    "tasks": "--tasks",
    "repeats": "--repeats",
    "temperature": "rollout.temperature, the one of training",
    "top_p": "rollout.temperature alone, as in training",
    "top_k": "rollout.temperature alone, as in training",
    "with_skills": "nothing: an audit plays without and with skills",
}
_NUMBERS = ("tasks", "without", "with")


def audit_command(
    policy: str,
    changes: Sequence[str],
    config: str | None,
    env: str | None,
    library: str | None,
    strategy: str | None,
    split: str | None,
    tasks: int,
    repeats: int,
    alone: bool,
    json_output: Path | None,
) -> None:
    """Plays tasks without and with skills, and prints what each task type and skill gains."""
    if json_output is not None:
        check_output_file("--json", json_output)
    named = evaluated_policy(policy)
    chosen = config or named.default_config
    run = _run(chosen, changes, env, library, strategy)
    quiet()
    from sdar_gym.evaluation.skill_audit import audit_skills
    from sdar_gym.policy.trained_prompt import prompt_differences

    console = Terminal()
    with named.loaded() as model, progress_bar(console, "episodes") as bar:
        for difference in prompt_differences(Path(model), run.rollout):
            bar.console.print(f"The policy was trained with other prompts. {difference}.", style="yellow")
        task = bar.add_task("playing", total=2 * tasks * repeats)
        scoring: list[TaskID] = []

        def scored(done: int, total: int) -> None:
            if not scoring:
                scoring.append(bar.add_task("scoring", total=total))
            bar.update(scoring[0], completed=done)

        audit = audit_skills(
            run,
            model,
            split=split,
            tasks=tasks,
            repeats=repeats,
            alone=alone,
            report=lambda done, total: bar.update(task, completed=done, total=total),
            scored=scored,
        )
    _print(console, policy, chosen, audit)
    if json_output is not None:
        content = {
            "settings": audit.settings | {"policy": policy, "config": chosen},
            "tasks_without_skills": audit.without_skills,
            "tasks_left_out": audit.left_out,
            "rows": [asdict(row) for row in audit.rows],
        }
        json_output.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        console.tell(f"written to {json_output}")


def _run(chosen: str, changes: Sequence[str], env: str | None, library: str | None, strategy: str | None) -> RunConfig:
    for change in changes:
        name = change.partition("=")[0].strip().removeprefix("evaluation.")
        if change.strip().startswith("evaluation.") and name in _DECIDED:
            raise ConfigError(f"evaluation.{name} does not reach an audit; use {_DECIDED[name]}.")
    given = {"env": env, "skills.library": library, "skills.strategy": strategy}
    extra = [f"{name}={value}" for name, value in given.items() if value is not None]
    return load_config(chosen, [*extra, *changes])


def _print(console: Terminal, policy: str, chosen: str, audit: SkillAudit) -> None:
    settings = audit.settings
    repeats = f", {settings['repeats']} episodes each" if settings["repeats"] > 1 else ""
    shown = "each skill alone" if settings["alone"] else "all retrieved skills together"
    console.tell(
        f"{policy} on {settings['env']}, configuration {chosen}, {settings['panel']} (hash {settings['panel_hash']})"
        f"{repeats}, T={settings['temperature']:g}, seed {settings['seed']}\n"
        f"library {settings['library']}, strategy {settings['strategy']}, k={settings['k']}, "
        f"{'with' if settings['include_general'] else 'without'} general skills; rows of skills: {shown} in the prompt"
    )
    for kind in ("all", "task type", "skill"):
        found = table(())
        for column in (f"by {kind}" if kind != "all" else "", "tasks", "without", "with", "difference", "verdict"):
            short = column in ("difference", "verdict")  # Whole, so that names are what is folded.
            found.add_column(column, overflow="fold", justify="right" if column in _NUMBERS else "left", no_wrap=short)
        for row in audit.rows:
            if row.kind == kind:
                found.add_row(*_success(row))
        console.print(found)
        console.print()
    console.tell("Gap: log-probability with skills minus without, a token, of the tokens sampled without skills (nats)")
    head = ("failed episodes", "won episodes", "actions, failed", "actions, won")
    console.print(table(("", *head), [_gaps(row) for row in audit.rows if row.kind != "task type"]))
    console.print()
    count = len(audit.rows)
    console.tell(
        f"{count} intervals: if no skill made a difference, about {0.05 * count:.1f} of them would exclude 0 by chance."
    )
    if audit.without_skills:
        console.tell(f"{audit.without_skills} tasks got no skill and are in no row.")
    if audit.left_out:
        console.tell(f"{audit.left_out} tasks ended with an error of the environment and are in no row.")


def _success(row: AuditRow) -> tuple[str, ...]:
    return (
        terminal_safe(row.name),
        str(row.tasks),
        f"{row.student:.2f}",
        f"{row.teacher:.2f}",
        f"{row.difference:+.2f} [{row.low:+.2f}, {row.high:+.2f}]",
        row.verdict,
    )


def _gaps(row: AuditRow) -> tuple[str, ...]:
    values = (row.gap_failed, row.gap_won, row.action_gap_failed, row.action_gap_won)
    return (terminal_safe(row.name), *("-" if value is None else f"{value:+.3f}" for value in values))

"""Acceptance test of a warm-started tiny policy: weak alone, strong with a privileged text in its prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sdar_gym.configs.schema import RunConfig
from sdar_gym.envs.tasks import TaskPanel, freeze_panel, split_panel
from sdar_gym.evaluation.panels import PanelPlayer, play_panel
from sdar_gym.evaluation.summary import wilson_interval
from sdar_gym.rollout.environments import make_env
from sdar_gym.rollout.privileged_context import requests_with_view

# Ranges of success on the evaluation panel.
WITHOUT_SKILLS = (0.20, 0.40)
WITH_SKILLS = 0.90
WITH_VIEW = 0.70
# With a control: alone, with skills, with the skills of another task type.
ALONE = (0.25, 0.45)
READ = 0.85
MISLED = 0.15
VIEWS = ("solution", "sibling", "feedback")
# Episodes of each task, so that most tasks have a successful sibling.
_REPEATS = 8
# The panel of an acceptance with a control, and how many tasks of the split are left to the panels of runs.
_TASKS = 192
_OF_RUNS = 400


def measure_skills(
    run: RunConfig, model_name: str, report: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, Any]:
    """Evaluate a policy without and with skills in its prompt.

    Args:
        run: Configuration of panel, prompt, sampling and skills.
        model_name: The policy's name.
        report: Called with episodes done and episodes in total, over both evaluations.

    Returns:
        Both summaries, and `accepted`.
    """
    results = {}
    for number, with_skills in enumerate((False, True)):
        settings = replace(run.evaluation, with_skills=with_skills)

        def report_total(done: int, total: int, before: int = number) -> None:
            report(before * total + done, 2 * total)

        summary, _ = play_panel(replace(run, evaluation=settings), model_name, report_total)
        results["with_skills" if with_skills else "without_skills"] = summary
    low, high = WITHOUT_SKILLS
    accepted = low <= results["without_skills"]["success"] <= high and results["with_skills"]["success"] > WITH_SKILLS
    return {**results, "accepted": accepted}


def acceptance_panel(run: RunConfig) -> TaskPanel:
    """Tasks of the evaluation split that no run's panel of up to 400 tasks has.

    Args:
        run: Names environment and split.
    """
    env = make_env(run.env, run.env_config)
    try:
        split = run.evaluation.split or env.splits[min(1, len(env.splits) - 1)]
        taken = set(split_panel(run.env, env, split, _OF_RUNS).task_ids)
        types = {task_id: env.task_type(task_id) for task_id in env.task_ids(split) if task_id not in taken}
        return freeze_panel(f"{split}-acceptance-{_TASKS}", run.env, types, _TASKS, types)
    finally:
        env.close()


def measure_control(
    run: RunConfig,
    model_name: str,
    report: Callable[[int, int], None] = lambda done, total: None,
    panel: TaskPanel | None = None,
) -> dict[str, Any]:
    """Evaluate a policy without skills, with them, and with those of another task type, on a panel that no run plays.

    Args:
        run: Configuration of prompt, sampling and skills.
        model_name: The policy's name.
        report: Called with episodes done and episodes in total, over all evaluations.
        panel: The tasks; by default `acceptance_panel`.

    Returns:
        The summaries, and `accepted`.
    """
    panel = panel or acceptance_panel(run)
    with_skills = replace(run, evaluation=replace(run.evaluation, with_skills=True))
    runs = {
        "without_skills": replace(run, evaluation=replace(run.evaluation, with_skills=False)),
        "with_skills": with_skills,
        "wrong_skills": replace(with_skills, skills=replace(run.skills, library="wrong")),
    }
    results: dict[str, Any] = {}
    for number, (name, each) in enumerate(runs.items()):

        def report_total(done: int, total: int, before: int = number) -> None:
            report(before * total + done, len(runs) * total)

        with PanelPlayer(each, model_name, panel=panel) as player:
            results[name] = player.summary(player.play(player.requests(), report_total))
    low, high = ALONE
    accepted = (
        low <= results["without_skills"]["success"] <= high
        and results["with_skills"]["success"] > READ
        and results["wrong_skills"]["success"] < MISLED
    )
    return {**results, "accepted": accepted}


def measure_views(
    run: RunConfig,
    model_name: str,
    views: Sequence[str] = VIEWS,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Evaluate a policy alone, and with what a teacher's views show of those episodes, where a verifier checks answers.

    Args:
        run: Configuration of panel, prompt and sampling.
        model_name: The policy's name.
        views: The teacher's views.
        report: Called with episodes done and episodes in total.

    Returns:
        The summary `alone`; for each view its success with a Wilson interval, the number of episodes, and the success
        alone in the very same episodes; and `accepted`.
    """
    run = replace(run, evaluation=replace(run.evaluation, repeats=_REPEATS))
    with PanelPlayer(run, model_name) as player:
        requests = player.requests()
        total = len(requests) * (1 + len(views))
        first = player.play(requests, lambda done, _: report(done, total))
        won = {episode.episode_id: episode.won for episode in first}
        results: dict[str, Any] = {"alone": player.summary(first)}
        for number, view in enumerate(views, start=1):
            # Other draws than in the first attempt.
            shown = requests_with_view(view, first, run.evaluation.seed + number)
            episodes = player.play(shown, lambda done, _, before=number: report(before * len(requests) + done, total))
            wins = sum(episode.won for episode in episodes)
            low, high = wilson_interval(wins, len(episodes))
            results[view] = {
                "success": wins / len(episodes),
                "success_low": low,
                "success_high": high,
                "episodes": len(episodes),
                "same_episodes_alone": sum(won[episode.episode_id] for episode in episodes) / len(episodes),
            }
    low, high = WITHOUT_SKILLS
    accepted = low <= results["alone"]["success"] <= high and all(
        results[view]["success"] > WITH_VIEW for view in views
    )
    return {**results, "accepted": accepted}

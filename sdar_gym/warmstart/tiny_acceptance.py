"""Acceptance test of a warm-started policy: weak without skills, strong with skills in its prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sdar_gym.configs.schema import RunConfig
from sdar_gym.evaluation.panels import play_panel

# Ranges of success on the evaluation panel.
WITHOUT_SKILLS = (0.20, 0.40)
WITH_SKILLS = 0.90


def measure_base(
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

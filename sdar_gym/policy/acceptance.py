"""Whether a warm-started policy is fit to learn from a teacher: weak without skills, strong with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sdar_gym.configs.schema import RunConfig
from sdar_gym.evaluation.panels import play_panel

# A base is accepted by what it does, never by how long it was trained.
WITHOUT_SKILLS = (0.20, 0.40)
WITH_SKILLS = 0.90


def measure_base(
    run: RunConfig, model_name: str, report: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, Any]:
    """Play the panel without and with skills in the acting policy's prompt.

    Args:
        run: Says panel, prompt, sampling and skills.
        model_name: The policy.
        report: Called with episodes done and asked, over both.

    Returns:
        Both summaries, and `accepted`.
    """
    results = {}
    for number, with_skills in enumerate((False, True)):
        settings = replace(run.evaluation, with_skills=with_skills)

        def tell(done: int, total: int, before: int = number) -> None:
            report(before * total + done, 2 * total)

        summary, _ = play_panel(replace(run, evaluation=settings), model_name, tell)
        results["with_skills" if with_skills else "without_skills"] = summary
    low, high = WITHOUT_SKILLS
    accepted = low <= results["without_skills"]["success"] <= high and results["with_skills"]["success"] > WITH_SKILLS
    return {**results, "accepted": accepted}

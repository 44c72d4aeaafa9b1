"""Math's prompts: the problem, earlier answers with what was wrong, and the box for the answer."""

from __future__ import annotations

from collections.abc import Mapping

from sdar_gym.envs.math.answers import find_answer
from sdar_gym.envs.problems.prompt import CompactProblemTemplate, ProblemTemplate
from sdar_gym.envs.prompting import PromptTemplate


def _has_answer(action: str) -> bool:
    return find_answer(action) != ""


TEMPLATES: Mapping[str, PromptTemplate] = {
    "window": ProblemTemplate(
        "You solve mathematical problems.", r"Put the final answer in \boxed{} at the end.", _has_answer
    ),
    "compact": CompactProblemTemplate(_has_answer),
}

"""Science's prompts: the problem, earlier answers with what was wrong, and the form of an answer."""

from __future__ import annotations

from collections.abc import Mapping

from sdar_gym.envs.problems.prompt import CompactProblemTemplate, ProblemTemplate
from sdar_gym.envs.prompting import PromptTemplate
from sdar_gym.envs.science.answers import find_answer

_ROLE = "You solve problems of physics, chemistry, biology and materials science."
_FORM = (
    "End with the result in tags: <answer>…</answer>. A quantity is a number with its unit, such as 12.5 m/s; "
    "of several options, give the letter."
)


def has_answer(action: str) -> bool:
    """Whether an answer can be found in an action."""
    return bool(find_answer(action))


TEMPLATES: Mapping[str, PromptTemplate] = {
    "window": ProblemTemplate(_ROLE, _FORM, has_answer),
    "compact": CompactProblemTemplate(has_answer),
}

"""Prompts of programming tasks: with instructions for language models, and compact ones for very small models."""

from __future__ import annotations

from collections.abc import Mapping

from sdar_gym.envs.code.programs import has_program
from sdar_gym.envs.problems.prompt import CompactProblemTemplate, ProblemTemplate
from sdar_gym.envs.prompting import PromptTemplate

TEMPLATES: Mapping[str, PromptTemplate] = {
    "window": ProblemTemplate(
        "You are an expert Python programmer. You write correct programs that pass all tests, edge cases included.",
        "Give the whole program in one block that begins with a line ```python and ends with a line ```.",
        has_program,
    ),
    # The action is the program itself, without a block around it.
    "compact": CompactProblemTemplate(has_program),
}

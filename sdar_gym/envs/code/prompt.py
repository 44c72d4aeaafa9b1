"""Prompts of programming tasks: with instructions for language models, and compact ones for very small models."""

from __future__ import annotations

from collections.abc import Mapping

from sdar_gym.envs.code.programs import find_program, has_program
from sdar_gym.envs.problems.prompt import CompactProblemTemplate, ProblemTemplate
from sdar_gym.envs.prompting import PromptTemplate


class CompactCodeTemplate(CompactProblemTemplate):
    """The task in one line; a response is the program alone."""

    def __init__(self) -> None:
        super().__init__(has_program)

    def respond(self, action: str, *, think: bool) -> str:
        """The program without the block around it."""
        found = find_program(action)
        return super().respond(action if found is None else found.text, think=think)


TEMPLATES: Mapping[str, PromptTemplate] = {
    "window": ProblemTemplate(
        "You are an expert Python programmer. You write correct programs that pass all tests, edge cases included.",
        "Give the whole program in one block that begins with a line ```python and ends with a line ```.",
        has_program,
    ),
    "compact": CompactCodeTemplate(),
}

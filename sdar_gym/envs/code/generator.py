"""Embedded programming tasks: families of tasks with reference programs, tests and known mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sdar_gym.envs.code.drafts import Recipe, draft_of
from sdar_gym.envs.code.families.dictionaries import DICTIONARIES
from sdar_gym.envs.code.families.grids import GRIDS
from sdar_gym.envs.code.families.lists import LISTS
from sdar_gym.envs.code.families.numbers import NUMBERS
from sdar_gym.envs.code.families.recursion import RECURSION
from sdar_gym.envs.code.families.stdin import STDIN
from sdar_gym.envs.code.families.strings import STRINGS
from sdar_gym.envs.code.problem import CodeProblem, TestCases
from sdar_gym.envs.problems.embedded import SOURCE, EmbeddedProblems
from sdar_gym.text import shortened

# Part of the seeds: raise it whenever ids would give other tasks.
GENERATOR_VERSION = "code problems 1"
FAMILIES = (LISTS, STRINGS, NUMBERS, DICTIONARIES, GRIDS, RECURSION, STDIN)
LEVELS = tuple(range(1, max(family.levels for family in FAMILIES) + 1))
# Tasks of each family and level.
_SIZES = {"train": 96, "dev": 12, "test": 12}


@lru_cache(maxsize=1)
def embedded_problems() -> EmbeddedProblems[Recipe, CodeProblem]:
    """The generated tasks, shared by all environments of a process.

    No reference program is that of tasks in two splits.
    """
    return EmbeddedProblems(FAMILIES, _SIZES, GENERATOR_VERSION, lambda recipe: recipe.program, _finished)


def fenced(program: str) -> str:
    """A program as a response shows it."""
    return f"```python\n{program}\n```"


def check_levels(levels: Sequence[int] | int | None) -> tuple[int, ...]:
    """Validate levels of difficulty, a list or one; None for all.

    Raises:
        ValueError: They are no list of levels that there are.
    """
    if levels is None:
        return LEVELS
    given: Sequence[Any] = levels if isinstance(levels, list | tuple) else [levels]
    if not given or not all(type(level) is int and level in LEVELS for level in given):
        raise ValueError(
            f"levels must be a list of levels from {LEVELS[0]} to {LEVELS[-1]}, or one, got {shortened(levels)}."
        )
    return tuple(sorted(set(given)))


def _finished(task_id: str, name: str, split: str, recipe: Recipe) -> CodeProblem:
    draft = draft_of(recipe)
    return CodeProblem(
        task_id=task_id,
        task_type=name,
        split=split,
        text=draft.text,
        source=SOURCE,
        group=draft.program,
        solution=fenced(draft.program),
        entry=draft.entry,
        public=TestCases(draft.public),
        hidden=TestCases(draft.hidden),
        program=draft.program,
        mistakes=draft.mistakes,
    )

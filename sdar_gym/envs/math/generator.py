"""Embedded problems of Math: four families with three levels each, determined by task ids."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property, lru_cache

from sdar_gym.envs.data_files import SPLITS
from sdar_gym.envs.math.families.algebra import ALGEBRA
from sdar_gym.envs.math.families.arithmetic import ARITHMETIC
from sdar_gym.envs.math.families.counting import COUNTING
from sdar_gym.envs.math.families.number_theory import NUMBER_THEORY
from sdar_gym.envs.math.problems import MathDraft, MathProblem
from sdar_gym.envs.problems.embedded import SOURCE, EmbeddedProblems
from sdar_gym.envs.text_env import TaskNotFoundError
from sdar_gym.text import shortened
from sdar_gym.validation import whole_number

FAMILIES = (ARITHMETIC, ALGEBRA, NUMBER_THEORY, COUNTING)
LEVELS = 3
# Part of the seeds: raise it when a task id would give another problem.
GENERATOR_VERSION = "math 1"
# Problems of each family and level.
SIZES = {"train": 800, "dev": 100, "test": 100}


def solution_of(steps: Iterable[str], answer: str) -> str:
    r"""Worked steps and the answer in a box, as a solver writes them."""
    return "\n".join([*steps, rf"\boxed{{{answer}}}"])


def _finish(task_id: str, family: str, split: str, draft: MathDraft) -> MathProblem:
    return MathProblem(
        task_id=task_id,
        task_type=family,
        split=split,
        text=draft.text,
        source=SOURCE,
        group=draft.key,
        solution=solution_of(draft.steps, draft.answer),
        answer=draft.answer,
        level=int(task_id.split("/")[2]),
        steps=draft.steps,
        mistakes=draft.mistakes,
    )


@lru_cache(maxsize=1)
def embedded_problems() -> EmbeddedProblems[MathDraft, MathProblem]:
    """The embedded problems of all levels, shared by all environments of a process.

    A problem is in one split whatever its wording, since its key decides.
    """
    return EmbeddedProblems(FAMILIES, SIZES, GENERATOR_VERSION, lambda draft: draft.key, _finish)


class LevelProblems:
    """Problem source over the embedded problems of some levels.

    Args:
        levels: The levels.
    """

    def __init__(self, levels: tuple[int, ...]):
        self._levels = levels

    @property
    def splits(self) -> tuple[str, ...]:
        """All three splits."""
        return SPLITS

    def task_ids(self, split: str) -> tuple[str, ...]:
        """Task ids of a split; families and levels alternate."""
        embedded_problems().task_ids(split)  # Raises for an unknown split.
        return self._ids[split]

    @cached_property
    def _ids(self) -> dict[str, tuple[str, ...]]:
        return {
            split: tuple(
                task_id for task_id in embedded_problems().task_ids(split) if int(task_id.split("/")[2]) in self._levels
            )
            for split in SPLITS
        }

    def load(self, task_id: str) -> MathProblem:
        """Load a problem by task id."""
        problem = embedded_problems().load(task_id)
        if problem.level not in self._levels:
            levels = ", ".join(map(str, self._levels))
            raise TaskNotFoundError(
                f"{shortened(task_id)} is of level {problem.level}, and this environment plays level {levels}."
            )
        return problem


def checked_levels(levels: object) -> tuple[int, ...]:
    """Validate the levels to play: None for all, a level, or a list of levels.

    Raises:
        ValueError: They are not levels.
    """
    if levels is None:
        return tuple(range(1, LEVELS + 1))
    listed = list(levels) if isinstance(levels, list | tuple) else [levels]
    if not listed:
        raise ValueError(f"levels is empty; name some of 1 to {LEVELS}, or leave it out for all.")
    return tuple(sorted({whole_number("levels", level, 1, LEVELS) for level in listed}))

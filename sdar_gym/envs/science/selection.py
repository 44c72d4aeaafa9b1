"""Selected levels of the generated problems."""

from __future__ import annotations

from functools import lru_cache

from sdar_gym.envs.problems.embedded import EmbeddedProblems
from sdar_gym.envs.science.drafting import ScienceDraft
from sdar_gym.envs.science.generator import LEVELS, embedded_problems
from sdar_gym.envs.science.problem import ScienceProblem


@lru_cache(maxsize=8)
def selected(levels: tuple[int, ...]) -> EmbeddedProblems[ScienceDraft, ScienceProblem] | SelectedLevels:
    """The generated problems of some levels, shared by all environments of a process."""
    return embedded_problems() if levels == LEVELS else SelectedLevels(embedded_problems(), levels)


class SelectedLevels:
    """Problem source that lists only some levels of the generated problems.

    Args:
        problems: All of them.
        levels: The levels that are listed; a problem of another one can still be loaded by its id.
    """

    def __init__(self, problems: EmbeddedProblems[ScienceDraft, ScienceProblem], levels: tuple[int, ...]):
        self._problems = problems
        self._levels = frozenset(map(str, levels))
        self._ids: dict[str, tuple[str, ...]] = {}

    @property
    def splits(self) -> tuple[str, ...]:
        """All three splits."""
        return self._problems.splits

    def task_ids(self, split: str) -> tuple[str, ...]:
        """Task ids of the levels in a split."""
        if split not in self._ids:
            ids = self._problems.task_ids(split)
            self._ids[split] = tuple(task_id for task_id in ids if task_id.split("/")[2] in self._levels)
        return self._ids[split]

    def load(self, task_id: str) -> ScienceProblem:
        """Load a problem by task id."""
        return self._problems.load(task_id)

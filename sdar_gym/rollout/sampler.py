"""Which tasks an update plays: a function of the seed and the update's number, so a resumed run goes on exactly."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random


class TaskSampler:
    """Goes through a split in a new random order each epoch.

    Args:
        task_ids: The tasks of the training split.
        seed: Of the orders.

    Raises:
        ValueError: There are no tasks.
    """

    def __init__(self, task_ids: Sequence[str], seed: int):
        if not task_ids:
            raise ValueError("There are no tasks to train on.")
        self._ids = tuple(task_ids)
        self._seed = seed
        self._epoch = -1
        self._order: list[int] = []

    def take(self, step: int, count: int) -> list[str]:
        """The tasks of one update.

        Args:
            step: Number of the update, from 0.
            count: Tasks an update.
        """
        return [self._at(index) for index in range(step * count, (step + 1) * count)]

    def _at(self, index: int) -> str:
        epoch, position = divmod(index, len(self._ids))
        if epoch != self._epoch:
            rng = Random(f"sdar-gym tasks {self._seed} {epoch}")
            self._order = sorted(range(len(self._ids)), key=[rng.random() for _ in self._ids].__getitem__)
            self._epoch = epoch
        return self._ids[self._order[position]]

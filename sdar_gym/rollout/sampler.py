"""Task sampler: the tasks of an update follow from seed and update number, so a resumed run continues exactly."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random


class TaskSampler:
    """Samples tasks epoch by epoch, each epoch in a new random order.

    Args:
        task_ids: The tasks of the training split.
        seed: Seed of the orders.

    Raises:
        ValueError: `task_ids` is empty.
    """

    def __init__(self, task_ids: Sequence[str], seed: int):
        if not task_ids:
            raise ValueError("The training split has no tasks to train on.")
        self._ids = tuple(task_ids)
        self._seed = seed
        self._epoch = -1
        self._order: list[int] = []

    def take(self, step: int, count: int) -> list[str]:
        """The tasks of one update.

        Args:
            step: Number of the update, from 0.
            count: Tasks per update.
        """
        return [self._at(index) for index in range(step * count, (step + 1) * count)]

    def _at(self, index: int) -> str:
        epoch, position = divmod(index, len(self._ids))
        if epoch != self._epoch:
            rng = Random(f"sdar-gym tasks {self._seed} {epoch}")
            self._order = sorted(range(len(self._ids)), key=[rng.random() for _ in self._ids].__getitem__)
            self._epoch = epoch
        return self._ids[self._order[position]]

"""Plays given tasks one after the other, also where somebody else resets: vectors and training libraries do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gymnasium
from gymnasium.utils import RecordConstructorArgs

from sdar_gym.validation import text_list


class TaskSequence(gymnasium.Wrapper[str, str, str, str], RecordConstructorArgs):
    """Every reset without a task of its own begins the next task of a list; after the last one comes the first.

    Gymnasium's options of `reset` are for one episode, so that a vector which resets by itself goes on with random
    tasks of the environment's own split. With this wrapper it goes on with the tasks that were given.

    Example:
        >>> from functools import partial
        >>> ids = gymnasium.make("sdar/ALFWorld-v0").unwrapped.task_ids("valid_seen")[:32]
        >>> def make(share):
        ...     return TaskSequence(gymnasium.make("sdar/ALFWorld-v0"), share)
        >>> envs = gymnasium.vector.SyncVectorEnv([partial(make, ids[n::8]) for n in range(8)])

    Args:
        env: A text environment.
        task_ids: The tasks, in the order in which they are played.

    Raises:
        ValueError: There are none, or they are no texts.
    """

    def __init__(self, env: gymnasium.Env[str, str], task_ids: Iterable[str]):
        ids = text_list("task_ids", task_ids if isinstance(task_ids, str) else tuple(task_ids))
        if not ids:
            raise ValueError("task_ids must name at least one task, got none.")
        RecordConstructorArgs.__init__(self, task_ids=ids)
        gymnasium.Wrapper.__init__(self, env)
        self._ids = ids
        self._next = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Begin the next task; a seed begins the list anew, and options go before it."""
        if seed is not None:
            self._next = 0
        if not options:
            options = {"task_id": self._ids[self._next % len(self._ids)]}
            self._next += 1
        return self.env.reset(seed=seed, options=options)

"""`TaskSequence`: plays given tasks in order, even if a vector or a training library calls `reset`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gymnasium
from gymnasium.utils import RecordConstructorArgs

from sdar_gym.validation import text_list


class TaskSequence(gymnasium.Wrapper[str, str, str, str], RecordConstructorArgs):
    """Each reset without options starts the next task of a list, cyclically.

    Options of `reset` apply to one episode, so a vector environment with autoreset continues with random tasks of the
    environment's split. With this wrapper it continues with the given tasks.

    Example:
        >>> from functools import partial
        >>> ids = gymnasium.make("sdar/ALFWorld-v0").unwrapped.task_ids("valid_seen")[:32]
        >>> def make(share):
        ...     return TaskSequence(gymnasium.make("sdar/ALFWorld-v0"), share)
        >>> envs = gymnasium.vector.SyncVectorEnv([partial(make, ids[n::8]) for n in range(8)])

    Args:
        env: A text environment.
        task_ids: Task ids, in the order of play.

    Raises:
        ValueError: There are none, or they are not strings.
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
        """Start the next task. A seed restarts the list; options take precedence over it."""
        if seed is not None:
            self._next = 0
        if not options:
            options = {"task_id": self._ids[self._next % len(self._ids)]}
            self._next += 1
        return self.env.reset(seed=seed, options=options)

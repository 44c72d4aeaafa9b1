"""Learner watch: ends the wait for remote learners when one of them has died, and says so by one error."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.rllib.core.learner.learner_group import LearnerGroup

logger = logging.getLogger(__name__)

# Between two looks at the learners.
_INTERVAL_SECONDS = 1.0
# The others fail by themselves where the backend notices a closed connection, as gloo does; NCCL may wait for minutes.
_GRACE_SECONDS = 20.0


class LearnersLostError(RuntimeError):
    """Remote learners died; what they had learned since the last checkpoint is lost."""


@contextmanager
def watched(group: LearnerGroup) -> Iterator[None]:
    """Context manager for calls of learners.

    If one dies, its error raises at once, or the others, which wait for its gradients, are ended after 20 seconds.
    RLlib does not restart learners.

    Args:
        group: The learners; where they are in this process, nothing is done.

    Raises:
        LearnersLostError: A remote learner died within the block.
    """
    if group.is_local:
        yield
        return
    watch = _Watch(group._workers or ())
    watch.start()
    try:
        yield
    except Exception as error:
        lost = watch.lost()
        if not lost:
            raise
        logger.debug("A learner was lost.", exc_info=error)
        raise LearnersLostError(f"{lost} of {len(group)} learners died.") from error
    finally:
        watch.stop()


def _nothing(learner: Any) -> None:
    """Called on a learner: an answer means that it lives."""


class _Watch(threading.Thread):
    """Asks learners for a sign of life, which they give when they have done what they are at.

    Args:
        workers: The learners' handles.
    """

    def __init__(self, workers: Sequence[Any]):
        super().__init__(daemon=True, name="learner-watch")
        self._workers = workers
        self._asked: dict[Any, Any] = {}
        self._dead: set[Any] = set()
        self._ended = threading.Event()
        self._looking = threading.Lock()

    def run(self) -> None:
        while not self._ended.wait(_INTERVAL_SECONDS):
            if self._look(0.0):
                # Ends the wait for learners that wait for the dead one.
                if not self._ended.wait(_GRACE_SECONDS):
                    for worker in self._workers:
                        ray.kill(worker)
                return

    def stop(self) -> None:
        """Ends the watch."""
        self._ended.set()

    def lost(self) -> int:
        """Number of learners that are dead."""
        return self._look(5.0)

    def _look(self, seconds: float) -> int:
        with self._looking:
            asked = set(self._asked.values())
            for worker in self._workers:
                if worker not in asked and worker not in self._dead:
                    self._asked[worker.apply.remote(_nothing)] = worker
            ready, _ = (
                ray.wait([*self._asked], num_returns=len(self._asked), timeout=seconds) if self._asked else ([], [])
            )
            for answer in ready:
                worker = self._asked.pop(answer)
                try:
                    ray.get(answer)
                except RayActorError:
                    self._dead.add(worker)
            return len(self._dead)

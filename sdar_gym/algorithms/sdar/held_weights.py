"""Held weights: those of one update in Ray's object store, for env runners that play while the learner goes on."""

# RLlib declares most of what its classes get at run time as optional or not at all.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOptionalMemberAccess=false

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO


@dataclass(frozen=True, slots=True)
class HeldWeights:
    """What env runners play with, whatever the learner does meanwhile.

    Attributes:
        student: Reference to the state that runners take the policy's weights from.
        teacher: The same of a teacher that follows the student; None if it does not play.
        retriever: State of a retriever that learns, or None.
    """

    student: Any
    teacher: Any = None
    retriever: Mapping[str, Any] | None = None

    @classmethod
    def take(
        cls, learners: LearnerGroup, *, teacher: bool = False, retriever: Mapping[str, Any] | None = None
    ) -> HeldWeights:
        """Copies the learners' present weights.

        Args:
            learners: RLlib's group.
            teacher: Whether those of a teacher that follows the student are copied as well.
            retriever: State of a retriever that learns.
        """
        return cls(put_weights(learners), put_weights(learners, teacher=True) if teacher else None, retriever)

    def get_state(self) -> dict[str, Any]:
        """The student's weights, their version and the retriever's state, for `from_state`."""
        state: Any = ray.get(self.student)
        return {
            "weights": state[COMPONENT_RL_MODULE][DEFAULT_MODULE_ID],
            "version": state[WEIGHTS_SEQ_NO],
            "retriever": self.retriever,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> HeldWeights:
        """Holds again what `get_state` gave.

        Args:
            state: Its result.
        """
        student = {COMPONENT_RL_MODULE: {DEFAULT_MODULE_ID: state["weights"]}, WEIGHTS_SEQ_NO: state["version"]}
        return cls(ray.put(student), None, state["retriever"])


def put_weights(learners: LearnerGroup, *, teacher: bool = False) -> Any:
    """Puts the state that `EpisodeRunner.set_state` takes weights from into the object store.

    A remote learner does so itself: weights do not pass through the driver.

    Args:
        learners: RLlib's group; the first learner gives its weights, which all have.
        teacher: Whether they are those of a teacher that follows the student.

    Returns:
        Its reference.
    """

    def put(learner: Any) -> Any:
        if teacher:
            weights = {DEFAULT_MODULE_ID: learner.teacher_policy()}
        else:
            weights = learner.get_state(components=COMPONENT_RL_MODULE, inference_only=True)[COMPONENT_RL_MODULE]
        return ray.put({COMPONENT_RL_MODULE: weights, WEIGHTS_SEQ_NO: learner.weights_version})

    first = None if learners.is_local else learners._worker_manager.healthy_actor_ids()[:1]
    [found] = learners.foreach_learner(put, remote_actor_ids=first)
    reference: Any = found.get()
    if isinstance(reference, Exception):
        raise reference
    return reference

"""The learners as a group: RLlib's, with the state of an optimizer that they share out."""

# RLlib declares most of what its classes get at run time as optional or not at all.
# pyright: reportOptionalMemberAccess=false, reportIncompatibleMethodOverride=false, reportOptionalOperand=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.utils.annotations import override

from sdar_gym.training.sharded_adamw import COUNT, RANKS, merged_state, refuse_incomplete

# Key of a learner's state, beside RLlib's: functions that each return one rank's part of the optimizer's state.
OPTIMIZER_PARTS = "optimizer_parts"
_LEARNER, _OPTIMIZER = "learner", "optimizer"


class SDARLearnerGroup(LearnerGroup):
    """RLlib's group of learners, which asks the first learner for the state of all; the optimizer's may be in parts."""

    @override(LearnerGroup)
    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """RLlib's state, with the optimizer's from all learners, as Tune saves it; large models go by parts."""
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self._has_parts and _OPTIMIZER in state.get(_LEARNER, {}):
            state[_LEARNER][_OPTIMIZER] = merged_state([part() for part in self.optimizer_parts()])
        return state

    @override(LearnerGroup)
    def set_state(self, state: dict[str, Any]) -> None:
        """Restores a state of `get_state`, or one whose optimizer's state is in parts under `OPTIMIZER_PARTS`.

        Raises:
            ValueError: Parts are missing, or belong to another model.
        """
        learner = dict(state.get(_LEARNER, {}))
        parts = learner.pop(OPTIMIZER_PARTS, ())
        super().set_state(state | {_LEARNER: learner} if parts else state)
        self._load_optimizer_parts(parts)

    def optimizer_parts(self) -> list[Callable[[], dict[str, Any]]]:
        """The state of a shared optimizer by rank, as it is now; empty where one learner has the whole.

        Each learner puts its part into Ray's object store, so that it is kept as it is while learners go on; a call of
        a part gets it from there. So this process holds one part at a time.
        """
        if not self._has_parts:
            return []
        held = [each.get() for each in self.foreach_learner(lambda learner: ray.put(learner.optimizer_part()))]
        return [lambda reference=reference: ray.get(reference) for reference in held]

    def _load_optimizer_parts(self, parts: Sequence[Callable[[], dict[str, Any]]]) -> None:
        """One part after the other, of any number of learners."""
        ranks: list[int] = []
        count = 0
        for read in parts:
            part = read()
            ranks, count = ranks + part[RANKS], int(part[COUNT])
            reference = ray.put(part) if self.is_remote else None

            def load(learner: Any, part: Any = part if reference is None else None, reference: Any = reference) -> None:
                learner._set_optimizer_state(part if reference is None else ray.get(reference))

            for result in self.foreach_learner(load):
                result.get()
        if parts:
            refuse_incomplete(ranks, count)

    @property
    def _has_parts(self) -> bool:
        return self.config.num_learners > 1 and self.config.shards_optimizer

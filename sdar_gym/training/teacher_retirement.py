"""Teacher retirement: by task type, the distillation ends when teacher and student have come to agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sdar_gym.algorithms.losses.sampled_divergences import teacher_gap
from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.training.turn_batch import TurnBatch
from sdar_gym.validation import finite_number, whole_number

# About ten updates are remembered, and no type retires before it was measured in five: one easy batch is no evidence.
_DECAY, _LEAST_UPDATES = 0.9, 5


class TeacherRetirement:
    """Which task types are still distilled, by the running mean of |Δ| over their distilled tokens.

    A type whose mean falls below `distill.retire_gap` retires for good: without a teacher's pass nothing is measured
    that could call it back, and passes are what a retirement saves. What the student forgets afterwards is the reward's
    to repair.

    Args:
        objective: The settings; without `distill.retire_gap` nothing happens.

    Source:
        Ours.
    """

    def __init__(self, objective: Objective):
        self._objective = objective
        self._limit = None if objective.distill is None else objective.distill.retire_gap
        # By type: decayed sum of |Δ|, decayed number of tokens, updates with any.
        self._sums: dict[str, tuple[float, float, int]] = {}
        self._retired: set[str] = set()

    def without_retired(self, batch: TurnBatch) -> TurnBatch:
        """The batch with the turns of retired types marked, which are neither scored nor distilled.

        Args:
            batch: Before it is scored.
        """
        if not self._retired:
            return batch
        return replace(batch, retired_B=batch.of_types(self._retired))

    def observe(self, batch: TurnBatch) -> dict[str, float]:
        """Adds the gaps of an update, and retires types.

        Args:
            batch: Scored.

        Returns:
            `gap_abs/<task type>`, the running means of the types that are distilled, and `retired_types`; nothing
            without `distill.retire_gap`.
        """
        if self._limit is None or not batch.has_teacher_scores:
            return {}
        tokens_BT = batch.distilled_BT(self._objective) & batch.scored_B[:, None]
        gap_B = teacher_gap(batch.teacher_logp_BT, batch.student_logp_BT, tokens_BT).abs().double().sum(dim=1)
        for name in sorted({episode.task_type for episode in batch.episodes} - self._retired):
            of_type_B = batch.of_types({name})
            count = int(tokens_BT[of_type_B].sum())
            if count:
                total, tokens, updates = self._sums.get(name, (0.0, 0.0, 0))
                total = _DECAY * total + float(gap_B[of_type_B].sum())
                tokens, updates = _DECAY * tokens + count, updates + 1
                self._sums[name] = (total, tokens, updates)
                if updates >= _LEAST_UPDATES and total < self._limit * tokens:
                    self._retired.add(name)
        means = {
            f"gap_abs/{name}": total / tokens
            for name, (total, tokens, _) in sorted(self._sums.items())
            if name not in self._retired
        }
        return {**means, "retired_types": float(len(self._retired))}

    def get_state(self) -> dict[str, Any]:
        """State for a checkpoint; plain JSON."""
        return {"sums": {name: list(values) for name, values in self._sums.items()}, "retired": sorted(self._retired)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restores what `get_state` returned.

        Raises:
            ValueError: A value is not a number.
        """
        self._sums = {
            str(name): (
                finite_number(f"gap of {name}", total, low=0.0),
                finite_number(f"tokens of {name}", tokens, low=0.0),
                whole_number(f"updates of {name}", updates, 0),
            )
            for name, (total, tokens, updates) in state.get("sums", {}).items()
        }
        self._retired = {str(name) for name in state.get("retired", ())}

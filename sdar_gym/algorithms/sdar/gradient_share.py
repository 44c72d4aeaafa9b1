"""Gradient share: how strong the distillation is beside the policy gradient, and λ from a wanted share."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from sdar_gym.algorithms.objectives.objective import Objective

# Updates between two measurements, each of which costs two passes over an update's tokens.
_INTERVAL_TO_SET, _INTERVAL_TO_REPORT = 10, 50
# Both gradients of one batch are noisy: λ follows the geometric mean of several, of the first updates to begin with.
_KEPT = 5


class GradientShare:
    """Measured norms of the policy's and the distillation's gradient, and the coefficient that follows from them.

    With r = |g_policy| / |g_distill|, both of a whole update before its first gradient step and the latter at λ = 1, a
    wanted share s gives λ = s·r: the distillation's gradient then has s times the norm of the policy's. r is the
    geometric mean of the last five measurements, so that one batch does not decide.

    Args:
        objective: The settings.

    Attributes:
        ratios: The last measured r, oldest first.
    """

    def __init__(self, objective: Objective):
        self._objective = objective
        self.ratios: deque[float] = deque(maxlen=_KEPT)

    def is_due(self, step: int) -> bool:
        """Whether the norms are measured at this update.

        Args:
            step: Number of completed updates.
        """
        if not self._objective.distills_at(step) or self._objective.policy_coeff.at(step) == 0.0:
            return False
        assert self._objective.distill is not None
        if self._objective.distill.coeff.share:
            return len(self.ratios) < _KEPT or step % _INTERVAL_TO_SET == 0
        return step % _INTERVAL_TO_REPORT == 0

    def coefficient(self, step: int) -> float | None:
        """λ at this update; None if the objective's own coefficient holds.

        As long as no batch had both gradients, as where every episode failed, they count as equally long.

        Args:
            step: Number of completed updates.
        """
        distill = self._objective.distill
        if distill is None or not distill.coeff.share:
            return None
        wanted = distill.coeff.at(step)
        if not self.ratios:
            return wanted
        return wanted * math.exp(sum(map(math.log, self.ratios)) / len(self.ratios))

    def add(self, policy_norm: float, distill_norm: float) -> None:
        """Keeps a measurement; one without a policy gradient, or without a distillation's, says nothing about λ.

        Args:
            policy_norm: |g_policy|.
            distill_norm: |g_distill| at λ = 1.
        """
        ratio = policy_norm / distill_norm if distill_norm > 0 else 0.0
        if 0 < ratio < math.inf:
            self.ratios.append(ratio)

    def restore(self, ratios: Sequence[float]) -> None:
        """Restores the measurements.

        Args:
            ratios: Of a checkpoint.
        """
        self.ratios = deque(ratios, maxlen=_KEPT)

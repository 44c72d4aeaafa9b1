"""RLSD: the advantage is scaled token by token by how far the teacher agrees with its sign."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sdar_gym.algorithms.methods.method import Method
from sdar_gym.algorithms.methods.released_settings import RELEASED_BASE, SDAR_SOURCE, SHARED_DEVIATIONS, SKILLS_LIVE
from sdar_gym.algorithms.objectives.advantage_shaping import (
    AdvantageShaper,
    ShapingInputs,
    check_coefficient,
    register_shaper,
)
from sdar_gym.algorithms.objectives.schedule import Schedule
from sdar_gym.settings import setting

if TYPE_CHECKING:
    from torch import Tensor


@register_shaper("rlsd")
@dataclass(frozen=True, slots=True)
class RLSDShaper(AdvantageShaper):
    """Multiplier 1 + λ·clip(exp(sign(A)·Δ) - 1, ±limit).

    Source: RLSD (arXiv 2604.03128), as implemented in the SDAR repository.
    """

    coeff: Schedule = setting(Schedule.linear(0.5, 0.0, 100), "λ.")
    limit: float = setting(0.2, "Largest |u|.", above=0.0)

    def _check(self) -> None:
        check_coefficient(self.coeff, self.limit)

    def signal(self, turns: ShapingInputs) -> Tensor:
        """u, shape (B, T)."""
        from sdar_gym.algorithms.losses.sampled_divergences import teacher_gap

        gap_BT = teacher_gap(turns.teacher_logp_BT, turns.student_logp_BT, turns.response_mask_BT)
        agreement_BT = turns.base_advantage_B.sign()[:, None] * gap_BT
        return agreement_BT.clamp(max=20.0).expm1().clamp(-self.limit, self.limit)


METHODS = (
    Method(
        name="rlsd",
        objective=replace(RELEASED_BASE, teacher=SKILLS_LIVE, shaping=RLSDShaper()),
        summary="GRPO with an advantage that is scaled up, token by token, where the teacher agrees with its sign.",
        source=f"arXiv 2604.03128, as implemented in {SDAR_SOURCE}",
        deviations=(
            *SHARED_DEVIATIONS,
            "λ decays from 0.5 to 0 over 100 updates, as in the released scripts; the SDAR paper mentions no decay.",
        ),
    ),
)

"""OPID: the gap to a teacher with hindsight is added to the advantage of each token."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from sdar_gym.algorithms.methods.method import Method
from sdar_gym.algorithms.methods.released_settings import ON_RELEASED_BASE, RELEASED_BASE
from sdar_gym.algorithms.objectives.advantage_shaping import (
    AdvantageShaper,
    ShapingInputs,
    check_coefficient,
    register_shaper,
)
from sdar_gym.algorithms.objectives.schedule import Schedule
from sdar_gym.algorithms.objectives.teacher import Teacher, View, Weights
from sdar_gym.settings import setting

if TYPE_CHECKING:
    from torch import Tensor


@register_shaper("gap_bonus")
@dataclass(frozen=True, slots=True)
class GapBonus(AdvantageShaper):
    """Bonus λ·Δ of each token.

    Source: OPID (arXiv 2606.26790).
    """

    multiplies: ClassVar[bool] = False
    coeff: Schedule = setting(Schedule.constant(1e-3), "λ.")

    def _check(self) -> None:
        check_coefficient(self.coeff)

    def signal(self, turns: ShapingInputs) -> Tensor:
        """Δ, shape (B, T)."""
        from sdar_gym.algorithms.losses.sampled_divergences import teacher_gap

        return teacher_gap(turns.teacher_logp_BT, turns.student_logp_BT, turns.response_mask_BT)


METHODS = (
    Method(
        name="opid",
        objective=replace(RELEASED_BASE, teacher=Teacher(View.HINDSIGHT, Weights.LIVE), shaping=GapBonus()),
        summary="The gap to a teacher with hindsight is added to the advantage of each token.",
        source="arXiv 2606.26790; github.com/jinyangwu/OPID",
        deviations=(
            "Hindsight is written by rules from the finished episode; there a language model writes it.",
            "One view of the episode; there critical steps have skills of their own.",
            ON_RELEASED_BASE,
        ),
    ),
)

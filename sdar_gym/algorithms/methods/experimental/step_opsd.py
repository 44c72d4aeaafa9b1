"""StepOPSD: weight moves between the tokens of a turn toward those a recent teacher prefers (experimental)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sdar_gym.algorithms.methods.method import Method
from sdar_gym.algorithms.methods.released_settings import FROM_A_NOTE, ON_RELEASED_BASE, RELEASED_BASE
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


@register_shaper("step_opsd")
@dataclass(frozen=True, slots=True)
class TurnBudgetShaper(AdvantageShaper):
    """Multiplier 1 + λ·scale·tanh(sign(A)·Δ/2), normalized to a mean of 1 within each turn.

    Source: StepOPSD (arXiv 2605.27140), from a third party's reading note.
    """

    coeff: Schedule = setting(Schedule.linear(0.2, 0.0, 50), "λ.")
    scale: float = setting(0.2, "Largest |u|.", above=0.0)

    def _check(self) -> None:
        check_coefficient(self.coeff, self.scale)

    def signal(self, turns: ShapingInputs) -> Tensor:
        """u, shape (B, T)."""
        from sdar_gym.algorithms.losses.sampled_divergences import teacher_gap

        gap_BT = teacher_gap(turns.teacher_logp_BT, turns.student_logp_BT, turns.response_mask_BT)
        return self.scale * (0.5 * (turns.base_advantage_B.sign()[:, None] * gap_BT)).tanh()

    def multiplier(self, turns: ShapingInputs, coeff: float) -> Tensor:
        """The multiplier, whose mean within each turn is 1."""
        from sdar_gym.algorithms.losses.turn_reductions import turn_mean

        multiplier_BT = 1.0 + coeff * self.signal(turns)
        return multiplier_BT / turn_mean(multiplier_BT, turns.response_mask_BT).clamp(min=1e-6)[:, None]


METHODS = (
    Method(
        name="step_opsd",
        objective=replace(
            RELEASED_BASE, teacher=Teacher(View.SIBLING, Weights.STALE, every=10), shaping=TurnBudgetShaper()
        ),
        summary="Weight moves between the tokens of a turn toward those a recent teacher with a success prefers.",
        source="arXiv 2605.27140",
        deviations=(
            FROM_A_NOTE,
            "The gap is taken with the advantage's sign, so that agreement enlarges it; the note does not say.",
            "The sibling is the shortest success of the group; the paper takes the first.",
            ON_RELEASED_BASE,
        ),
        experimental=True,
    ),
)

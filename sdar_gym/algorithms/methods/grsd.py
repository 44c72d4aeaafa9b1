"""GRSD: turns are weighted by the teacher's mean gap relative to their group."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sdar_gym.algorithms.methods.method import Method
from sdar_gym.algorithms.methods.released_settings import ON_RELEASED_BASE, RELEASED_BASE, SKILLS_LIVE
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


@register_shaper("grsd")
@dataclass(frozen=True, slots=True)
class GRSDShaper(AdvantageShaper):
    """Multiplier from e = exp(sign(A)·mean gap of the turn) - 1, divided by the group's mean |e| and clipped.

    Source: GRSD (arXiv 2607.28076).
    """

    coeff: Schedule = setting(Schedule.constant(0.5), "λ.")
    limit: float = setting(0.2, "Largest |u|.", above=0.0)

    def _check(self) -> None:
        check_coefficient(self.coeff, self.limit)

    def signal(self, turns: ShapingInputs) -> Tensor:
        """u, shape (B, T); the same for all tokens of a turn."""
        from sdar_gym.algorithms.losses import turn_reductions as reduce
        from sdar_gym.algorithms.losses.sampled_divergences import teacher_gap

        mask_BT = turns.response_mask_BT
        gap_BT = teacher_gap(turns.teacher_logp_BT, turns.student_logp_BT, mask_BT)
        mean_BT = reduce.turn_mean(gap_BT, mask_BT)[:, None].expand_as(mask_BT)
        x_BT = (turns.base_advantage_B.sign()[:, None] * mean_BT).clamp(max=20.0).expm1()
        size_B = reduce.mean_by(reduce.turn_mean(x_BT.abs(), mask_BT), turns.group_B)
        return (x_BT / (size_B + 1e-6)[:, None]).clamp(-self.limit, self.limit)


METHODS = (
    Method(
        name="grsd",
        objective=replace(RELEASED_BASE, teacher=SKILLS_LIVE, shaping=GRSDShaper()),
        summary="Turns get more weight where the teacher's mean gap agrees with the outcome, relative to their group.",
        source="arXiv 2607.28076; github.com/BinbZheng1/GRSD, grsd_utils.py",
        deviations=(
            "The weighting only: its teacher reads advice that the policy writes from the group, here it reads skills; "
            "the loss that trains the writing is left out.",
            "The floor of the multiplier at 0.1 is left out: with these limits it is never reached.",
            ON_RELEASED_BASE,
        ),
    ),
)

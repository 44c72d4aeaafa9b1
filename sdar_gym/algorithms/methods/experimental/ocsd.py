"""OCSD: on the least certain turns, tokens are weighted by the effect of seeing the feedback (experimental)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from sdar_gym.algorithms.methods.method import Method
from sdar_gym.algorithms.methods.released_settings import FROM_A_NOTE, ON_RELEASED_BASE, RELEASED_BASE
from sdar_gym.algorithms.objectives.advantage_shaping import (
    AdvantageShaper,
    ShapingInputs,
    check_coefficient,
    register_shaper,
)
from sdar_gym.algorithms.objectives.distillation import Distillation
from sdar_gym.algorithms.objectives.schedule import Schedule
from sdar_gym.algorithms.objectives.teacher import Teacher, View, Weights
from sdar_gym.settings import setting

if TYPE_CHECKING:
    from torch import Tensor


@register_shaper("ocsd")
@dataclass(frozen=True, slots=True)
class ContrastShaper(AdvantageShaper):
    """Multiplier 1 + λ·tanh(sign(A)·c/2), c being the teacher's log-probability with minus without the feedback.

    Only the least likely turns are changed.

    Source: OCSD (arXiv 2608.04788), from a third party's reading note.
    """

    needs: ClassVar[tuple[str, ...]] = ("student", "teacher", "control")
    coeff: Schedule = setting(Schedule.constant(0.5), "λ.")
    uncertain_turns: float = setting(
        0.2, "Share of the turns that is changed: those least likely to the student.", above=0.0, below=1.0
    )

    def _check(self) -> None:
        check_coefficient(self.coeff, 1.0)

    def check_with(self, policy_coeff: Schedule, teacher: Teacher | None, distill: Distillation | None) -> None:
        """Refuses a teacher without a blanked prompt."""
        if teacher is not None and not teacher.blank_control:
            raise ValueError(
                "shaping.name='ocsd' is the difference between the teacher's prompt and the blanked one: set "
                "teacher.blank_control=true, with teacher.view='feedback'."
            )
        AdvantageShaper.check_with(self, policy_coeff, teacher, distill)

    def signal(self, turns: ShapingInputs) -> Tensor:
        """u, shape (B, T)."""
        from sdar_gym.algorithms.losses.sampled_divergences import teacher_gap
        from sdar_gym.algorithms.losses.turn_reductions import turn_mean

        if turns.control_logp_BT is None:
            raise ValueError("shaping.name='ocsd' needs the scores of the blanked prompt.")
        mask_BT = turns.response_mask_BT
        contrast_BT = teacher_gap(turns.teacher_logp_BT, turns.control_logp_BT, mask_BT)
        u_BT = (0.5 * (turns.base_advantage_B.sign()[:, None] * contrast_BT)).tanh()
        nll_B = -turn_mean(turns.student_logp_BT, mask_BT)
        chosen_B = nll_B.new_zeros(nll_B.shape)
        chosen_B[nll_B.topk(max(1, round(self.uncertain_turns * len(nll_B)))).indices] = 1.0
        return u_BT * chosen_B[:, None]


METHODS = (
    Method(
        name="ocsd",
        objective=replace(
            RELEASED_BASE,
            teacher=Teacher(View.FEEDBACK, Weights.LIVE, blank_control=True),
            shaping=ContrastShaper(),
        ),
        summary="On the least certain turns tokens are weighted by the effect of seeing the environment's feedback.",
        source="arXiv 2608.04788",
        deviations=(FROM_A_NOTE, "Its coefficient was not found; 0.5 is ours.", ON_RELEASED_BASE),
        experimental=True,
    ),
)

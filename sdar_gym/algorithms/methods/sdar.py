"""SDAR, self-distilled agentic reinforcement learning: GRPO plus gated distillation from the same model with skills.

    L_distill = λ · mean( g · (log p_teacher - log p_student) ),  g = σ(β·Δ),  Δ = detach(log p_teacher - log p_student)

The mean runs over the sampled tokens, the teacher reads retrieved skills in its prompt, λ = 0.01 and β = 5. Δ is
`teacher_gap` and the term `log_ratio` in `losses/sampled_divergences.py`; `losses/total.py` adds them up.

Source: SDAR (arXiv 2605.15155).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from sdar_gym.algorithms.methods.method import Method
from sdar_gym.algorithms.methods.released_settings import RELEASED_BASE, SDAR_SOURCE, SHARED_DEVIATIONS, SKILLS_LIVE
from sdar_gym.algorithms.objectives.distillation import Distillation, Divergence
from sdar_gym.algorithms.objectives.gates import Gate, GateInputs, register_gate
from sdar_gym.algorithms.objectives.schedule import Schedule
from sdar_gym.settings import setting

if TYPE_CHECKING:
    from torch import Tensor


@register_gate("sigmoid")
@dataclass(frozen=True, slots=True)
class SigmoidGate(Gate):
    """σ(βΔ): near one where the teacher gives the token a higher probability than the student, near zero where lower.

    Source:
        SDAR (arXiv 2605.15155), gap gating, β = 5. Paper and released code agree. The paper also argues against
        letting the gradient through the gate (its Prop. 5).
    """

    beta: float = setting(5.0, "β, sharpness of the sigmoid; 0 would be the constant gate.", above=0.0)

    def weights(self, inputs: GateInputs) -> Tensor:
        """Detached weights in (0, 1), shape (B, T)."""
        return (self.beta * inputs.gap_BT.detach()).sigmoid()


@register_gate("constant")
@dataclass(frozen=True, slots=True)
class ConstantGate(Gate):
    """The same weight for every token; one half is σ(0).

    With the sampled-token log-ratio this carries no signal on policy: the expected gradient is zero, because the
    expectation of the score is zero and the weight does not depend on the token.

    Source: the released SDAR code's GRPO+OPSD baseline is the sigmoid gate with β = 0.
    """

    needs_gap: ClassVar[bool] = False
    varies: ClassVar[bool] = False
    value: float = setting(0.5, "The weight.", above=0.0)

    def weights(self, inputs: GateInputs) -> Tensor:
        """Detached weights, shape (B, T)."""
        return inputs.gap_BT.detach().new_full(inputs.gap_BT.shape, self.value)


@register_gate("entropy")
@dataclass(frozen=True, slots=True)
class EntropyGate(Gate):
    """σ(βh) of the student's entropy h: at least one half, more where the student is uncertain.

    Source: SDAR (arXiv 2605.15155), gate ablation; not in the released code.
    """

    needs_gap: ClassVar[bool] = False
    needs_entropy: ClassVar[bool] = True
    beta: float = setting(5.0, "β, sharpness of the sigmoid.", above=0.0)

    def weights(self, inputs: GateInputs) -> Tensor:
        """Detached weights, shape (B, T)."""
        return (self.beta * entropy_of(inputs).detach()).sigmoid()


@register_gate("soft_or")
@dataclass(frozen=True, slots=True)
class SoftOrGate(Gate):
    """σ(β·[1 - (1 - h)(1 - Δ)]): large where the student is uncertain or the teacher assigns a higher probability.

    Source: SDAR (arXiv 2605.15155), gate ablation; not in the released code.
    """

    needs_entropy: ClassVar[bool] = True
    beta: float = setting(5.0, "β, sharpness of the sigmoid.", above=0.0)

    def weights(self, inputs: GateInputs) -> Tensor:
        """Detached weights, shape (B, T)."""
        entropy_BT, gap_BT = entropy_of(inputs).detach(), inputs.gap_BT.detach()
        return (self.beta * (1.0 - (1.0 - entropy_BT) * (1.0 - gap_BT))).sigmoid()


def entropy_of(inputs: GateInputs) -> Tensor:
    """The student's entropy.

    Raises:
        ValueError: It was not computed.
    """
    if inputs.entropy_BT is None:
        raise ValueError("This gate needs entropy_BT.")
    return inputs.entropy_BT


GATED = Distillation(Schedule.constant(0.01), Divergence.LOG_RATIO, gate=SigmoidGate(beta=5.0))

METHODS = (
    Method(
        name="sdar",
        objective=replace(RELEASED_BASE, teacher=SKILLS_LIVE, distill=GATED),
        summary="GRPO plus a likelihood term on the sampled tokens, gated by the gap between teacher and student.",
        source=SDAR_SOURCE,
        deviations=SHARED_DEVIATIONS,
    ),
)

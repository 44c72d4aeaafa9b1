"""Advantage shapers: the teacher's signal inside the advantage instead of the loss, chosen by name.

    Â = κ·A·(1 + λ·u)    a multiplier, which never changes the sign of A
    Â = κ·A + λ·u        a bonus

λ is the shaper's coefficient and u the teacher's signal, computed once per update over all turns. New shapers are
registered in the file of their method:

    @register_shaper("mine")
    @dataclass(frozen=True, slots=True)
    class MyShaper(AdvantageShaper):
        coeff: Schedule = setting(Schedule.constant(0.5), "λ.")
        def signal(self, turns: ShapingInputs) -> Tensor: ...
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Protocol

from sdar_gym.algorithms.objectives.component import Component, Part, register
from sdar_gym.algorithms.objectives.distillation import Distillation
from sdar_gym.algorithms.objectives.schedule import Schedule
from sdar_gym.algorithms.objectives.teacher import Teacher

if TYPE_CHECKING:
    from torch import Tensor


class ShapingInputs(Protocol):
    """What a shaper may depend on: the turns of an update, one a row; B turns, T response tokens."""

    @property
    def base_advantage_B(self) -> Tensor:
        """κ·A of each turn."""
        ...

    @property
    def response_mask_BT(self) -> Tensor:
        """Bool, True on response tokens."""
        ...

    @property
    def student_logp_BT(self) -> Tensor:
        """Student log-probabilities of the sampled tokens at the start of the update."""
        ...

    @property
    def teacher_logp_BT(self) -> Tensor:
        """The same under the teacher; the student's where it has no privileged context."""
        ...

    @property
    def control_logp_BT(self) -> Tensor | None:
        """The same under the teacher's blanked prompt, or None."""
        ...

    @property
    def cost_BT(self) -> Tensor | None:
        """Divergence to the teacher at each token, or None."""
        ...

    @property
    def group_B(self) -> Tensor:
        """Integer id of each turn's group."""
        ...

    @property
    def episode_B(self) -> Tensor:
        """Integer id of each turn's episode."""
        ...

    @property
    def turn_B(self) -> Tensor:
        """Number of the turn within its episode, from 0."""
        ...

    @property
    def return_B(self) -> Tensor:
        """Return of the turn's episode."""
        ...

    @property
    def won_B(self) -> Tensor:
        """Bool, whether the turn's episode succeeded."""
        ...


class AdvantageShaper(Component):
    """Base of a multiplier or bonus.

    Attributes:
        multiplies: Whether it multiplies the advantage; else it is added to it.
        needs: The scores it is computed from: `student` and `teacher` (log-probabilities of the sampled tokens),
            `control` (the teacher's with its privileged part blanked), `cost` (divergence to the teacher).
        shapes_unscored: Whether turns without a teacher are shaped too; else they keep their advantage.
    """

    __slots__ = ()
    KIND: ClassVar[str] = "advantage shaper"
    PREFIX: ClassVar[str] = "shaping."
    registry: ClassVar[dict[str, type[Component]]] = {}
    multiplies: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("student", "teacher")
    shapes_unscored: ClassVar[bool] = False

    coeff: Schedule

    def signal(self, turns: ShapingInputs) -> Tensor:
        """u, shape (B, T); of a multiplier already with the sign of the advantage in it."""
        raise NotImplementedError

    def shape(self, turns: ShapingInputs, coeff: float) -> Tensor:
        """Returns κ·A·(1 + λ·u) or κ·A + λ·u per token, before masking.

        Args:
            turns: All turns of the update.
            coeff: λ at this step; not zero.
        """
        advantage_BT = turns.base_advantage_B[:, None].expand_as(turns.response_mask_BT)
        if self.multiplies:
            return advantage_BT * self.multiplier(turns, coeff)
        return advantage_BT + coeff * self.signal(turns)

    def multiplier(self, turns: ShapingInputs, coeff: float) -> Tensor:
        """Returns 1 + λ·u, shape (B, T)."""
        return 1.0 + coeff * self.signal(turns)

    def coefficient(self, distill: Distillation | None) -> Schedule:
        """λ; a shaper without an own coefficient takes it from the distillation loss."""
        return self.coeff

    def check_with(self, policy_coeff: Schedule, teacher: Teacher | None, distill: Distillation | None) -> None:
        """Refuses other parts of the objective with which the shaper makes no sense.

        Raises:
            ValueError: With the settings and what to do.
        """
        if teacher is not None and teacher.blank_control and "control" not in self.needs:
            raise ValueError(
                f"teacher.blank_control scores a blanked prompt, which shaping.name={self.NAME!r} does not use. Leave "
                "it out."
            )
        if self.multiplies and policy_coeff.always_zero:
            raise ValueError(
                f"shaping.name={self.NAME!r} multiplies the advantage, but policy_coeff is 0: there is none. Use a "
                "bonus."
            )


def check_coefficient(coeff: Schedule, limit: float | None = None) -> None:
    """Refuses a coefficient that is negative, always zero, or large enough to flip the sign of an advantage.

    Args:
        coeff: λ.
        limit: Largest |u| of a multiplier; None for a bonus.

    Raises:
        ValueError: With what is wrong.
    """
    if coeff.minimum < 0.0 or coeff.always_zero:
        raise ValueError("shaping.coeff must not be negative, nor 0 at every step; leave shaping out instead.")
    if limit is not None and coeff.maximum * limit >= 1.0:
        raise ValueError(
            f"shaping: coeff {coeff.maximum:g} times limit {limit:g} is not below 1, so a multiplier could reach 0 and "
            "flip the advantage's sign. Lower one of them."
        )


def register_shaper(name: str) -> Callable[[Part], Part]:
    """Decorator: registers an advantage shaper under the name that configurations use."""
    return register(AdvantageShaper, name)

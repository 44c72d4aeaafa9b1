"""The objective: the settings of the one loss that covers every method.

    L = Σ w · [ -min(ρÂ, clip(ρ)Â) + λ(s)·c·D + β·k3(π, π_ref) - η·H ],    Â = κ(s)·A·M + B

w are weights that hold the global denominator; A is `advantage`, κ `policy_coeff`, M or B `shaping`, λ, c and D
`distill`, β `kl_coeff`, η `entropy_coeff`. `losses/total.py` computes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from sdar_gym.algorithms.objectives.advantage import AdvantageEstimator
from sdar_gym.algorithms.objectives.advantage_shaping import AdvantageShaper
from sdar_gym.algorithms.objectives.distillation import Distillation, GroupFilter, Support
from sdar_gym.algorithms.objectives.schedule import Schedule
from sdar_gym.algorithms.objectives.teacher import Teacher, View
from sdar_gym.settings import Settings, did_you_mean, group_type, hints_of, setting
from sdar_gym.text import shortened

# Keys that an override has to give when it adds a group which the method does not have.
_REQUIRED_TO_ADD: Mapping[str, str] = {"teacher": "view", "shaping": "name", "distill": "divergence"}


class LossReduction(StrEnum):
    """How tokens are averaged: all alike, or first within their turn."""

    TOKEN_MEAN = "token_mean"
    SEQUENCE_MEAN = "sequence_mean"


@dataclass(frozen=True, slots=True)
class Objective(Settings):
    """The settings of the loss.

    Raises:
        ValueError: If a setting is out of range or settings contradict each other.
    """

    policy_coeff: Schedule = setting(Schedule.constant(1.0), "κ, coefficient of the group-relative advantage.")
    advantage: AdvantageEstimator = setting(AdvantageEstimator(), "A, the advantage estimator.")
    teacher: Teacher | None = setting(None, "The teacher; null without one.")
    shaping: AdvantageShaper | None = setting(None, "M or B, the teacher's signal in the advantage; null for none.")
    distill: Distillation | None = setting(None, "λ, c and D, the distillation loss; null for none.")
    kl_coeff: float = setting(0.0, "β, coefficient of the KL to the initial policy.", low=0.0)
    entropy_coeff: float = setting(0.0, "η, coefficient of the entropy bonus.", low=0.0)
    clip_low: float = setting(0.2, "The importance ratio is clipped at 1 - clip_low.", above=0.0, high=1.0)
    clip_high: float = setting(0.2, "The importance ratio is clipped at 1 + clip_high.", above=0.0)
    dual_clip: float | None = setting(3.0, "Bound on the ratio for negative advantages; null for none.", above=1.0)
    aggregation: LossReduction = setting(LossReduction.TOKEN_MEAN)

    def _check(self) -> None:
        if self.policy_coeff.minimum < 0.0:
            raise ValueError(f"policy_coeff must never be negative, got {self.policy_coeff.plain()}; drop the sign.")
        self._check_learns()
        self._check_teacher()
        if self.shaping is not None:
            self.shaping.check_with(self.policy_coeff, self.teacher, self.distill)
        if self.policy_coeff.share:
            raise ValueError("policy_coeff cannot be a share: shares are of the policy gradient. Give a number.")
        if self.distill is not None and self.distill.coeff.share:
            if self.policy_coeff.always_zero:
                raise ValueError("distill.coeff is a share of the policy gradient, but policy_coeff is 0; give one.")
            if self.shaping is not None and self.shaping.coeff is None:
                raise ValueError(
                    f"shaping.name={self.shaping.NAME!r} has distill.coeff as its own coefficient, which must be a "
                    "number then, not a share of the policy gradient."
                )
        if self.policy_coeff.always_zero and self.distill is not None:
            gate = self.distill.gate
            if self.distill.positive_only or (gate is not None and gate.needs_advantage):
                raise ValueError("distill asks for the advantage's sign, but policy_coeff is 0: there is no advantage.")

    def changed(self, changes: Mapping[str, Any]) -> Objective:
        """Returns the same objective with some settings replaced; a mapping changes settings inside a group.

        A distillation with coefficient 0 is dropped, together with a teacher that nothing else uses.

        Args:
            changes: Settings by name, as Python values or as plain configuration values; None removes a group.

        Raises:
            ValueError: If a setting is unknown, out of range or contradicts another.
        """
        hints = hints_of(type(self))
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        for name, value in changes.items():
            if name not in hints:
                raise ValueError(f"The objective has no setting {shortened(name)}.{did_you_mean(name, hints)}")
            parser = group_type(hints[name])
            if parser is not None and isinstance(value, Mapping | str):
                adds = values[name] is None and isinstance(value, Mapping)
                if adds and _REQUIRED_TO_ADD.get(name) not in (None, *value):
                    raise ValueError(
                        f"There is no {name} to change: this method has none. To add one, set {name}."
                        f"{_REQUIRED_TO_ADD[name]} too."
                    )
                value = parser.parse(name, value, values[name])
            values[name] = value
        if isinstance(values["distill"], Distillation) and values["distill"].coeff.always_zero:
            values["distill"] = None
            shaper = values["shaping"]
            if shaper is not None and shaper.coeff is None:  # Its coefficient was the distillation's.
                values["shaping"] = None
            if values["shaping"] is None and "teacher" not in changes:
                values["teacher"] = None
        return Objective(**values)

    def _check_learns(self) -> None:
        if self.distill is not None and self.distill.coeff.always_zero:
            raise ValueError("distill.coeff is 0 at every step; leave distill out instead.")
        bonus = self.shaping is not None and not self.shaping.multiplies
        if self.policy_coeff.always_zero and self.distill is None and not bonus:
            raise ValueError("policy_coeff is zero and there is no distill: nothing to learn from. Set one of them.")

    def _check_teacher(self) -> None:
        if self.teacher is None:
            for name in ("shaping", "distill"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} needs a teacher: set teacher, such as {{view: skills, weights: live}}.")
            return
        if self.shaping is None and self.distill is None:
            raise ValueError("Neither distill nor shaping uses the teacher. Set one of them, or leave it out.")
        trusted = self.distill is not None and self.distill.trust_episodes is not None
        if trusted and self.teacher.view is not View.SKILLS:
            raise ValueError(
                f"distill.trust_episodes plays episodes with skills, but teacher.view is {str(self.teacher.view)!r}. "
                "Leave it out, or use teacher.view=skills."
            )
        if self.distill is not None and self.distill.contrasts and self.teacher.view is not View.SKILLS:
            raise ValueError(
                f"distill.contrast={str(self.distill.contrast)!r} puts another text in the place of the skills, but "
                f"teacher.view is {str(self.teacher.view)!r}. Leave it out, or use teacher.view=skills."
            )
        if self.teacher.blank_control and self.shaping is None:
            raise ValueError(
                "teacher.blank_control scores a blanked prompt, which only a shaper with a contrast uses, such as "
                "shaping.name='ocsd'. Leave it out."
            )
        if (
            self.distill is not None
            and self.distill.groups is GroupFilter.ALL_FAIL
            and self.teacher.view is View.SIBLING
        ):
            raise ValueError(
                "distill.groups='all_fail' with teacher.view='sibling' never has a teacher: where every episode "
                "failed there is no successful sibling. Choose another view."
            )

    @property
    def needs_teacher(self) -> bool:
        """Whether a teacher is needed at some step."""
        return self.teacher is not None

    def distills_at(self, step: int) -> bool:
        """Returns whether the distillation loss has a coefficient at this step."""
        return self.distill is not None and self.distill.coeff.at(step) != 0.0

    def shaping_coeff_at(self, step: int) -> float:
        """Returns λ of the advantage shaper at this step; 0 without one."""
        return 0.0 if self.shaping is None else self.shaping.coefficient(self.distill).at(step)

    def needs_teacher_at(self, step: int) -> bool:
        """Returns whether this step needs a teacher at all, so that its forward pass can be skipped."""
        return self.distills_at(step) or self.shaping_coeff_at(step) != 0.0

    def needs_distributions_at(self, step: int) -> bool:
        """Returns whether this step needs the teacher's distributions during the gradient steps."""
        return self.distill is not None and self.distill.divergence.full and self.distills_at(step)

    def required_scores(self, step: int, *, diagnostics: bool = False) -> tuple[str, ...]:
        """Returns the scores of sampled tokens that this update needs before its gradient steps.

        Args:
            step: Number of completed updates.
            diagnostics: Whether per-token diagnostics are collected, which compare student and teacher.

        Returns:
            Of `student`, `teacher`, `control` and `cost`, in this order.
        """
        if not self.needs_teacher_at(step):
            return ()
        needed: set[str] = set()
        if self.shaping is not None and self.shaping_coeff_at(step):
            needed |= set(self.shaping.needs)
        if diagnostics:
            needed |= {"student", "teacher"}
        if self.distill is not None and self.distill.support is Support.SAMPLED and self.distills_at(step):
            needed.add("teacher")
        if self.distill is not None and self.distills_at(step):
            needed |= {"teacher", "control"} if self.distill.contrasts else set()
            needed |= {"teacher"} if self.distill.retire_gap is not None else set()
        return tuple(name for name in ("student", "teacher", "control", "cost") if name in needed)

    @property
    def mergeable(self) -> bool:
        """Whether equal rows whose advantages have the same signs may count as one: the loss is linear in the size."""
        return self.distill is None or self.distill.gate is None or not self.distill.gate.needs_advantage

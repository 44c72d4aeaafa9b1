"""Distributional distillation from a frozen skill teacher beside GRPO: what did best in a study with tiny models."""

from __future__ import annotations

from dataclasses import replace

from sdar_gym.algorithms.methods.method import Method
from sdar_gym.algorithms.methods.released_settings import SKILLS_FROZEN
from sdar_gym.algorithms.objectives.distillation import Distillation, Divergence, GroupFilter, Support
from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.algorithms.objectives.schedule import Schedule

_STUDY = "ours: a controlled study with a policy of 150,000 parameters on a small household game, 2 to 7 paired seeds"
_SCALE = (
    "Measured at toy scale only; nothing is known about language models of useful size.",
    "No KL to the initial policy and no entropy bonus, as in the study.",
)


_CE = Distillation(Schedule.constant(0.4), Divergence.FORWARD_CE, Support.FULL)


def _with(distill: Distillation) -> Objective:
    return Objective(teacher=SKILLS_FROZEN, distill=distill, dual_clip=None)


METHODS = (
    Method(
        name="allfail_ce",
        objective=_with(replace(_CE, groups=GroupFilter.ALL_FAIL)),
        summary="GRPO, and where every episode of a group failed, forward cross-entropy to the frozen skill teacher.",
        source=_STUDY,
        deviations=(
            *_SCALE,
            "Lost nothing with wrong skills for every task type, but cannot protect a type that is rarely solved.",
        ),
    ),
    Method(
        name="frozen_ce",
        objective=_with(_CE),
        summary="GRPO plus forward cross-entropy to the frozen skill teacher on every token.",
        source=_STUDY,
        deviations=(*_SCALE, "With wrong skills it ended below GRPO."),
    ),
    Method(
        name="frozen_ce_decay",
        objective=_with(replace(_CE, coeff=Schedule.linear(0.4, 0.0, 150))),
        summary="The same with a coefficient that falls to zero over 150 updates.",
        source=_STUDY,
        deviations=(*_SCALE, "The study's fall ended with its 30 updates; with wrong skills it ended below GRPO."),
    ),
    Method(
        name="frozen_rkl",
        objective=_with(Distillation(Schedule.constant(0.3), Divergence.REVERSE_KL, Support.FULL, teacher_floor=-12.0)),
        summary="GRPO plus the reverse KL over the vocabulary to the frozen skill teacher.",
        source=_STUDY,
        deviations=(*_SCALE, "The quickest with right skills and the worst by far with wrong ones."),
    ),
)

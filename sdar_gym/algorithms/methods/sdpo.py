"""SDPO: Jensen-Shannon divergence on the top k tokens to an averaged teacher with a sibling's success, or feedback."""

from __future__ import annotations

from sdar_gym.algorithms.methods.method import Method
from sdar_gym.algorithms.objectives.distillation import Distillation, Divergence, Support, TopKSource
from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.algorithms.objectives.schedule import Schedule
from sdar_gym.algorithms.objectives.teacher import Teacher, View, Weights

METHODS = (
    Method(
        name="sdpo",
        objective=Objective(
            policy_coeff=Schedule.constant(0.0),
            teacher=Teacher(View.SIBLING_OR_FEEDBACK, Weights.EMA, rate=0.05),
            distill=Distillation(
                Schedule.constant(1.0),
                Divergence.JSD,
                Support.TOPK,
                k=100,
                topk_source=TopKSource.STUDENT,
                tail_bucket=True,
                alpha=0.5,
                ratio_cap=2.0,
            ),
        ),
        summary="Jensen-Shannon divergence on the student's top tokens to an averaged model with success or feedback.",
        source="arXiv 2601.20802; github.com/lasgroup/SDPO",
        deviations=(
            "Where tasks are played step by step the demonstration is a list of actions and what came of them.",
        ),
    ),
)

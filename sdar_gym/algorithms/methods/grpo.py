"""GRPO and its relatives without a teacher: Skill-GRPO, Dr. GRPO, RLOO, GiGPO."""

from __future__ import annotations

from dataclasses import replace

from sdar_gym.algorithms.methods.method import Method
from sdar_gym.algorithms.methods.released_settings import (
    ON_RELEASED_BASE,
    RELEASED_BASE,
    SDAR_SOURCE,
    SHARED_DEVIATIONS,
)
from sdar_gym.algorithms.objectives.advantage import AdvantageEstimator, Estimator, Statistics

_PLAIN = replace(RELEASED_BASE, kl_coeff=0.0, entropy_coeff=0.0)

METHODS = (
    Method(
        name="grpo",
        objective=RELEASED_BASE,
        summary="Clipped policy gradient on group-relative advantages, with a KL to the initial policy.",
        source=f"arXiv 2402.03300; settings as the baseline in {SDAR_SOURCE}",
        deviations=SHARED_DEVIATIONS[:-1],
    ),
    Method(
        name="skill_grpo",
        objective=RELEASED_BASE,
        summary="GRPO with the skills in the prompt of the acting policy during training.",
        source=f"the baseline Skill-GRPO in {SDAR_SOURCE}",
        deviations=(
            *SHARED_DEVIATIONS[:-1],
            "Evaluated without skills unless evaluation.with_skills is set; the repository reports both.",
            "Skills come from the retriever that is configured; the repository searches keywords in the whole prompt.",
        ),
        acts_with_skills=True,
    ),
    Method(
        name="gigpo",
        objective=replace(
            RELEASED_BASE,
            advantage=AdvantageEstimator(
                Estimator.GIGPO, Statistics.TURN, normalize_by_std=False, step_weight=1.0, gamma=0.95
            ),
        ),
        summary="GRPO plus a step advantage: turns of one group in the same state are compared with each other.",
        source="arXiv 2505.10978; github.com/langfengQ/verl-agent, core_gigpo.py",
        deviations=(
            "Without the standard deviation, the code's default; with it set advantage.normalize_by_std=true.",
            "States are equal if their observations are; the code's grouping by similarity is not offered.",
            ON_RELEASED_BASE,
        ),
    ),
    Method(
        name="dr_grpo",
        objective=replace(
            _PLAIN, advantage=AdvantageEstimator(Estimator.GRPO, Statistics.TRAJECTORY, normalize_by_std=False)
        ),
        summary="GRPO without the standard deviation and without length normalization.",
        source="arXiv 2503.20783",
        deviations=(
            "The paper divides by a constant length; the token mean over the whole update does so too, up to a factor "
            "that is the same for all tokens of an update.",
            "Dual clip as in the other presets.",
        ),
    ),
    Method(
        name="rloo",
        objective=replace(
            _PLAIN,
            advantage=AdvantageEstimator(Estimator.RLOO, Statistics.TRAJECTORY, normalize_by_std=False),
            dual_clip=None,
        ),
        summary="A return is compared with the mean of the group's other episodes.",
        source="arXiv 2402.14740",
        deviations=(
            "The paper takes REINFORCE's gradient; here the ratio is clipped, which changes nothing on the first step.",
            "The paper puts a KL into the reward; here there is none (kl_coeff adds one to the loss).",
        ),
    ),
)

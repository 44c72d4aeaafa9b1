"""Skill-SD: GRPO plus an importance-weighted k3 estimate of the reverse KL to a teacher with skills."""

from __future__ import annotations

from dataclasses import replace

from sdar_gym.algorithms.methods.method import Method
from sdar_gym.algorithms.methods.released_settings import RELEASED_BASE, SDAR_SOURCE, SHARED_DEVIATIONS, SKILLS_LIVE
from sdar_gym.algorithms.objectives.distillation import Distillation, Divergence
from sdar_gym.algorithms.objectives.schedule import Schedule

METHODS = (
    Method(
        name="skill_sd",
        objective=replace(
            RELEASED_BASE,
            teacher=SKILLS_LIVE,
            distill=Distillation(Schedule.constant(0.001), Divergence.REVERSE_KL_K3),
        ),
        summary="GRPO plus an importance-weighted k3 estimate of the reverse KL to the teacher.",
        source=f"arXiv 2604.10674, as implemented in {SDAR_SOURCE}",
        deviations=(
            *SHARED_DEVIATIONS,
            "Skills are retrieved, as in the SDAR repository; the paper writes them from the agent's own finished "
            "episodes (teacher.view='hindsight').",
            "The repository's warm-down changes only what it logs; there is none here.",
        ),
    ),
)

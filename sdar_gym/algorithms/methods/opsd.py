"""OPSD (on-policy self-distillation), what the SDAR repository runs under that name, and SDPG."""

from __future__ import annotations

from dataclasses import replace

from sdar_gym.algorithms.methods.method import Method
from sdar_gym.algorithms.methods.released_settings import RELEASED_BASE, SDAR_SOURCE, SHARED_DEVIATIONS, SKILLS_LIVE
from sdar_gym.algorithms.methods.sdar import GATED, ConstantGate
from sdar_gym.algorithms.objectives.advantage import AdvantageEstimator, Statistics
from sdar_gym.algorithms.objectives.distillation import Distillation, Divergence, Support
from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.algorithms.objectives.schedule import Schedule
from sdar_gym.algorithms.objectives.teacher import Teacher, View, Weights

_ZERO, _ONE = Schedule.constant(0.0), Schedule.constant(1.0)

METHODS = (
    Method(
        name="opsd_sdar_repo",
        objective=replace(RELEASED_BASE, policy_coeff=_ZERO, teacher=SKILLS_LIVE, distill=GATED),
        summary="SDAR without the policy gradient: what the SDAR repository runs under the name OPSD.",
        source=SDAR_SOURCE,
        deviations=(
            *SHARED_DEVIATIONS,
            "Not the OPSD of arXiv 2601.18734, which minimizes a Jensen-Shannon divergence over the vocabulary.",
            "The SDAR paper's algorithm for it has neither gate nor skills; its table of settings matches the code.",
        ),
    ),
    Method(
        name="grpo_opsd_sdar_repo",
        objective=replace(RELEASED_BASE, teacher=SKILLS_LIVE, distill=replace(GATED, gate=ConstantGate(0.5))),
        summary="GRPO plus the same likelihood term with weight one half on every token.",
        source=SDAR_SOURCE,
        deviations=(
            *SHARED_DEVIATIONS,
            "The code writes the gate as a sigmoid with β = 0, which is one half; here it is the constant gate.",
            "On policy its distillation term has zero expected gradient: it adds noise and, off policy, drift.",
            "The SDAR paper's algorithm for it has the opposite sign and a frozen teacher without skills.",
        ),
    ),
    Method(
        name="grpo_opsd",
        objective=replace(
            RELEASED_BASE,
            teacher=SKILLS_LIVE,
            distill=Distillation(Schedule.constant(0.01), Divergence.REVERSE_KL_PG),
        ),
        summary="GRPO plus the reverse KL to the teacher, estimated from the sampled tokens: what the name says.",
        source=f"the sampled-token mode of arXiv 2601.18734 beside the GRPO of {SDAR_SOURCE}",
        deviations=(*SHARED_DEVIATIONS, "No published run of exactly this; coefficient as in the SDAR repository."),
    ),
    Method(
        name="opsd",
        objective=Objective(
            policy_coeff=_ZERO,
            teacher=Teacher(View.SOLUTION, Weights.FROZEN),
            distill=Distillation(_ONE, Divergence.JSD, Support.FULL, alpha=0.5),
        ),
        summary="Jensen-Shannon divergence over the vocabulary to the initial model that has read the solution.",
        source="arXiv 2601.18734; github.com/siyan-zhao/OPSD, opsd_trainer.py",
        deviations=(
            "Student and teacher at the rollout's temperature; the paper uses 1.1 for both.",
            "The paper trains LoRA adapters with rank 64 (policy.lora); here that is the policy's setting.",
            "Where tasks are played step by step the solution is the scripted expert's list of actions.",
        ),
    ),
    Method(
        name="sdpg",
        objective=Objective(
            advantage=AdvantageEstimator(statistics=Statistics.TRAJECTORY),
            teacher=Teacher(View.SOLUTION, Weights.LIVE),
            distill=Distillation(Schedule.constant(1e-3), Divergence.REVERSE_KL, Support.FULL),
            kl_coeff=1e-3,
            clip_low=0.2,
            clip_high=0.28,
            dual_clip=None,
        ),
        summary="A clipped policy gradient plus the reverse KL over the vocabulary to a teacher with the solution.",
        source="arXiv 2606.04036; github.com/lauyikfung/SDPG",
        deviations=(
            "The KL to the initial model is k3; its default there is half the squared log-ratio.",
            "Clip range 0.2/0.28 as in DAPO (arXiv 2503.14476), on which its policy loss is built; not verified.",
            "Its words say forward KL, its formula is student||teacher; the formula is taken.",
            "Its option to distill positive advantages only is distill.positive_only.",
        ),
    ),
)

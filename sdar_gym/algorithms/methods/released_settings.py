"""Settings that all runs of the released SDAR code share, and the deviations of our presets from them."""

from __future__ import annotations

from sdar_gym.algorithms.objectives.advantage import AdvantageEstimator, Statistics
from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.algorithms.objectives.teacher import Teacher, View, Weights

RELEASED_BASE = Objective(
    kl_coeff=0.01,
    entropy_coeff=0.001,
    clip_low=0.2,
    clip_high=0.2,
    dual_clip=3.0,
    advantage=AdvantageEstimator(statistics=Statistics.TURN, normalize_by_std=True),
)

SKILLS_LIVE = Teacher(view=View.SKILLS, weights=Weights.LIVE)
SKILLS_FROZEN = Teacher(view=View.SKILLS, weights=Weights.FROZEN)

SDAR_SOURCE = "arXiv 2605.15155; github.com/ZJU-REAL/SDAR at 8b85c23"

SHARED_DEVIATIONS = (
    "Group statistics run over turn rows, as in the released code; the paper writes them over trajectories "
    "(advantage.statistics='trajectory').",
    "Token mean over the whole update; the released code averages within micro-batches and then over them, the "
    "paper within sequences first (aggregation='sequence_mean').",
    "A group without spread gets advantage exactly 0, and a group of one episode is refused.",
    "kl_coeff is 0.01 everywhere, as in the paper's table; the released Search-QA scripts use 0.001.",
    "The entropy bonus of 0.001 is in the released code only; the paper does not mention it.",
    "One optimizer step an update by default; the released runs take one for every 256 turn rows (64 on WebShop), up "
    "to 25 an update (training.num_minibatches).",
    "Success pays 1 on ALFWorld, in the released code 10, so that the penalty of 0.1 for an invalid turn weighs ten "
    "times as much beside it (env_config.success_reward=10 is the released reward; WebShop's default is it already).",
    "Defaults are those of the ALFWorld scripts; the Search-QA ones use a window of 4 turns, a penalty of 0.01, greedy "
    "evaluation and a learning rate that rises over the first tenth (training.lr_warmup_updates).",
    "Prompts have our wording. Of a response without action tags the history keeps the last 30 characters, as there "
    "(rollout.untagged_characters); the environment gets all of it, there those 30 in lower case.",
    "A teacher's prompt that is too long leaves the turn without a teacher; there the skills are cut.",
    "A turn without a teacher's context is not distilled; there the code would compare the student with itself.",
)

ON_RELEASED_BASE = "Clipping, KL and entropy bonus are those of the released SDAR runs, so that presets compare."
FROM_A_NOTE = "Taken from a third party's reading note on the paper; to be checked against the paper itself."

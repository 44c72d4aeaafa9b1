"""The objectives of agent training as pure functions of tensors: no Ray, no configuration objects, no environments.

Shapes are part of the names: B rows (turns), T response tokens, E episodes, G members of a group, V vocabulary;
where a function takes entries of either sort N, and K for distinct groups. The way through: rewards become
advantages (`advantages`), the teacher's opinion becomes a gap (`signals`) and a gate (`gates`), policy loss
(`losses`) and divergences (`divergences`) are weighed by schedules (`schedules`) into one loss (`objective`), and
each published method is a row of its settings (`methods`). The RLlib side lives in `sdar_gym.algorithms.sdar`.
"""

from __future__ import annotations

from sdar_gym.algorithms.advantages import (
    Advantages,
    Statistics,
    group_advantages,
    normalise_by_group,
    turn_advantages,
)
from sdar_gym.algorithms.divergences import Divergence, k3_kl, nll
from sdar_gym.algorithms.gates import Gate, constant_gate, sigmoid_gate
from sdar_gym.algorithms.losses import (
    Aggregation,
    PolicyLoss,
    clipped_policy_loss,
    sequence_mean_weights,
    token_mean_weights,
    weighted_sum,
)
from sdar_gym.algorithms.methods import METHODS, Method, get_method
from sdar_gym.algorithms.objective import LossOutput, Objective, TokenBatch, compute_loss
from sdar_gym.algorithms.schedules import Schedule
from sdar_gym.algorithms.signals import teacher_gap

__all__ = [
    "METHODS",
    "Advantages",
    "Aggregation",
    "Divergence",
    "Gate",
    "LossOutput",
    "Method",
    "Objective",
    "PolicyLoss",
    "Schedule",
    "Statistics",
    "TokenBatch",
    "clipped_policy_loss",
    "compute_loss",
    "constant_gate",
    "get_method",
    "group_advantages",
    "k3_kl",
    "nll",
    "normalise_by_group",
    "sequence_mean_weights",
    "sigmoid_gate",
    "teacher_gap",
    "token_mean_weights",
    "turn_advantages",
    "weighted_sum",
]

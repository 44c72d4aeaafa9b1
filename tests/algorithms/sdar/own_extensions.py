"""A gate and a metric of a user's own, in a module that the setting `imports` names."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sdar_gym.algorithms import Gate, GateInputs, register_gate
from sdar_gym.rollout.metrics import register_metric
from sdar_gym.rollout.trajectory import Episode


@register_gate("half")
@dataclass(frozen=True, slots=True)
class HalfGate(Gate):
    """One half everywhere."""

    def weights(self, inputs: GateInputs) -> Tensor:
        """Detached weights, shape (B, T)."""
        return inputs.response_mask_BT * 0.5


def turns(episode: Episode) -> float:
    """Number of turns."""
    return len(episode.turns)


register_metric("turns", turns)

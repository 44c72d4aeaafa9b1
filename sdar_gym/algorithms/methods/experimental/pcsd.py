"""PCSD: SDAR with a gate on the smoothed gap that fades while the gap falls (experimental)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sdar_gym.algorithms.methods.method import Method
from sdar_gym.algorithms.methods.released_settings import FROM_A_NOTE, ON_RELEASED_BASE, RELEASED_BASE, SKILLS_LIVE
from sdar_gym.algorithms.objectives.distillation import Distillation, Divergence
from sdar_gym.algorithms.objectives.gates import Gate, GateInputs, register_gate
from sdar_gym.algorithms.objectives.schedule import Schedule
from sdar_gym.settings import setting

if TYPE_CHECKING:
    from torch import Tensor

# Tokens of the long window, and strength of the fading.
_WINDOW, _FADE = 8, 0.5


@register_gate("persistent")
@dataclass(frozen=True, slots=True)
class PersistentGate(Gate):
    """σ(βΔ̃)·η, with Δ̃ the gap smoothed where its variance is high and η a factor that falls with its slope.

    Source:
        PCSD (arXiv 2608.01837), from a third party's reading note: a window between 1 and 8 tokens by local variance,
        η = 1 - γ·ReLU(-slope/scale). How variance sets the window (the share of the long window's mean in Δ̃), the
        scale (the turn's root mean square gap) and γ = 0.5 are ours.
    """

    beta: float = setting(5.0, "β, sharpness of the sigmoid.", above=0.0)

    def weights(self, inputs: GateInputs) -> Tensor:
        """Detached weights, shape (B, T)."""
        import torch

        from sdar_gym.algorithms.losses.turn_reductions import turn_mean, window_mean

        gap_BT, mask_BT = inputs.gap_BT.detach(), inputs.response_mask_BT
        smooth_BT = window_mean(gap_BT, mask_BT, _WINDOW)
        variance_BT = (window_mean(gap_BT**2, mask_BT, _WINDOW) - smooth_BT**2).clamp(min=0.0)
        share_BT = variance_BT / (variance_BT + turn_mean(variance_BT, mask_BT)[:, None] + 1e-12)
        steady_BT = share_BT * smooth_BT + (1.0 - share_BT) * gap_BT
        slope_BT = torch.diff(smooth_BT, dim=1, prepend=smooth_BT[:, :1])
        scale_B = turn_mean(gap_BT**2, mask_BT).sqrt() + 1e-12
        fade_BT = 1.0 - _FADE * torch.relu(-slope_BT / scale_B[:, None]).clamp(max=1.0)
        return torch.sigmoid(self.beta * steady_BT) * fade_BT


METHODS = (
    Method(
        name="pcsd",
        objective=replace(
            RELEASED_BASE,
            teacher=SKILLS_LIVE,
            distill=Distillation(Schedule.constant(0.01), Divergence.LOG_RATIO, gate=PersistentGate(5.0)),
        ),
        summary="SDAR with a gate on the smoothed gap that fades while the gap falls.",
        source="arXiv 2608.01837",
        deviations=(
            FROM_A_NOTE,
            "How variance sets the window, the scale of the slope and the fading of 0.5 are ours.",
            "Live teacher; the paper's could not be verified.",
            ON_RELEASED_BASE,
        ),
        experimental=True,
    ),
)

"""ICSD: SDAR's gate moved within each turn to tokens where following the teacher raises the reward (experimental)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from sdar_gym.algorithms.methods.method import Method
from sdar_gym.algorithms.methods.released_settings import FROM_A_NOTE, ON_RELEASED_BASE, RELEASED_BASE, SKILLS_LIVE
from sdar_gym.algorithms.objectives.distillation import Distillation, Divergence
from sdar_gym.algorithms.objectives.gates import Gate, GateInputs, register_gate
from sdar_gym.algorithms.objectives.schedule import Schedule
from sdar_gym.settings import setting

if TYPE_CHECKING:
    from torch import Tensor


@register_gate("influence")
@dataclass(frozen=True, slots=True)
class InfluenceGate(Gate):
    """The sigmoid gate, reallocated within each turn to tokens where teacher and reward agree; its sum is unchanged.

    u = A·ρ·Δ is to first order the effect of following the teacher at a token on the policy objective. An asymmetric
    Laplace distribution around the turn's median, with one scale for each side, maps u to (0, 1). Tokens with A < 0 and
    Δ < 0 keep the sigmoid's weight; the sum of the others is redistributed.

    Source:
        ICSD (arXiv 2608.14945), from a third party's reading note. The scales (mean absolute deviation of each side)
        are ours.
    """

    needs_advantage: ClassVar[bool] = True
    beta: float = setting(5.0, "β, sharpness of the sigmoid.", above=0.0)

    def weights(self, inputs: GateInputs) -> Tensor:
        """Detached weights, shape (B, T), zero where masked."""
        import torch

        from sdar_gym.algorithms.losses.turn_reductions import turn_mean, turn_sum

        gap_BT, advantage_BT = inputs.gap_BT.detach(), inputs.advantage_BT.detach()
        mask_BT = inputs.response_mask_BT
        gate_BT = (self.beta * gap_BT).sigmoid().masked_fill(~mask_BT, 0.0)
        u_BT = advantage_BT * inputs.ratio_BT.detach() * gap_BT
        median_B = u_BT.masked_fill(~mask_BT, torch.nan).nanmedian(dim=1).values.nan_to_num()
        off_BT = u_BT - median_B[:, None]
        above_BT, below_BT = mask_BT & (off_BT > 0), mask_BT & (off_BT < 0)
        scale_BT = torch.where(above_BT, turn_mean(off_BT, above_BT)[:, None], turn_mean(-off_BT, below_BT)[:, None])
        tail_BT = 0.5 * torch.exp(-off_BT.abs() / scale_BT.clamp(min=1e-12))
        rank_BT = torch.where(above_BT, 1.0 - tail_BT, tail_BT)
        moved_BT = mask_BT & ~((advantage_BT < 0) & (gap_BT < 0))
        weighted_BT = gate_BT * rank_BT
        factor_B = turn_sum(gate_BT, moved_BT) / turn_sum(weighted_BT, moved_BT).clamp(min=1e-12)
        return torch.where(moved_BT, factor_B[:, None] * weighted_BT, gate_BT)


METHODS = (
    Method(
        name="icsd",
        objective=replace(
            RELEASED_BASE,
            teacher=SKILLS_LIVE,
            distill=Distillation(Schedule.constant(0.01), Divergence.LOG_RATIO, gate=InfluenceGate(5.0)),
        ),
        summary="SDAR with a gate moved within each turn to tokens where following the teacher raises the reward.",
        source="arXiv 2608.14945",
        deviations=(
            FROM_A_NOTE,
            "The scales of the Laplace distribution are mean absolute deviations.",
            ON_RELEASED_BASE,
        ),
        experimental=True,
    ),
)

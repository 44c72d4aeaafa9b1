"""ADRS: the teacher's standardized log-probability as a bonus, scaled by how teacher preference agrees with return."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from sdar_gym.algorithms.methods.method import Method
from sdar_gym.algorithms.methods.released_settings import ON_RELEASED_BASE, RELEASED_BASE, SKILLS_LIVE
from sdar_gym.algorithms.objectives.advantage_shaping import (
    AdvantageShaper,
    ShapingInputs,
    check_coefficient,
    register_shaper,
)
from sdar_gym.algorithms.objectives.schedule import Schedule
from sdar_gym.settings import setting

if TYPE_CHECKING:
    from torch import Tensor


@register_shaper("adrs")
@dataclass(frozen=True, slots=True)
class AlignmentBonus(AdvantageShaper):
    """Bonus from the teacher's log-probability, standardized within the turn and weighted by its value for the group.

    The weight is σ(2·value), value being the mean return of episodes that the teacher assigns a higher probability
    minus that of the others; the limit shrinks where returns of the group spread less than is typical.

    Source: ADRS (arXiv 2608.03223).
    """

    multiplies: ClassVar[bool] = False
    coeff: Schedule = setting(Schedule.window(1.0, delay=20, hold=50), "λ.")
    scale: float = setting(0.02, "Factor before the limit.", above=0.0)
    limit: float = setting(0.2, "Largest |u|.", above=0.0)

    def _check(self) -> None:
        check_coefficient(self.coeff)

    def signal(self, turns: ShapingInputs) -> Tensor:
        """u, shape (B, T)."""
        from sdar_gym.algorithms.losses.turn_reductions import turn_z_scores

        mask_BT = turns.response_mask_BT
        u_BT = self.scale * turn_z_scores(turns.teacher_logp_BT.masked_fill(~mask_BT, 0.0), mask_BT)
        u_BT = u_BT * (2.0 * teacher_value(turns)).sigmoid()[:, None]
        limit_B = self._limits(turns)[:, None]
        return u_BT.minimum(limit_B).maximum(-limit_B)

    def _limits(self, turns: ShapingInputs) -> Tensor:
        """The limit of each turn, smaller where the group's returns spread less than is typical; 0 without spread."""
        spread_B = return_spread(turns)
        spread_G = [spread_B[turns.group_B == group][0] for group in turns.group_B.unique()]
        live = [spread for spread in spread_G if float(spread) > 0]
        typical = sorted(live, key=float)[(len(live) - 1) // 2] if live else spread_B.new_ones(())
        limit_B = spread_B.new_full(spread_B.shape, self.limit)
        return (limit_B * (spread_B / typical).clamp(max=1.0)).masked_fill(spread_B <= 0, 0.0)


def return_spread(turns: ShapingInputs) -> Tensor:
    """Per turn: the standard deviation of its group's returns over episodes, exactly zero where all are the same."""
    from sdar_gym.algorithms.losses.group_statistics import episode_deviations
    from sdar_gym.algorithms.losses.turn_reductions import group_mean_over_episodes

    _, deviation_B, _ = episode_deviations(turns.return_B, turns.group_B, turns.episode_B)
    return group_mean_over_episodes(deviation_B**2, turns.episode_B, turns.group_B).sqrt()


def teacher_value(turns: ShapingInputs) -> Tensor:
    """Per turn: the group's mean return weighted by teacher alignment minus the one weighted by misalignment.

    Source: ADRS (arXiv 2608.03223), teacher value of alignment; alignment is σ of the mean teacher log-probability,
    less its mean over all rows as in the released code. Deviation: of whole episodes, where that code takes rows.
    """
    from sdar_gym.algorithms.losses.turn_reductions import group_mean_over_episodes, mean_by, turn_mean

    def mean(value_B: Tensor) -> Tensor:
        return group_mean_over_episodes(value_B, turns.episode_B, turns.group_B)

    level_B = mean_by(turn_mean(turns.teacher_logp_BT, turns.response_mask_BT), turns.episode_B)
    alignment_B = (level_B - level_B.mean()).sigmoid()
    misalignment_B = 1.0 - alignment_B
    aligned_B = mean(alignment_B * turns.return_B) / mean(alignment_B).clamp(min=1e-6)
    misaligned_B = mean(misalignment_B * turns.return_B) / mean(misalignment_B).clamp(min=1e-6)
    return aligned_B - misaligned_B


METHODS = (
    Method(
        name="adrs",
        objective=replace(RELEASED_BASE, teacher=SKILLS_LIVE, shaping=AlignmentBonus()),
        summary="The teacher's standardized log-probability is added to the advantage, where its preference pays.",
        source="arXiv 2608.03223; github.com/gitrxh/ADRS-arxiv, adrs_utils.py",
        deviations=(
            "The normalization over the group is left out: within turns the signal is standardized already.",
            ON_RELEASED_BASE,
        ),
    ),
)

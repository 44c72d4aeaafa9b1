"""AgentOPSD: turns are weighted by how a belief, updated with the teacher's gap, moves with the outcome."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

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


@register_shaper("agent_opsd")
@dataclass(frozen=True, slots=True)
class BeliefShaper(AdvantageShaper):
    """Multiplier from a belief walk over the turns: u = clip(scale·z(sign(A)·change of belief), ±limit).

    z standardizes within the trajectory.

    Source: AgentOPSD (arXiv 2608.05987).
    """

    coeff: Schedule = setting(Schedule.constant(0.5), "λ.")
    decay: float = setting(0.95, "Share of the evidence that is kept after a turn.", above=0.0, high=1.0)
    scale: float = setting(0.2, "Factor before the limit.", above=0.0)
    limit: float = setting(0.2, "Largest |u|.", above=0.0)

    def _check(self) -> None:
        check_coefficient(self.coeff, self.limit)

    def signal(self, turns: ShapingInputs) -> Tensor:
        """u, shape (B, T); the same for all tokens of a turn."""
        from sdar_gym.algorithms.losses import turn_reductions as reduce
        from sdar_gym.algorithms.losses.sampled_divergences import teacher_gap

        mask_BT, sign_B = turns.response_mask_BT, turns.base_advantage_B.sign()
        gap_BT = teacher_gap(turns.teacher_logp_BT, turns.student_logp_BT, mask_BT)
        won_B = turns.won_B.to(turns.base_advantage_B.dtype)
        prior_B = reduce.group_mean_over_episodes(won_B, turns.episode_B, turns.group_B)
        change_B = belief_changes(reduce.turn_sum(gap_BT, mask_BT), prior_B, turns.episode_B, turns.turn_B, self.decay)
        agreement_BT = sign_B[:, None] * change_B[:, None].expand_as(mask_BT)
        z_B = reduce.z_scores_by(reduce.turn_mean(agreement_BT, mask_BT), turns.episode_B)
        return (self.scale * z_B[:, None].expand_as(gap_BT)).clamp(-self.limit, self.limit)


def belief_changes(evidence_B: Tensor, prior_B: Tensor, episode_B: Tensor, turn_B: Tensor, decay: float) -> Tensor:
    """Returns by how much each turn changes the belief that the episode succeeds.

    The belief is σ(logit(prior) + c), where c accumulates the evidence of the turns: c_k = decay·c_(k-1) + evidence_k.

    Args:
        evidence_B: Summed gap of each turn, in nats.
        prior_B: Belief before the first turn, such as the group's success rate; kept within [0.05, 0.95].
        episode_B: Integer id of each turn's episode.
        turn_B: Number of the turn within its episode.
        decay: Share of the evidence that is kept after a turn; 1 keeps all.

    Returns:
        Belief after the turn minus belief before it, shape (B,).

    Source:
        AgentOPSD (arXiv 2608.05987), belief walk. Deviation: the prior is kept off 0 and 1, whose logits are infinite.
    """
    from sdar_gym.algorithms.losses.turn_reductions import episodes_in_order

    start_B = prior_B.clamp(0.05, 0.95).logit()
    change_B = evidence_B.new_zeros(evidence_B.shape)
    for rows in episodes_in_order(episode_B, turn_B):
        carried, before = evidence_B.new_zeros(()), start_B[rows[0]].sigmoid()
        for row in rows.tolist():
            carried = decay * carried + evidence_B[row]
            after = (start_B[row] + carried).sigmoid()
            change_B[row] = after - before
            before = after
    return change_B


METHODS = (
    Method(
        name="agent_opsd",
        objective=replace(RELEASED_BASE, clip_high=0.24, teacher=SKILLS_LIVE, shaping=BeliefShaper()),
        summary="Turns get more weight where a belief, updated with the teacher's gap, moves with the outcome.",
        source="arXiv 2608.05987; github.com/ZethWang/AgentOPSD, opsd_utils.py",
        deviations=(
            "Decay 0.95 as the paper is said to have; the released scripts leave it at 1.",
            "Turns everywhere; the released scripts use tokens for WebShop and Search-QA.",
            "The prior belief, the group's success rate, is kept within 0.05 and 0.95.",
            ON_RELEASED_BASE,
        ),
    ),
)

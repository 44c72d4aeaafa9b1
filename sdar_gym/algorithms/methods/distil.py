"""DistIL: forward cross-entropy to a teacher with rich feedback, and credit for later distillation costs.

A distillation loss on the student's own samples has two gradients. The local one makes the student agree with the
teacher at each token; the other comes from the tokens having been sampled, and most methods leave it out.
`FutureCredit` is the second: the surrogate cost_t + log p(y_t)·sg[G_t] has the gradient of the expected sum of costs.

Source: DistIL (arXiv 2606.05152).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

from sdar_gym.algorithms.methods.method import Method
from sdar_gym.algorithms.objectives.advantage_shaping import AdvantageShaper, ShapingInputs, register_shaper
from sdar_gym.algorithms.objectives.distillation import (
    Distillation,
    Divergence,
    GroupFilter,
    Support,
    TokenFilter,
)
from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.algorithms.objectives.schedule import Schedule
from sdar_gym.algorithms.objectives.teacher import Teacher, View, Weights
from sdar_gym.settings import setting

if TYPE_CHECKING:
    from torch import Tensor


class CostBaseline(StrEnum):
    """Baseline of a cost: none, or the mean of the group's costs at the same position."""

    NONE = "none"
    GROUP = "group"


class Cost(StrEnum):
    """The cost of a token: cross-entropy to the teacher, or the forward KL (that minus the teacher's entropy)."""

    CE = "ce"
    KL = "kl"


@register_shaper("future_credit")
@dataclass(frozen=True, slots=True)
class FutureCredit(AdvantageShaper):
    """Bonus -λ·G_t with the discounted distillation cost of all later tokens of the trajectory; λ is `distill.coeff`.

    G_t = Σ_{i > t} γ^(i-t-1) · (cost_i - b_i).

    Source:
        DistIL (arXiv 2606.05152), sequence-level gradient: strictly later tokens, γ = 1, no baseline, cross-entropy.
        Discount, baseline and KL cost are ours: all costs are positive, so that without a baseline the sum grows with
        the length that remains, and short endings are preferred.
    """

    multiplies: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ("cost",)
    shapes_unscored: ClassVar[bool] = True

    coeff: ClassVar[None] = None  # λ is the distillation's.  # pyright: ignore
    gamma: float = setting(1.0, "γ, discount per token.", above=0.0, high=1.0)
    baseline: CostBaseline = setting(CostBaseline.NONE, "Baseline of the costs: `none` or `group`.")
    cost: Cost = setting(Cost.CE, "Cost of a token: `ce` or `kl`.")

    def coefficient(self, distill: Distillation | None) -> Schedule:
        """λ of the distillation loss."""
        return Schedule.constant(0.0) if distill is None else distill.coeff

    def check_with(self, policy_coeff: Schedule, teacher: Teacher | None, distill: Distillation | None) -> None:
        """Refuses a distillation without distributions, or one that leaves tokens out."""
        if distill is None or not distill.divergence.full:
            raise ValueError(
                "shaping.name='future_credit' sums the cost of distributions: it needs distill with a divergence over "
                "distributions, such as forward_ce."
            )
        if distill.support is Support.TEACHER_SAMPLES and self.cost is Cost.KL:
            raise ValueError(
                "shaping.cost='kl' needs the teacher's probabilities, and distill.support='teacher_samples' only has "
                "its samples. Use shaping.cost='ce'."
            )
        left_out = distill.groups is not GroupFilter.ALL or distill.tokens is not TokenFilter.ALL
        if left_out or distill.positive_only or distill.retire_gap is not None:
            raise ValueError(
                "shaping.name='future_credit' needs the cost of every token: set distill.groups='all', "
                "distill.tokens='all', distill.positive_only=false and distill.retire_gap=null."
            )
        AdvantageShaper.check_with(self, policy_coeff, teacher, distill)

    def signal(self, turns: ShapingInputs) -> Tensor:
        """-G_t of each token, shape (B, T), zero where masked."""
        if turns.cost_BT is None:
            raise ValueError("Future credit needs the cost of every token, but it was not scored.")
        return -future_costs(self, turns.cost_BT, turns.response_mask_BT, turns.episode_B, turns.turn_B, turns.group_B)


def future_costs(
    settings: FutureCredit,
    cost_BT: Tensor,
    response_mask_BT: Tensor,
    episode_B: Tensor,
    turn_B: Tensor,
    group_B: Tensor,
) -> Tensor:
    """Returns G_t over the later tokens of the whole trajectory.

    Args:
        settings: Discount and baseline.
        cost_BT: Cost of each token, at the start of the update.
        response_mask_BT: Bool, True on response tokens.
        episode_B: Integer id of each turn's episode.
        turn_B: Number of the turn within its episode.
        group_B: Integer id of each turn's group.

    Returns:
        Detached costs to go, shape (B, T), zero where masked.
    """
    from sdar_gym.algorithms.losses.turn_reductions import episodes_in_order

    cost_BT = cost_BT.masked_fill(~response_mask_BT, 0.0).detach()
    walks = [(rows, response_mask_BT[rows]) for rows in episodes_in_order(episode_B, turn_B)]
    flat = [cost_BT[rows][kept] for rows, kept in walks]
    if settings.baseline is CostBaseline.GROUP:
        flat = _minus_group_mean(flat, [int(group_B[rows[0]]) for rows, _ in walks])
    result_BT = cost_BT.new_zeros(cost_BT.shape)
    for (rows, kept), costs_N in zip(walks, flat, strict=True):
        to_go, running = [], 0.0
        for cost in reversed(costs_N.tolist()):
            to_go.append(running)
            running = cost + settings.gamma * running
        part = cost_BT.new_zeros(kept.shape)
        part[kept] = costs_N.new_tensor(to_go[::-1])
        result_BT[rows] = part
    return result_BT


def _minus_group_mean(flat: list[Tensor], groups: list[int]) -> list[Tensor]:
    """Costs minus the mean of the group's trajectories that are at least as long."""
    longest = max(len(costs_N) for costs_N in flat)
    total: dict[int, Tensor] = {}
    members: dict[int, Tensor] = {}
    for costs_N, group in zip(flat, groups, strict=True):
        total.setdefault(group, costs_N.new_zeros(longest))[: len(costs_N)] += costs_N
        members.setdefault(group, costs_N.new_zeros(longest))[: len(costs_N)] += 1
    return [
        costs_N - (total[group] / members[group].clamp(min=1))[: len(costs_N)]
        for costs_N, group in zip(flat, groups, strict=True)
    ]


METHODS = (
    Method(
        name="distil",
        objective=Objective(
            policy_coeff=Schedule.constant(0.0),
            teacher=Teacher(View.SIBLING, Weights.LIVE),
            distill=Distillation(Schedule.constant(1.0), Divergence.FORWARD_CE, Support.FULL),
            shaping=FutureCredit(),
        ),
        summary="Forward cross-entropy to a teacher with feedback, and credit for the costs of all later tokens.",
        source="arXiv 2606.05152; objective and gradient from the project page rishabh-1086.github.io/project-distIL",
        deviations=(
            "The teacher reads a sibling's success; in the paper it is that in science, the solution in mathematics, "
            "execution feedback in coding (teacher.view; configs/paper/distil-*).",
            "Over the whole vocabulary; the paper trains on the teacher's top k, whose k was not found.",
            "No discount, no baseline, as on the page (shaping.gamma, shaping.baseline); the code was not found.",
            "The future term passes through the clipped policy loss, which changes nothing on the first step.",
            "An episode's later costs run over all its turns.",
        ),
    ),
)

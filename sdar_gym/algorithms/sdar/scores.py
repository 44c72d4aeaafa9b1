"""From scores to one advantage a token: which scores an update needs, and what the teacher makes of the advantage."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sdar_gym.algorithms.future import future_costs
from sdar_gym.algorithms.gates import gate_weights
from sdar_gym.algorithms.objective import Objective
from sdar_gym.algorithms.sdar.turns import TurnTable, distilled_rows
from sdar_gym.algorithms.shape import shape_advantages
from sdar_gym.algorithms.shaping import Signal


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What the learners answered, spread over the turns; B rows, T answer tokens.

    Attributes:
        asked_B: Bool, the turns that were asked about; the others have the sampler's numbers and no gap.
        student_BT: Student log-probabilities, the learner's where it was asked.
        teacher_BT: Teacher log-probabilities, or None if nobody asked.
        control_BT: The same with the blanked view.
        cost_BT: How far the teacher is from the student.
        entropy_BT: The student's entropy; nan where it was not asked.
    """

    asked_B: Tensor
    student_BT: Tensor
    teacher_BT: Tensor | None = None
    control_BT: Tensor | None = None
    cost_BT: Tensor | None = None
    entropy_BT: Tensor | None = None


def wanted_scores(objective: Objective, step: int, *, watched: bool) -> tuple[str, ...]:
    """Returns what to ask the learners for before this update.

    Args:
        objective: The method's settings.
        step: Number of completed updates.
        watched: Whether this update is looked at closely.
    """
    if not objective.needs_teacher_at(step):
        return ()
    shapes, future = objective.shapes_at(step), objective.future_at(step)
    contrast = objective.shaping is not None and objective.shaping.signal is Signal.CONTRAST
    wanted = {
        "student": shapes or watched,
        # Future credit by itself has no use for the sampled tokens' probabilities.
        "teacher": shapes or watched or (objective.scores_at(step) and not future),
        "control": shapes and contrast,
        "cost": future,
    }
    return tuple(name for name, needed in wanted.items() if needed)


def asked_rows(objective: Objective, table: TurnTable, step: int, *, watched: bool) -> Tensor:
    """Bool (B,): the turns whose scores matter: those with a context where advantages use them, else the distilled."""
    if objective.teacher is None:
        return torch.zeros(len(table.turns), dtype=torch.bool)
    if watched or objective.shapes_at(step) or objective.future_at(step):
        return table.context_B(objective.teacher.view)
    return distilled_rows(objective, table)


def spread_scores(table: TurnTable, index_B: Tensor, answered: dict[str, Tensor]) -> Scores:
    """Give every turn the scores of its row.

    Args:
        table: The turns.
        index_B: Row of each turn among those scored, -1 where it was not asked about.
        answered: By name, each [rows scored, T].
    """
    asked_B = index_B >= 0

    def spread(name: str, missing: Tensor) -> Tensor | None:
        if name not in answered:
            return None
        values_BT = answered[name].to(table.old_logp_BT.dtype)[index_B.clamp(min=0)]
        return torch.where(asked_B[:, None] & table.mask_BT, values_BT, missing)

    student_BT = spread("student", table.old_logp_BT)
    student_BT = table.old_logp_BT if student_BT is None else student_BT
    zero_BT = torch.zeros_like(student_BT)
    return Scores(
        asked_B=asked_B,
        student_BT=student_BT,
        teacher_BT=spread("teacher", student_BT),
        control_BT=spread("control", student_BT),
        cost_BT=spread("cost", zero_BT),
        entropy_BT=spread("entropy", torch.full_like(student_BT, torch.nan)),
    )


def token_advantages(objective: Objective, table: TurnTable, scores: Scores | None, step: int) -> Tensor:
    """Returns Â = κ·A·M + B for every token, zero where masked.

    Args:
        objective: The method's settings.
        table: The turns.
        scores: What the learners answered; needed where the teacher enters the advantage.
        step: Number of completed updates.

    Raises:
        ValueError: Scores are needed and missing.
    """
    adv_B = objective.policy_coeff.at(step) * table.adv_B
    adv_BT = torch.where(table.mask_BT, adv_B[:, None], torch.zeros_like(table.old_logp_BT))
    if objective.shaping is not None and objective.shapes_at(step):
        if scores is None or scores.teacher_BT is None:
            raise ValueError("The teacher enters the advantage, but there are no scores of it.")
        turns = table.as_turns(adv_B, scores.student_BT, scores.teacher_BT, scores.control_BT)
        shaped_BT = shape_advantages(objective.shaping, turns, step)
        # A turn without a teacher keeps its own advantage.
        adv_BT = torch.where(scores.asked_B[:, None], shaped_BT, adv_BT)
    if objective.future is not None and objective.distill is not None and objective.future_at(step):
        if scores is None or scores.cost_BT is None:
            raise ValueError("Future credit needs the teacher's costs, but there are no scores of it.")
        ahead_BT = future_costs(
            objective.future, scores.cost_BT, table.mask_BT, table.episode_B, table.turn_B, table.group_B
        )
        adv_BT = adv_BT - objective.distill.coeff.at(step) * ahead_BT
    return adv_BT


def gates(objective: Objective, table: TurnTable, scores: Scores, adv_BT: Tensor) -> Tensor:
    """Returns the gate of every token as the update starts, to be looked at; one where nothing is gated."""
    distill = objective.distill
    if distill is None or scores.teacher_BT is None:
        return torch.ones_like(adv_BT)
    entropy_BT = scores.entropy_BT if scores.entropy_BT is not None else torch.zeros_like(adv_BT)
    return gate_weights(
        distill.gate,
        distill.gate_beta,
        torch.where(table.mask_BT, scores.teacher_BT - scores.student_BT, torch.zeros_like(adv_BT)),
        table.mask_BT,
        entropy_BT=entropy_BT.nan_to_num(),
        adv_BT=adv_BT,
        ratio_BT=torch.ones_like(adv_BT),
    )

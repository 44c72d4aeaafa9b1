"""Computes what `shaping` describes: the teacher's signal gathered, squashed, limited and put into the advantage."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from sdar_gym.algorithms.advantages import episode_deviations
from sdar_gym.algorithms.shaping import Aggregate, Enter, Normalise, Shaping, Signal, Squash
from sdar_gym.algorithms.signals import (
    belief_changes,
    mean_by,
    teacher_gap,
    turn_mean,
    turn_sum,
    turn_z_scores,
    window_mean,
    z_scores_by,
)


@dataclass(frozen=True, slots=True, eq=False)
class Turns:
    """All turns of an update, with what shaping looks at; B rows, T response tokens.

    Args:
        adv_B: κ·A, the base advantage with its coefficient; a bonus is added to it and does not fade with κ.
        mask_BT: Bool, True on response tokens.
        logp_BT: Student log-probabilities of the sampled tokens at the start of the update.
        teacher_logp_BT: The same tokens under the teacher; NaN-free, equal to `logp_BT` where it has no context.
        control_logp_BT: The same under the teacher's blanked view, if there is one.
        group_B: Integer id of each row's group.
        episode_B: Integer id of each row's episode.
        turn_B: Number of the turn within its episode.
        return_B: Return of the row's episode.
        won_B: Bool, whether the row's episode succeeded.

    Raises:
        ValueError: If shapes do not fit.
    """

    adv_B: Tensor
    mask_BT: Tensor
    logp_BT: Tensor
    teacher_logp_BT: Tensor
    group_B: Tensor
    episode_B: Tensor
    turn_B: Tensor
    return_B: Tensor
    won_B: Tensor
    control_logp_BT: Tensor | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            tensor = getattr(self, field.name)
            wanted = self.mask_BT.shape if field.name.endswith("BT") else self.mask_BT.shape[:1]
            if tensor is not None and tensor.shape != wanted:
                raise ValueError(f"{field.name} must have shape {tuple(wanted)}, got {tuple(tensor.shape)}.")


def shape_advantages(shaping: Shaping, turns: Turns, step: int) -> Tensor:
    """Returns κ·A·M or κ·A + B per token; a row's own κ·A where λ(step) is zero.

    Args:
        shaping: The settings.
        turns: All turns of the update.
        step: Number of completed updates.

    Returns:
        Detached advantages, shape (B, T), zero where masked.

    Raises:
        ValueError: If a contrast is asked for without the blanked view's log-probabilities.
    """
    adv_BT = turns.adv_B[:, None].expand_as(turns.mask_BT)
    coeff = shaping.coeff.at(step)
    if coeff:
        signal_BT = _signal(shaping, turns)
        if shaping.enter is Enter.BONUS:
            adv_BT = adv_BT + coeff * _limited(shaping, turns, signal_BT)
        else:
            u_BT = _limited(shaping, turns, turns.adv_B.sign()[:, None] * signal_BT)
            multiplier_BT = 1.0 + coeff * u_BT
            if shaping.turn_budget:
                multiplier_BT = multiplier_BT / turn_mean(multiplier_BT, turns.mask_BT).clamp(min=1e-6)[:, None]
            adv_BT = adv_BT * multiplier_BT
    return torch.where(turns.mask_BT, adv_BT, torch.zeros_like(adv_BT)).detach()


def _signal(shaping: Shaping, turns: Turns) -> Tensor:
    """Per token: x, gathered as the settings say."""
    mask_BT = turns.mask_BT
    match shaping.signal:
        case Signal.GAP:
            x_BT = teacher_gap(turns.teacher_logp_BT, turns.logp_BT, mask_BT)
        case Signal.TEACHER_LOGP:
            x_BT = torch.where(mask_BT, turns.teacher_logp_BT, torch.zeros_like(turns.logp_BT))
        case Signal.CONTRAST:
            if turns.control_logp_BT is None:
                raise ValueError("shaping.signal='contrast' needs teacher.blank_control=true.")
            x_BT = teacher_gap(turns.teacher_logp_BT, turns.control_logp_BT, mask_BT)
    match shaping.aggregate:
        case Aggregate.TOKEN:
            return x_BT
        case Aggregate.WINDOW:
            return window_mean(x_BT, mask_BT, shaping.window or 1)
        case Aggregate.TURN_MEAN:
            x_B = turn_mean(x_BT, mask_BT)
        case Aggregate.TURN_SUM:
            x_B = turn_sum(x_BT, mask_BT)
        case Aggregate.BELIEF:
            prior_B = _success_rate(turns)
            x_B = belief_changes(turn_sum(x_BT, mask_BT), prior_B, turns.episode_B, turns.turn_B, shaping.decay or 1.0)
    return x_B[:, None].expand_as(mask_BT)


def _limited(shaping: Shaping, turns: Turns, x_BT: Tensor) -> Tensor:
    """Per token: u, which is x squashed, normalised, weighed and limited."""
    match shaping.squash:
        case Squash.EXPM1:
            x_BT = torch.expm1(x_BT.clamp(max=20.0))
        case Squash.TANH:
            x_BT = torch.tanh(0.5 * x_BT)
        case Squash.IDENTITY:
            pass
    match shaping.normalise:
        case Normalise.TURN_Z:
            x_BT = turn_z_scores(x_BT, turns.mask_BT)
        case Normalise.TRAJECTORY_Z:
            x_BT = z_scores_by(turn_mean(x_BT, turns.mask_BT), turns.episode_B)[:, None].expand_as(x_BT)
        case Normalise.GROUP_MEAN_ABS:
            size_B = mean_by(turn_mean(x_BT.abs(), turns.mask_BT), turns.group_B)
            x_BT = x_BT / (size_B + 1e-6)[:, None]
        case Normalise.NONE:
            pass
    u_BT = shaping.scale * x_BT
    limit_B = torch.full_like(turns.adv_B, shaping.limit if shaping.limit is not None else torch.inf)
    if shaping.group_trust:
        value_B, spread_B = _teacher_value(turns), _spread(turns)
        u_BT = u_BT * torch.sigmoid(2.0 * value_B)[:, None]
        spread_K = torch.stack([spread_B[turns.group_B == group][0] for group in turns.group_B.unique()])
        live_K = spread_K[spread_K > 0]
        typical = live_K.median() if len(live_K) else spread_B.new_ones(())
        # No spread, no limit left: such a group gets nothing.
        limit_B = torch.where(spread_B > 0, limit_B * (spread_B / typical).clamp(max=1.0), torch.zeros_like(limit_B))
    u_BT = torch.maximum(torch.minimum(u_BT, limit_B[:, None]), -limit_B[:, None])
    if shaping.uncertain_turns is not None:
        u_BT = u_BT * _least_likely(turns, shaping.uncertain_turns)[:, None]
    return u_BT


def _least_likely(turns: Turns, share: float) -> Tensor:
    """Bool (B,): the turns with the highest mean negative log-likelihood, this share of them, at least one."""
    nll_B = -turn_mean(turns.logp_BT, turns.mask_BT)
    chosen_B = torch.zeros_like(nll_B, dtype=torch.bool)
    chosen_B[nll_B.topk(max(1, round(share * len(nll_B)))).indices] = True
    return chosen_B


def _success_rate(turns: Turns) -> Tensor:
    """Per row: the share of its group's episodes that succeeded."""
    return _over_episodes(turns, turns.won_B.to(turns.adv_B.dtype))


def _spread(turns: Turns) -> Tensor:
    """Per row: the standard deviation of its group's returns over episodes, exactly zero where all are the same."""
    _, deviation_B, _ = episode_deviations(turns.return_B, turns.group_B, turns.episode_B)
    return _over_episodes(turns, deviation_B**2).sqrt()


def _teacher_value(turns: Turns) -> Tensor:
    """Per row: the group's mean return of the episodes the teacher likes minus that of those it does not.

    Source: ADRS (arXiv 2608.03223), teacher value of alignment; alignment is σ of the mean teacher log-probability,
    less its mean over all rows as in the released code. Deviation: of whole episodes, where that code takes rows.
    """
    level_B = mean_by(turn_mean(turns.teacher_logp_BT, turns.mask_BT), turns.episode_B)
    liking_B = torch.sigmoid(level_B - level_B.mean())
    liked = _over_episodes(turns, liking_B * turns.return_B) / _over_episodes(turns, liking_B).clamp(min=1e-6)
    other_B = 1.0 - liking_B
    unliked = _over_episodes(turns, other_B * turns.return_B) / _over_episodes(turns, other_B).clamp(min=1e-6)
    return liked - unliked


def _over_episodes(turns: Turns, value_B: Tensor) -> Tensor:
    """Per row: the mean over its group's episodes of a value that all rows of an episode share."""
    _, episode_B, rows_E = torch.unique(turns.episode_B, return_inverse=True, return_counts=True)
    weight_B = 1.0 / rows_E[episode_B].to(value_B.dtype)
    return mean_by(value_B * weight_B, turns.group_B) / mean_by(weight_B, turns.group_B)

"""Per-token diagnostics: teacher-student gap, agreement and gate statistics by token class, turn and position.

All numbers are plain means over the tokens of a whole update, so they are computed before rows are merged or sharded. A
key without tokens is omitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sdar_gym.algorithms.losses.group_statistics import group_advantages
from sdar_gym.algorithms.losses.sampled_divergences import specific_gap, teacher_gap
from sdar_gym.algorithms.objectives.gates import GateInputs
from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.rollout.trajectory import Episode
from sdar_gym.training.collate import loss_weights
from sdar_gym.training.gap_correlation import GapAdvantageCorrelation
from sdar_gym.training.token_classes import TOKEN_CLASSES
from sdar_gym.training.turn_batch import TurnBatch

# Buckets of turns and positions, counted from 1; narrow at the start, where values differ most.
_LAST_OF_BUCKET = (1, 2, 4, 8, 16)
BUCKETS = ("1", "2", "3-4", "5-8", "9-16", "17+")
# In nats: the teacher gives the token at least 95 % of the student's probability.
TOLERANCE = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class TokenDump:
    """The tokens of one update for the run folder's token files.

    Attributes:
        episodes: The update's episodes, in the order of the turns.
        base_advantage_B: κ·A of each turn.
        values: Values by their names in the file, each [turns, response tokens]; nan where not scored.
    """

    episodes: tuple[Episode, ...]
    base_advantage_B: Tensor
    values: dict[str, Tensor]


def collect_diagnostics(
    objective: Objective, batch: TurnBatch, tokenizer: Any, correlation: GapAdvantageCorrelation
) -> tuple[dict[str, float], TokenDump]:
    """Measures one update token by token, before rows are merged.

    Args:
        objective: The method's settings.
        batch: The turns, with scores and advantages.
        tokenizer: The policy's.
        correlation: Running correlations; updated in place.

    Returns:
        Metrics, and the tokens themselves.

    Raises:
        ValueError: The batch has no advantages yet.
    """
    if batch.advantage_BT is None:
        raise ValueError("The batch has no advantages: shape it before it is measured.")
    values = {
        "student_logp": batch.student_logp_BT,
        "token_advantage": batch.advantage_BT,
        "weight": loss_weights(batch, objective),
    }
    dump = TokenDump(batch.episodes, batch.base_advantage_B, values)
    if not batch.has_teacher_scores:
        return {}, dump
    gate_BT = gate_weights(objective, batch)
    if batch.action_BT is not None:
        gate_BT = torch.where(batch.action_BT, gate_BT, torch.zeros_like(gate_BT))
    tokens = UpdateTokens(
        response_mask_BT=batch.response_mask_BT,
        student_logp_BT=batch.student_logp_BT,
        teacher_logp_BT=batch.teacher_logp_BT,
        gate_BT=gate_BT,
        advantage_BT=batch.advantage_BT,
        turn_B=batch.turn_B,
        episode_B=batch.episode_B,
        class_BT=batch.classes(tokenizer),
        class_names=tuple(TOKEN_CLASSES),
        entropy_BT=batch.entropy_BT if bool(batch.scored_B.all()) else None,
        scored_B=batch.scored_B,
    )
    scored_BT = batch.scored_B[:, None]

    def known(value_BT: Tensor) -> Tensor:
        return torch.where(scored_BT, value_BT, torch.full_like(value_BT, torch.nan))

    values["teacher_logp"] = known(batch.teacher_logp_BT)
    values["gap"] = known(batch.teacher_logp_BT - batch.student_logp_BT)
    if objective.distill is not None:
        values["gate"] = known(gate_BT)
    if batch.entropy_BT is not None:
        values["entropy"] = batch.entropy_BT
    return_E = torch.tensor([episode.total_reward for episode in batch.episodes], dtype=batch.old_logp_BT.dtype)
    group_E = torch.tensor([episode.group_id for episode in batch.episodes])
    correlations = correlation.update(
        group_advantages(return_E, group_E).adv_E,
        trajectory_gaps(tokens, len(batch.episodes)),
        group_E,
        [episode.task_type for episode in batch.episodes],
    )
    return {**update_metrics(tokens), **correlations}, dump


def gate_weights(objective: Objective, batch: TurnBatch) -> Tensor:
    """The gate of every token at the start of the update, [B, T]; one without a gate."""
    if batch.advantage_BT is None:
        raise ValueError("The batch has no advantages: shape it before it is measured.")
    distill, ones_BT = objective.distill, torch.ones_like(batch.advantage_BT)
    if distill is None or distill.gate is None or not batch.has_teacher_scores:
        return ones_BT
    gap_BT = teacher_gap(batch.teacher_logp_BT, batch.student_logp_BT, batch.response_mask_BT)
    if distill.contrasts and not distill.divergence.full and batch.control_logp_BT is not None:
        contrast_BT = teacher_gap(batch.teacher_logp_BT, batch.control_logp_BT, batch.response_mask_BT)
        gap_BT = specific_gap(gap_BT, contrast_BT)
    entropy_BT = batch.entropy_BT if batch.entropy_BT is not None else torch.zeros_like(ones_BT)
    return distill.gate.weights(
        GateInputs(gap_BT, batch.response_mask_BT, batch.advantage_BT, ones_BT, entropy_BT.nan_to_num())
    )


@dataclass(frozen=True, slots=True, eq=False)
class UpdateTokens:
    """The tokens of an update, one row a turn, on one device. Padding may hold anything.

    Args:
        response_mask_BT: Bool, True on response tokens.
        student_logp_BT: Log-probabilities of the sampled tokens, in nats.
        teacher_logp_BT: The same under the teacher's context.
        gate_BT: Weight of each token's distillation loss.
        advantage_BT: Advantage of each token, as it enters the loss.
        turn_B: Number of the turn in its episode, from 0.
        episode_B: Position of the turn's episode, from 0.
        class_BT: Position of the token's class in `class_names`.
        class_names: Names of the token classes.
        entropy_BT: The student's entropy at each token, in nats.
        scored_B: Bool, True where the teacher had a privileged context; the others' gap is 0 by construction. None for
            all.

    Raises:
        ValueError: If shapes or types do not fit, or a number is out of range.
    """

    response_mask_BT: Tensor
    student_logp_BT: Tensor
    teacher_logp_BT: Tensor
    gate_BT: Tensor
    advantage_BT: Tensor
    turn_B: Tensor
    episode_B: Tensor
    class_BT: Tensor
    class_names: tuple[str, ...]
    entropy_BT: Tensor | None = None
    scored_B: Tensor | None = None

    def __post_init__(self) -> None:
        if self.response_mask_BT.ndim != 2 or self.response_mask_BT.dtype != torch.bool:
            raise ValueError(
                f"response_mask_BT must be a bool matrix, got {self.response_mask_BT.dtype} of shape "
                f"{tuple(self.response_mask_BT.shape)}."
            )
        for name in ("student_logp_BT", "teacher_logp_BT", "gate_BT", "advantage_BT", "class_BT", "entropy_BT"):
            value = getattr(self, name)
            if value is not None and value.shape != self.response_mask_BT.shape:
                raise ValueError(
                    f"{name} has shape {tuple(value.shape)}, response_mask_BT {tuple(self.response_mask_BT.shape)}."
                )
        for name in ("turn_B", "episode_B", "scored_B"):
            value = getattr(self, name)
            if value is not None and value.shape != self.response_mask_BT.shape[:1]:
                raise ValueError(f"{name} has shape {tuple(value.shape)} for {len(self.response_mask_BT)} rows.")
        if bool((self.turn_B < 0).any()):
            raise ValueError(f"turn_B counts from 0, got {int(self.turn_B.min())}.")
        if bool((self.episode_B < 0).any()):
            raise ValueError(f"episode_B counts from 0, got {int(self.episode_B.min())}.")
        classes = self.class_BT[self.response_mask_BT]
        if bool(((classes < 0) | (classes >= len(self.class_names))).any()):
            raise ValueError(f"class_BT names positions outside of the {len(self.class_names)} in class_names.")

    @property
    def gap_BT(self) -> Tensor:
        """Teacher minus student log-probability of each token, see `teacher_gap`."""
        return teacher_gap(self.teacher_logp_BT, self.student_logp_BT, self.response_mask_BT)

    @property
    def scored_BT(self) -> Tensor:
        """Bool, True on response tokens that the teacher scored."""
        return self.response_mask_BT if self.scored_B is None else self.response_mask_BT & self.scored_B[:, None]


def update_metrics(tokens: UpdateTokens) -> dict[str, float]:
    """All metrics of this file that are computed from the tokens alone.

    Returns:
        `gap/all`, `agreement/all`, `taught/all` (share of tokens that the teacher scored), those of
        `gap_by_class`, `agreement_by_turn` and `by_position`, and by class `tokens/…` (share of all), `gate/…`,
        `abs_advantage/…` and, where entropies are given, `entropy/…`.
    """
    scored_BT, response_mask_BT, class_BT = tokens.scored_BT, tokens.response_mask_BT, tokens.class_BT
    classes, everything_BT = _numbered(tokens.class_names), torch.zeros_like(class_BT)
    metrics = {
        **_means("gap", tokens.gap_BT, everything_BT, scored_BT, {0: "all"}),
        **_means("agreement", _agrees_BT(tokens), everything_BT, scored_BT, {0: "all"}),
        **_means("taught", scored_BT, everything_BT, response_mask_BT, {0: "all"}),
        **gap_by_class(tokens),
        **_means("gate", tokens.gate_BT, class_BT, scored_BT, classes),
        **_means("abs_advantage", tokens.advantage_BT.abs(), class_BT, response_mask_BT, classes),
        **agreement_by_turn(tokens),
        **by_position(tokens),
    }
    for place, name in classes.items():
        metrics |= _means("tokens", class_BT == place, everything_BT, response_mask_BT, {0: name})
    if tokens.entropy_BT is not None:
        metrics |= _means("entropy", tokens.entropy_BT, class_BT, response_mask_BT, classes)
    return metrics


def gap_by_class(tokens: UpdateTokens) -> dict[str, float]:
    """Returns the mean gap of each token class in nats, as `gap/action` and so on."""
    return _means("gap", tokens.gap_BT, tokens.class_BT, tokens.scored_BT, _numbered(tokens.class_names))


def agreement_by_turn(tokens: UpdateTokens) -> dict[str, float]:
    """Returns by turn the mean gap and the agreement, as `gap/turn_1`, `agreement/turn_3-4` and so on.

    A token is agreed on if the teacher gives it at least as much probability as the student does, up to `TOLERANCE`
    nats: gap >= -0.05.
    """
    bucket_BT = _buckets(tokens.turn_B + 1)[:, None].expand_as(tokens.response_mask_BT)
    return _gap_and_agreement(tokens, "turn", bucket_BT)


def by_position(tokens: UpdateTokens) -> dict[str, float]:
    """Returns mean gap and agreement by the token's position in its response, as `gap/position_1` and so on."""
    return _gap_and_agreement(tokens, "position", _buckets(tokens.response_mask_BT.long().cumsum(dim=1)))


def trajectory_gaps(tokens: UpdateTokens, episodes: int) -> Tensor:
    """Returns the mean gap over all tokens of each episode, shape (E,); nan where the teacher did not score.

    Args:
        tokens: The update.
        episodes: Number of episodes.

    Raises:
        ValueError: If `episode_B` names more.
    """
    if len(tokens.episode_B) and int(tokens.episode_B.max()) >= episodes:
        raise ValueError(f"episode_B names episode {int(tokens.episode_B.max())} of {episodes}, counted from 0.")
    scored_BT = tokens.scored_BT
    gap_B = torch.where(scored_BT, tokens.gap_BT, 0.0).double().sum(dim=1)
    index_B = tokens.episode_B.long()
    sum_E = gap_B.new_zeros(episodes).index_add(0, index_B, gap_B)
    count_E = gap_B.new_zeros(episodes).index_add(0, index_B, scored_BT.sum(dim=1).double())
    return sum_E / count_E  # Without tokens 0 / 0, which is nan.


def _agrees_BT(tokens: UpdateTokens) -> Tensor:
    return tokens.gap_BT >= -TOLERANCE


def _gap_and_agreement(tokens: UpdateTokens, what: str, bucket_BT: Tensor) -> dict[str, float]:
    names = _numbered([f"{what}_{bucket}" for bucket in BUCKETS])
    return {
        **_means("gap", tokens.gap_BT, bucket_BT, tokens.scored_BT, names),
        **_means("agreement", _agrees_BT(tokens), bucket_BT, tokens.scored_BT, names),
    }


def _buckets(count: Tensor) -> Tensor:
    return torch.bucketize(count, torch.tensor(_LAST_OF_BUCKET, device=count.device))


def _numbered(names: Sequence[str]) -> dict[int, str]:
    return dict(enumerate(names))


def _means(
    name: str, value_BT: Tensor, part_BT: Tensor, response_mask_BT: Tensor, parts: Mapping[int, str]
) -> dict[str, float]:
    """`<name>/<part>`: the mean over the tokens of each part that has any."""
    chosen = {part: value_BT[response_mask_BT & (part_BT == place)] for place, part in parts.items()}
    return {f"{name}/{part}": value.double().mean().item() for part, value in chosen.items() if len(value)}

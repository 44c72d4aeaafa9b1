"""The update pipeline: prepare -> score -> shape -> collate, without Ray.

An update takes finished episodes and ends with columns for gradient steps. Each step returns the same `TurnBatch` with
more filled in, so an update can be tested, profiled and replayed step by step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from sdar_gym.algorithms.losses.importance_correction import importance_weights, mismatch_metrics
from sdar_gym.algorithms.losses.sampled_divergences import specific_gap, teacher_gap
from sdar_gym.algorithms.objectives.distillation import TokenFilter
from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.algorithms.objectives.teacher import View
from sdar_gym.rollout.trajectory import Episode
from sdar_gym.training.collate import Columns, loss_weights, scoring_columns, to_turns, training_columns
from sdar_gym.training.token_classes import PieceTokenizer
from sdar_gym.training.turn_batch import TurnBatch, turn_batch

# Takes columns and names of scores; returns them by name, each [rows, response tokens].
ScoreFunction = Callable[[Columns, Sequence[str]], Mapping[str, Tensor]]


class PrivilegedContextWriter(Protocol):
    """Writes the teacher's prompts of finished episodes."""

    def write(self, episodes: Sequence[Episode]) -> dict[str, float]:
        """Fills in the teacher's token sequences and returns metrics."""
        ...


class UpdatePipeline:
    """Turns finished episodes into columns to learn from.

    Args:
        objective: The method's settings.
        score: Computes log-probabilities of the sampled tokens without gradient.
        pad_id: Padding token.
        invalid_action_penalty: Penalty of a turn with an invalid action.
        old_logp: `sampler` keeps the sampler's log-probabilities in the importance ratio, `learner` recomputes them
            before the first gradient step.
        importance_correction: With `learner`: correction for a sampler that differs from the learner, `off` or a mode
            of `importance_weights`.
        importance_cap: Largest importance weight.
        writer: Writes teacher prompts that need finished episodes; None where skills are in the prompts already.
        dtype: Precision of the numbers.
        tokenizer: The policy's, for `distill.tokens='action'`.
    """

    def __init__(
        self,
        objective: Objective,
        score: ScoreFunction,
        *,
        pad_id: int,
        invalid_action_penalty: float = 0.0,
        old_logp: str = "sampler",
        importance_correction: str = "off",
        importance_cap: float = 2.0,
        writer: PrivilegedContextWriter | None = None,
        dtype: torch.dtype = torch.float32,
        tokenizer: PieceTokenizer | None = None,
    ):
        self._objective = objective
        self._score = score
        self._pad_id = pad_id
        self._penalty = invalid_action_penalty
        self._old_logp = old_logp
        self._correction, self._cap = importance_correction, importance_cap
        self._writer = writer
        self._dtype = dtype
        self._tokenizer = tokenizer

    def prepare(self, episodes: Sequence[Episode], step: int) -> TurnBatch:
        """Builds the batch of turns with group-relative advantages, and writes the teacher's prompts.

        Args:
            episodes: Whole groups; groups with a failed episode are left out.
            step: Number of completed updates.

        Raises:
            ValueError: No group of two is left, or actions are to be distilled and there is no tokenizer.
        """
        failed = {episode.group_id for episode in episodes if episode.error}
        kept = [episode for episode in episodes if episode.group_id not in failed]
        batch = turn_batch(kept, self._objective, step, invalid_action_penalty=self._penalty, dtype=self._dtype)
        if self._writer is not None and self._objective.needs_teacher_at(step):
            batch.metrics.update(self._writer.write(batch.episodes))
        distill = self._objective.distill
        if distill is not None and distill.tokens is TokenFilter.ACTION:
            if self._tokenizer is None:
                raise ValueError("distill.tokens='action' needs the policy's tokenizer; give the pipeline one.")
            batch = batch.with_actions(self._tokenizer)
        return batch

    def score(self, batch: TurnBatch, step: int, *, diagnostics: bool = False) -> TurnBatch:
        """Fills in the log-probabilities that advantages, loss and diagnostics need.

        Args:
            batch: Of `prepare`.
            step: Number of completed updates.
            diagnostics: Whether per-token diagnostics are collected.
        """
        objective = self._objective
        names = objective.required_scores(step, diagnostics=diagnostics)
        student: dict[str, Tensor] = {}
        if self._old_logp == "learner":
            student = self._scores(batch, torch.ones(len(batch.turns), dtype=torch.bool), ("student",))
            logp_BT = student["student"]
            batch = self._corrected(batch, logp_BT)
            batch = replace(batch, old_logp_BT=logp_BT, student_logp_BT=logp_BT, teacher_logp_BT=logp_BT)
        if not names or objective.teacher is None:
            return batch
        everywhere = diagnostics or objective.shaping_coeff_at(step) != 0.0
        rows_B = batch.has_teacher_B(objective.teacher.view) if everywhere else batch.distilled_B(objective)
        found = student | self._scores(batch, rows_B, [name for name in names if name not in student])
        student_BT = found.get("student", batch.old_logp_BT)
        scored = replace(
            batch,
            scored_B=rows_B,
            student_logp_BT=student_BT,
            teacher_logp_BT=found.get("teacher", student_BT),
            control_logp_BT=found.get("control"),
            cost_BT=found.get("cost"),
            entropy_BT=found.get("entropy"),
            has_teacher_scores="teacher" in names,
        )
        distill = objective.distill
        if distill is not None and distill.contrasts and distill.divergence.full and objective.distills_at(step):
            return scored.trusting(_specific_shares(scored))
        return scored

    def _corrected(self, batch: TurnBatch, logp_BT: Tensor) -> TurnBatch:
        """Measures how far the sampler is from the learner at the start of the update, and corrects for it."""
        mask_BT, sampler_logp_BT = batch.response_mask_BT, batch.old_logp_BT
        weight_BT = loss_weights(batch, self._objective)
        mismatch, corrected = mismatch_metrics(logp_BT, sampler_logp_BT, mask_BT, weight_BT), 0.0
        importance_BT = None
        if self._correction != "off":
            weights = partial(importance_weights, self._correction, logp_BT, sampler_logp_BT, mask_BT)
            importance_BT = weights(cap=self._cap)
            # What the cap changed: a weight that it lowered, or a token that it left out.
            corrected = float(((importance_BT != weights(cap=math.inf)) * weight_BT).sum())
        mismatch["mismatch_corrected_fraction"] = corrected
        return replace(batch, importance_BT=importance_BT, mismatch=mismatch)

    def shape(self, batch: TurnBatch, step: int) -> TurnBatch:
        """Fills in Â = κ·A·M + B of every token, zero where masked.

        Args:
            batch: Of `score`.
            step: Number of completed updates.

        Raises:
            ValueError: The shaper needs scores that the batch does not have.
        """
        shaper, coeff = self._objective.shaping, self._objective.shaping_coeff_at(step)
        base_BT = torch.where(
            batch.response_mask_BT, batch.base_advantage_B[:, None], torch.zeros_like(batch.old_logp_BT)
        )
        if shaper is None or coeff == 0.0:
            return replace(batch, advantage_BT=base_BT)
        if "teacher" in shaper.needs and not batch.has_teacher_scores:
            # Without them every gap would be 0, and the advantage silently the turn's own.
            raise ValueError(f"shaping.name={shaper.NAME!r} needs the teacher's scores: score the batch first.")
        shaped_BT = shaper.shape(batch, coeff).detach()
        shaped_BT = torch.where(batch.response_mask_BT, shaped_BT, torch.zeros_like(base_BT))
        if not shaper.shapes_unscored:
            shaped_BT = torch.where(batch.scored_B[:, None], shaped_BT, base_BT)
        return replace(batch, advantage_BT=shaped_BT)

    def ratio(self, batch: TurnBatch) -> Tensor:
        """The importance ratio of every token with the weights as they are now, [B, T]; one where nothing has changed.

        Args:
            batch: Of `score`, whose gradient steps may have been taken.
        """
        everything_B = torch.ones(len(batch.turns), dtype=torch.bool)
        logp_BT = self._scores(batch, everything_B, ("student",))["student"]
        return (logp_BT - batch.old_logp_BT).exp()

    def collate(self, batch: TurnBatch, step: int, *, row_multiple: int, shuffle_seed: str) -> tuple[Columns, int]:
        """Merges, shuffles and pads rows; see `training_columns`.

        Args:
            batch: Of `shape`.
            step: Number of completed updates.
            row_multiple: The number of rows is a multiple of it.
            shuffle_seed: Rows are shuffled with it.
        """
        return training_columns(
            batch,
            self._objective,
            step=step,
            row_multiple=row_multiple,
            pad_id=self._pad_id,
            shuffle_seed=shuffle_seed,
        )

    def _scores(self, batch: TurnBatch, rows_B: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Scores of turns by name, [B, T]; turns that are not scored get the student's values and a cost of 0."""
        row_B, found = torch.full(rows_B.shape, -1), {}
        if bool(rows_B.any()):
            teacher = self._objective.teacher
            columns, row_B = scoring_columns(
                batch,
                rows_B,
                View.NONE if teacher is None else teacher.view,
                self._pad_id,
                control="control" in names,
            )
            found = dict(self._score(columns, names))
        empty = batch.old_logp_BT.new_zeros((1, batch.response_mask_BT.shape[1]))

        def spread(name: str, missing_BT: Tensor) -> Tensor:
            return to_turns(batch, row_B, found.get(name, empty), missing_BT)

        result: dict[str, Tensor] = {}
        student_BT = batch.old_logp_BT
        if "student" in names:
            result["student"] = student_BT = spread("student", batch.old_logp_BT)
            result["entropy"] = spread("entropy", torch.full_like(student_BT, torch.nan))
        missing: dict[str, Any] = {"teacher": student_BT, "control": student_BT, "cost": torch.zeros_like(student_BT)}
        return result | {name: spread(name, missing[name]) for name in names if name in missing}


def _specific_shares(batch: TurnBatch) -> dict[str, float]:
    """By task type the share of the gaps that is specific to the skills: Σ|specific part| / Σ|Δ|; 0 without gaps."""
    if batch.control_logp_BT is None:
        raise ValueError("A contrast needs the scores of the control text: score the batch with `control`.")
    mask_BT = batch.response_mask_BT & batch.scored_B[:, None]
    gap_BT = teacher_gap(batch.teacher_logp_BT, batch.student_logp_BT, mask_BT)
    part_BT = specific_gap(gap_BT, teacher_gap(batch.teacher_logp_BT, batch.control_logp_BT, mask_BT))
    sums: dict[str, list[float]] = {episode.task_type: [0.0, 0.0] for episode in batch.episodes}
    pairs = zip(batch.episode_B.tolist(), part_BT.abs().sum(1).tolist(), gap_BT.abs().sum(1).tolist(), strict=True)
    for number, part, gap in pairs:
        of_type = sums[batch.episodes[number].task_type]
        of_type[0] += part
        of_type[1] += gap
    return {name: part / gap if gap > 0 else 0.0 for name, (part, gap) in sums.items()}

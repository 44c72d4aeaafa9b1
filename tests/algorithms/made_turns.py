"""Turns of an update made of tensors, and the advantages that the update pipeline shapes from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sdar_gym.algorithms.objectives.advantage_shaping import AdvantageShaper
from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.algorithms.objectives.teacher import Teacher, View
from sdar_gym.training.pipeline import UpdatePipeline
from sdar_gym.training.turn_batch import TurnBatch


def turns_of(**tensors: Tensor) -> TurnBatch:
    """A batch of scored turns of which only what advantages are computed from is given; the rest is empty.

    The sampler's log-probabilities are the student's.
    """
    rows = len(tensors["base_advantage_B"])
    nothing: dict[str, Any] = {"episodes": (), "turns": (), "sequences": ()}
    places_B = torch.arange(rows)
    return TurnBatch(
        **nothing,
        sequence_B=places_B,
        span_B=torch.zeros_like(places_B),
        start_B=torch.zeros_like(places_B),
        offset_B=torch.zeros_like(places_B),
        old_logp_BT=tensors["student_logp_BT"],
        scored_B=torch.ones(rows, dtype=torch.bool),
        has_teacher_scores=True,
        **tensors,  # pyright: ignore[reportArgumentType]
    )


def shape(shaping: AdvantageShaper | Objective, turns: TurnBatch, step: int = 0) -> Tensor:
    """The advantage of each token, shaped as in an update: the pipeline masks and skips turns that were not scored."""
    if isinstance(shaping, AdvantageShaper):
        blank = "control" in shaping.needs
        teacher = Teacher(View.FEEDBACK if blank else View.SKILLS, blank_control=blank)
        shaping = Objective(teacher=teacher, shaping=shaping)
    found = UpdatePipeline(shaping, _no_scores, pad_id=0).shape(turns, step).advantage_BT
    assert found is not None
    return found


def plain(turns: TurnBatch) -> Tensor:
    """κ·A of each token, zero where masked."""
    return turns.base_advantage_B[:, None] * turns.response_mask_BT


def _no_scores(columns: Any, names: Sequence[str]) -> dict[str, Tensor]:
    raise AssertionError("Nothing is scored here.")

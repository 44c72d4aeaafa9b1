"""Micro-batches: rows of a minibatch that are computed together, cut to their longest sequence and response."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from sdar_gym.policy.batching import budget_batches
from sdar_gym.training.collate import (
    ADVANTAGE,
    CONTROL_LOGP,
    DISTILL,
    IMPORTANCE,
    INPUT_IDS,
    OLD_LOGP,
    RESPONSE_MASK,
    RESPONSE_POSITION,
    SPAN,
    TEACHER_LOGP,
    TRUST,
    WEIGHT,
)
from sdar_gym.training.scoring import widths

# Added by the learner.
REFERENCE_LOGP = "reference_logp"
_BY_TOKEN = (
    RESPONSE_POSITION,
    SPAN,
    ADVANTAGE,
    WEIGHT,
    DISTILL,
    IMPORTANCE,
    TRUST,
    OLD_LOGP,
    TEACHER_LOGP,
    CONTROL_LOGP,
    REFERENCE_LOGP,
)


class Piece(NamedTuple):
    """A micro-batch before it is cut.

    Attributes:
        rows: Its rows of the minibatch.
        width: Tokens of the longest sequence.
        length: Tokens of the longest response.
    """

    rows: Tensor
    width: int
    length: int


def micro_batches(columns: Mapping[str, Tensor], most_tokens: int) -> list[Piece]:
    """Shares the rows that have response tokens out over micro-batches.

    Args:
        columns: Those of a minibatch.
        most_tokens: Tokens of a micro-batch, padding included; a longer row is alone.
    """
    # Copied once a step: the loop over micro-batches does not wait for the device.
    mask_BT = columns[RESPONSE_MASK].cpu()
    width_B, length_B = widths(columns[RESPONSE_POSITION].cpu(), mask_BT), mask_BT.sum(dim=1)
    rows_with_tokens = (width_B > 0).nonzero().flatten().tolist()
    pieces = budget_batches(rows_with_tokens, width_B.tolist(), most_tokens)
    return [Piece(rows, width, int(length_B[rows].max())) for rows, width in pieces]


def cut(columns: Mapping[str, Tensor], piece: Piece, device: torch.device) -> dict[str, Tensor]:
    """The columns of a micro-batch, [rows, width] or [rows, length].

    Args:
        columns: Those of the minibatch.
        piece: The micro-batch.
        device: Of the columns.
    """
    rows = piece.rows.to(device)
    micro = {
        INPUT_IDS: columns[INPUT_IDS][rows, : piece.width],
        RESPONSE_MASK: columns[RESPONSE_MASK][rows, : piece.length].bool(),
    }
    for name in _BY_TOKEN:
        if name in columns:
            micro[name] = columns[name][rows, : piece.length]
    return micro


def idle_micro_batch(columns: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """One token of a row, for a learner with padding rows only: the other learners wait for its gradients.

    Args:
        columns: Those of the minibatch.
        device: Of the columns.
    """
    return {
        INPUT_IDS: columns[INPUT_IDS][:1, :2],
        RESPONSE_POSITION: torch.ones((1, 1), dtype=torch.long, device=device),
        RESPONSE_MASK: torch.ones((1, 1), dtype=torch.bool, device=device),
    }

"""Batching of token sequences: right padding, and batches within a token budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

# Bound on the cached prefixes, as a multiple of the token budget.
_CACHE_FACTOR = 4


def right_padded(sequences: Sequence[Sequence[int]], pad_id: int, rows: int | None = None) -> np.ndarray:
    """Token ids with padding on the right, [rows, longest].

    Args:
        sequences: Token ids; at least one sequence.
        pad_id: Padding token.
        rows: Rows of the result; those beyond the sequences hold padding alone.
    """
    padded = np.full((rows or len(sequences), max(map(len, sequences))), pad_id, dtype=np.int64)
    for row, ids in enumerate(sequences):
        padded[row, : len(ids)] = ids
    return padded


def budget_batches(
    rows: Sequence[int], widths: Sequence[int], token_budget: int, shared: int = 0
) -> Iterator[tuple[torch.Tensor, int]]:
    """Splits rows, sorted by length, into batches within a token budget.

    Args:
        rows: Row numbers.
        widths: Tokens of every row, by row number.
        token_budget: Tokens of one pass, padding included.
        shared: Tokens of a prefix that all rows have in common, counted once.

    Yields:
        Rows and the width of the widest one.
    """
    batch: list[int] = []
    for row in sorted(rows, key=lambda row: (widths[row], row)):
        size, width = len(batch) + 1, widths[row]
        full = shared + size * (width - shared) > token_budget
        # The cache holds the shared prefix once a row, so many rows must not have a very long one.
        full = full or (shared > 0 and size * width > _CACHE_FACTOR * token_budget)
        if batch and full:
            yield torch.tensor(batch), widths[batch[-1]]
            batch = []
        batch.append(row)
    if batch:
        yield torch.tensor(batch), widths[batch[-1]]

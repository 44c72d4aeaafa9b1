"""Prompts that begin alike are read once: skills stand in every turn of a group and fill most of a teacher's prompt.

Only where no gradient is wanted. Letters: B rows, S tokens of prompt and answer, H hidden size, P shared tokens.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel

from sdar_gym.policy.transformers_compat import cache_argument

# A shorter beginning is not worth a pass of its own.
LEAST_SHARED = 32
_LEAST_ROWS = 4
# A row joins its neighbours as long as they keep this share of what they have in common.
_KEPT_SHARE = 0.75
# The cache holds the shared beginning once a row, so that many rows must not have a very long one.
_CACHE_FACTOR = 4


def hidden_states(
    model: PreTrainedModel, input_ids_BS: torch.Tensor, prompt_len_B: torch.Tensor
) -> tuple[torch.Tensor, int]:
    """Run the model without its head; without gradients a common beginning of all rows is run once.

    Args:
        model: The causal language model.
        input_ids_BS: Prompt, answer, padding on the right.
        prompt_len_B: Tokens of each prompt, at least 1.

    Returns:
        Hidden states from token P on, [B, S - P, H], and P; the state that predicts an answer's first token is always
        among them.
    """
    # No mask: with padding on the right, causal attention keeps every real token from seeing any of it.
    rows = len(input_ids_BS)
    shared = 0
    if rows > 1 and not torch.is_grad_enabled():
        shared = int((input_ids_BS == input_ids_BS[:1]).all(dim=0).long().cumprod(dim=0).sum())
        shared = min(shared, int(prompt_len_B.min()) - 1)
    if shared < LEAST_SHARED:
        return model.base_model(input_ids=input_ids_BS, use_cache=False).last_hidden_state, 0
    cache = DynamicCache(config=model.config)
    body = model.base_model
    body(input_ids=input_ids_BS[:1, :shared], use_cache=True, **cache_argument(body, cache))
    cache.batch_repeat_interleave(rows)
    result = body(input_ids=input_ids_BS[:, shared:], use_cache=True, **cache_argument(body, cache))
    return result.last_hidden_state, shared


def alike_batches(
    input_ids_BS: torch.Tensor, prompt_len_B: torch.Tensor, answers_B: torch.Tensor, token_budget: int
) -> Iterator[tuple[torch.Tensor, int]]:
    """Cuts rows into batches of those that begin alike, or else are alike in length.

    Args:
        input_ids_BS: Prompt, answer, padding on the right.
        prompt_len_B: Tokens of each prompt.
        answers_B: Tokens of each answer; rows without any are left out.
        token_budget: Tokens of one pass, padding included and a shared beginning counted once.

    Yields:
        Rows and the width of the widest one.
    """
    width_B = (prompt_len_B + answers_B).tolist()
    loose: list[int] = []
    for group, shared in _alike(input_ids_BS, prompt_len_B, answers_B):
        if len(group) < _LEAST_ROWS:
            loose += group
        else:
            yield from _cut(group, width_B, token_budget, shared)
    yield from _cut(loose, width_B, token_budget, 0)


def _alike(
    input_ids_BS: torch.Tensor, prompt_len_B: torch.Tensor, answers_B: torch.Tensor
) -> Iterator[tuple[list[int], int]]:
    """Groups of rows and how many tokens they begin with in common, in the order of their texts."""
    ids = input_ids_BS.cpu().numpy().astype(">u4")
    lengths = prompt_len_B.tolist()
    rows = sorted((answers_B > 0).nonzero().flatten().tolist(), key=lambda row: ids[row].tobytes())
    group: list[int] = []
    shared = 0
    for row in rows:
        if group:
            common = min(_common(ids[group[-1]], ids[row]), lengths[row] - 1)
            kept = common if len(group) == 1 else min(shared, common)
            if kept >= LEAST_SHARED and (len(group) == 1 or kept >= _KEPT_SHARE * shared):
                group.append(row)
                shared = min(kept, lengths[group[0]] - 1)
                continue
            yield group, shared if len(group) > 1 else 0
        group, shared = [row], 0
    if group:
        yield group, shared if len(group) > 1 else 0


def _common(first: np.ndarray, second: np.ndarray) -> int:
    different = first != second
    return int(different.argmax()) if different.any() else len(first)


def _cut(rows: list[int], width_B: list[int], token_budget: int, shared: int) -> Iterator[tuple[torch.Tensor, int]]:
    batch: list[int] = []
    for row in sorted(rows, key=lambda row: (width_B[row], row)):
        size, width = len(batch) + 1, width_B[row]
        too_many = shared + size * (width - shared) > token_budget or size * width > _CACHE_FACTOR * token_budget
        if batch and too_many:
            yield torch.tensor(batch), width_B[batch[-1]]
            batch = []
        batch.append(row)
    if batch:
        yield torch.tensor(batch), width_B[batch[-1]]

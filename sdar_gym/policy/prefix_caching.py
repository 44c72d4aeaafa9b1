"""Prefix caching: shared prompt prefixes are prefilled once, such as the skills in a group's teacher prompts.

Only without gradients. Letters: B rows, S tokens of a sequence, H hidden size, P tokens of the shared prefix.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel

from sdar_gym.policy.batching import budget_batches
from sdar_gym.policy.transformers_compat import cache_argument

# A shorter prefix is not worth a separate pass.
LEAST_SHARED = 32
_LEAST_ROWS = 4
# A row joins a group as long as the group keeps this share of its common prefix.
_KEPT_SHARE = 0.75


def hidden_states(
    model: PreTrainedModel, input_ids_BS: torch.Tensor, prompt_len_B: torch.Tensor
) -> tuple[torch.Tensor, int]:
    """Runs the model without its head; without gradients a prefix common to all rows is prefilled once.

    Args:
        model: The causal language model.
        input_ids_BS: Sequences, padded on the right.
        prompt_len_B: Tokens before each row's first response token, at least 1.

    Returns:
        Hidden states from token P on, [B, S - P, H], and P; the state that predicts a response's first token is always
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


def prefix_batches(
    input_ids_BS: torch.Tensor, prompt_len_B: torch.Tensor, width_B: torch.Tensor, token_budget: int
) -> Iterator[tuple[torch.Tensor, int]]:
    """Splits rows into batches with a common prefix, or else of similar length.

    Args:
        input_ids_BS: Sequences, padded on the right.
        prompt_len_B: Tokens before each row's first response token.
        width_B: Tokens up to and including each row's last response token; rows with 0 are left out.
        token_budget: Tokens of one pass, padding included and a shared prefix counted once.

    Yields:
        Rows and the width of the widest one.
    """
    widths = width_B.tolist()
    loose: list[int] = []
    for group, shared in prefix_groups(input_ids_BS, prompt_len_B, width_B):
        if len(group) < _LEAST_ROWS:
            loose += group
        else:
            yield from budget_batches(group, widths, token_budget, shared)
    yield from budget_batches(loose, widths, token_budget)


def prefix_groups(
    input_ids_BS: torch.Tensor, prompt_len_B: torch.Tensor, width_B: torch.Tensor
) -> Iterator[tuple[list[int], int]]:
    """Groups of rows with the length of their common prefix, in the order of their token ids.

    Args:
        input_ids_BS: Sequences, padded on the right.
        prompt_len_B: Tokens before each row's first response token; a prefix is shorter.
        width_B: Tokens up to and including each row's last response token; rows with 0 are left out.
    """
    ids = input_ids_BS.cpu().numpy().astype(">u4")
    lengths = prompt_len_B.tolist()
    rows = sorted((width_B > 0).nonzero().flatten().tolist(), key=lambda row: ids[row].tobytes())
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

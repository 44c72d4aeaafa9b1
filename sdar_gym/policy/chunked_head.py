"""Chunked LM head: the response tokens of a batch, and logits of as many of them at once as fit a memory budget.

Letters as in `logprobs.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from sdar_gym.policy.prefix_caching import hidden_states

# Memory of a chunk's logits; the backward pass needs about five times as much. Each chunk reads the whole head matrix,
# and in the backward pass writes a gradient of its size, so a smaller budget takes more time.
LOGIT_BUDGET_BYTES = 64 * 2**20
# Smallest chunk, however large the vocabulary is.
LEAST_TOKENS = 16


@dataclass(frozen=True, slots=True)
class ResponseTokens:
    """The response tokens of all rows, one after the other.

    Attributes:
        hidden_NH: Hidden state from which the head computes the token's logits.
        target_N: Id of the token.
        rows_N: Its row in the batch.
        places_N: Its place in the response, counted from 0.
    """

    hidden_NH: torch.Tensor
    target_N: torch.Tensor
    rows_N: torch.Tensor
    places_N: torch.Tensor

    def part(self, which: slice | torch.Tensor) -> ResponseTokens:
        """A part of the tokens."""
        return ResponseTokens(self.hidden_NH[which], self.target_N[which], self.rows_N[which], self.places_N[which])

    def __len__(self) -> int:
        return len(self.target_N)

    def scatter(self, values_N: torch.Tensor, shape_BT: torch.Size | tuple[int, ...]) -> torch.Tensor:
        """Values of the first tokens, [N] or [N, K], back in their places, [B, T] or [B, T, K]; 0 elsewhere."""
        where = (self.rows_N[: len(values_N)], self.places_N[: len(values_N)])
        return values_N.new_zeros((*shape_BT, *values_N.shape[1:])).index_put(where, values_N)


def response_tokens(
    model: PreTrainedModel, input_ids_BS: torch.Tensor, position_BT: torch.Tensor, response_mask_BT: torch.Tensor
) -> ResponseTokens:
    """Runs the model without its head over right-padded sequences.

    Args:
        model: The causal language model.
        input_ids_BS: Sequences, padded on the right.
        position_BT: Position of each response token in its sequence, increasing and at least 1.
        response_mask_BT: 1 where the row has a response token.
    """
    hidden_BSH, first = hidden_states(model, input_ids_BS, position_BT[:, 0])
    rows_N, places_N = response_mask_BT.bool().nonzero(as_tuple=True)
    at_N = position_BT[rows_N, places_N]
    # Token i is predicted from position i - 1.
    return ResponseTokens(hidden_BSH[rows_N, at_N - 1 - first], input_ids_BS[rows_N, at_N], rows_N, places_N)


def head_of(model: PreTrainedModel) -> torch.nn.Linear:
    """The language-model head.

    Raises:
        ValueError: The model has none, or it is not a linear layer.
    """
    head = model.get_output_embeddings()
    if not isinstance(head, torch.nn.Linear):
        raise ValueError(
            f"The language-model head of {type(model).__name__} is {type(head).__name__}, not a linear layer; use a "
            "causal language model such as Qwen2.5, Qwen3 or Llama."
        )
    return head


def chunks(count: int, head: torch.nn.Linear, logit_budget_bytes: int) -> list[slice]:
    """Splits tokens so that the logits of each part fit the budget.

    Args:
        count: Tokens.
        head: The language-model head.
        logit_budget_bytes: Memory of a chunk's logits, in single precision (in double for a double model).

    Returns:
        At least one slice, though it may be empty, so that results always have names, types and a gradient.
    """
    bytes_each = 8 if head.weight.dtype == torch.float64 else 4
    size = max(LEAST_TOKENS, logit_budget_bytes // (head.weight.shape[0] * bytes_each))
    return [slice(start, start + size) for start in range(0, max(count, 1), size)]


def scaled(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Logits divided by the temperature, in single precision or better."""
    if logits.dtype in (torch.bfloat16, torch.float16):
        logits = logits.float()
    return logits if temperature == 1 else logits / temperature


def logits_of(
    tokens: ResponseTokens, head: torch.nn.Linear, temperature: float, logit_budget_bytes: int
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Yields each chunk of tokens as a slice, and its logits_NV."""
    for piece in chunks(len(tokens), head, logit_budget_bytes):
        yield piece, scaled(head(tokens.hidden_NH[piece]), temperature)

"""The engine protocol: sampling responses with the policy's current weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """Sampling parameters.

    Attributes:
        max_tokens: Longest response.
        temperature: 0 takes the most likely token; log-probabilities are those at this temperature (at 1 if 0).
    """

    max_tokens: int
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1, got {self.max_tokens}.")
        if self.temperature < 0:
            raise ValueError(f"temperature must not be negative, got {self.temperature}.")


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One prompt. Its draws depend on `seed` alone, not on the rest of the batch."""

    prompt_ids: Sequence[int]
    seed: int


@dataclass(frozen=True, slots=True)
class GenerationResult:
    """One response.

    Attributes:
        token_ids: Sampled tokens, the end token included if it was reached.
        logprobs: Log-probability of each, under the distribution it was drawn from.
        finish_reason: `stop` (end token) or `length`.
        weight_version: Version of the weights that sampled it.
    """

    token_ids: list[int]
    logprobs: list[float]
    finish_reason: str
    weight_version: int


class Engine(Protocol):
    """Samples responses with the current weights."""

    @property
    def stop_ids(self) -> Sequence[int]:
        """Tokens that end a response."""
        ...

    def generate(self, requests: Sequence[GenerationRequest], params: SamplingParams) -> list[GenerationResult]:
        """One response per request, in order."""
        ...

    def update_weights(self, state_dict: Mapping[str, torch.Tensor], version: int) -> None:
        """Loads new weights (the full state dict, `lm_head` included) and clears every cache of the old ones."""
        ...

    def info(self) -> dict[str, Any]:
        """`backend`, `version`, `dtype` and `max_len`, the longest sequence in tokens (None without limit)."""
        ...

    def close(self) -> None:
        """Frees memory and processes; a second call does nothing."""
        ...

"""The engine protocol: sampling responses with the policy's current weights."""

# An engine without caches or processes has nothing to do in these methods.
# ruff: noqa: B027

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from sdar_gym.envs.prompting import Message


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """Sampling parameters.

    Attributes:
        max_tokens: Longest response.
        temperature: 0 takes the most likely token; log-probabilities are those at this temperature (at 1 if 0).
        top_p: Only the most likely tokens that together reach this probability are drawn, at least one.
        top_k: Only the k most likely tokens are drawn; 0 for all of them.
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1, got {self.max_tokens}.")
        if self.temperature < 0:
            raise ValueError(f"temperature must not be negative, got {self.temperature}.")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, got {self.top_p}.")
        if self.top_k < 0:
            raise ValueError(f"top_k must be at least 0, got {self.top_k}.")


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One prompt.

    Several samples of a prompt are several requests with it; an engine prefills equal prompts once.

    Attributes:
        prompt_ids: Token ids, chat template included.
        seed: The draws depend on it alone, not on the rest of the batch.
        session: Name of the conversation that the prompt continues, or None. A hint: an engine that keeps the keys and
            values of a session reads only the tokens that are new, and all of them if the prompt does not begin with
            the tokens it has.
        messages: The prompt as chat messages, for a server that applies the chat template; `prompt_ids` is empty then.
        deadline: When the response has to be there, in seconds of `time.monotonic`; read by servers' clients only.
    """

    prompt_ids: Sequence[int]
    seed: int
    session: str | None = None
    messages: Sequence[Message] = ()
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class GenerationResult:
    """One response.

    Attributes:
        token_ids: Sampled tokens, the end token included if it was reached.
        logprobs: Log-probability of each, under the distribution it was drawn from: `temperature`, `top_k` and `top_p`
            applied. At temperature 0 it is the model's own distribution, at 1.
        finish_reason: `stop` (end token) or `length`; `too_long` if a server refused the prompt for its length.
        weight_version: Version of the weights that sampled it.
        cached_tokens: Prompt tokens that were not read again: their keys and values were there.
        text: The response of a server, which sends no token ids; None from an engine.
        prompt_tokens: Length of the prompt as a server counted it.
        response_tokens: Length of the response as a server counted it.
        error: Why a server gave no response; empty if it gave one.
    """

    token_ids: list[int]
    logprobs: list[float]
    finish_reason: str
    weight_version: int
    cached_tokens: int = 0
    text: str | None = None
    prompt_tokens: int = 0
    response_tokens: int = 0
    error: str = ""


# What follows a response: the next request of the same conversation, or None at its end.
Continuation = Callable[[int, GenerationResult], GenerationRequest | None]


class Engine(ABC):
    """Samples responses with the current weights.

    A subclass sets `stop_ids` and implements `generate`, `update_weights` and `info`; the rest has defaults that are
    right for an engine without caches and without processes of its own.

    Attributes:
        stop_ids: Tokens that end a response.
    """

    stop_ids: Sequence[int]

    @abstractmethod
    def generate(self, requests: Sequence[GenerationRequest], params: SamplingParams) -> list[GenerationResult]:
        """One response per request, in order.

        A response ends at a stop token, at `max_tokens`, or where the model's context length is reached.

        Raises:
            ValueError: A prompt leaves no room for a token within the model's context length.
        """

    def converse(self, requests: Sequence[GenerationRequest], params: SamplingParams, then: Continuation) -> None:
        """Samples responses and continues conversations until all of them have ended.

        An engine with continuous batching calls `then` as soon as a response is finished and starts the next request in
        its place, so that no conversation waits for the slowest. This default works in rounds: one batch for all
        conversations that go on. The order of the calls of `then` does not depend on time.

        Args:
            requests: The first request of each conversation.
            params: Sampling parameters.
            then: Takes the position of the conversation in `requests` and its response; returns the next request or
                None. After None the engine frees the session.
        """
        waiting = dict(enumerate(requests))
        while waiting:
            results = self.generate(list(waiting.values()), params)
            following: dict[int, GenerationRequest] = {}
            for (number, request), result in zip(waiting.items(), results, strict=True):
                after = then(number, result)
                if after is not None:
                    following[number] = after
                elif request.session is not None:
                    self.close_session(request.session)
            waiting = following

    @abstractmethod
    def update_weights(self, state_dict: Mapping[str, torch.Tensor], version: int) -> None:
        """Loads new weights (the full state dict, `lm_head` included) and clears every cache of the old ones."""

    @abstractmethod
    def info(self) -> dict[str, Any]:
        """`backend`, `version`, `dtype` and `max_len`, the longest sequence in tokens (None without limit)."""

    def close_session(self, session: str) -> None:
        """Frees what is kept of a conversation; an unknown name is no error."""

    def reset_cache(self) -> None:
        """Frees all kept keys and values, sessions included."""

    def sleep(self) -> None:
        """Frees the device's memory while the learner works; `wake` undoes it."""

    def wake(self) -> None:
        """Makes the engine ready again after `sleep`."""

    def close(self) -> None:
        """Frees memory and processes; a second call does nothing."""

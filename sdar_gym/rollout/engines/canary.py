"""The engine canary: the learner scores an engine's first responses, which shows whether both have the same weights.

An engine that misses a part of the weights, such as a head that shares its matrix with the embedding, or that keeps
keys and values of old weights, goes on sampling without an error, and training learns from another policy's responses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sdar_gym.policy.batching import right_padded
from sdar_gym.rollout.engines.base import Engine, GenerationRequest, GenerationResult, SamplingParams

# Mean absolute difference of the log-probabilities, in nats. Rounding and kernels make .00001 in single precision and
# about .02 in bfloat16; other weights make more than 1. What is between is left to `training.importance_correction`.
TOLERANCE = 0.1
_OPENINGS = (
    "Hello.",
    "You are in a room. In it there are a table, a shelf and a box, which is closed. Your task is to find the apple.",
    "1 + 2 = 3, 4 + 5 = 9,",
)
_ANSWER = " Nothing happens. What do you do next?"
_TOKENS, _TURNS = 8, 2
# Longest opening and answer, so that every model has room for them.
_MOST = 48
#: Responses that a check samples.
RESPONSES = len(_OPENINGS) * _TURNS


class EngineMismatchError(ValueError):
    """Engine and learner give different log-probabilities to the same tokens: they have different weights."""


@dataclass(frozen=True, slots=True)
class CanarySample:
    """A response of the engine.

    Attributes:
        prompt_ids: Its prompt.
        token_ids: The response.
        logprobs: The engine's log-probability of each of its tokens.
    """

    prompt_ids: Sequence[int]
    token_ids: Sequence[int]
    logprobs: Sequence[float]


def canary_samples(engine: Engine, tokenizer: Any, temperature: float) -> list[CanarySample]:
    """Samples short responses to fixed texts, each in a conversation of two turns, so that kept keys count too.

    Args:
        engine: The engine.
        tokenizer: The policy's.
        temperature: At which the learner scores.
    """

    def encoded(text: str) -> list[int]:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"][:_MOST]
        return list(ids) or list(engine.stop_ids[:1])

    requests = [GenerationRequest(encoded(text), seed, f"canary {seed}") for seed, text in enumerate(_OPENINGS)]
    asked, samples = list(requests), []
    turns = [0] * len(requests)

    def then(number: int, result: GenerationResult) -> GenerationRequest | None:
        request = asked[number]
        samples.append((turns[number], number, CanarySample(request.prompt_ids, result.token_ids, result.logprobs)))
        turns[number] += 1
        if turns[number] == _TURNS:
            return None
        ids = [*request.prompt_ids, *result.token_ids, *encoded(_ANSWER)]
        asked[number] = GenerationRequest(ids, request.seed, request.session)
        return asked[number]

    engine.converse(requests, SamplingParams(_TOKENS, temperature), then)
    # Engines may finish in any order.
    return [sample for _, _, sample in sorted(samples, key=lambda each: each[:2])]


def canary_rows(samples: Sequence[CanarySample], pad_id: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Token ids, positions of the response tokens and their mask, one row a sample, as the learner scores them."""
    longest = max(len(sample.token_ids) for sample in samples)
    positions = np.ones((len(samples), longest), dtype=np.int64)
    mask = np.zeros((len(samples), longest), dtype=bool)
    for row, sample in enumerate(samples):
        count = len(sample.token_ids)
        positions[row, :count] = len(sample.prompt_ids) + np.arange(count)
        mask[row, :count] = True
    return right_padded([[*each.prompt_ids, *each.token_ids] for each in samples], pad_id), positions, mask


def refuse_mismatch(samples: Sequence[CanarySample], logp_BT: torch.Tensor, engine: str, version: int) -> None:
    """Compares the engine's log-probabilities with the learner's.

    Args:
        samples: What the engine sampled.
        logp_BT: The learner's log-probabilities of the same tokens, in the rows of `canary_rows`.
        engine: The engine's name, for the message.
        version: Version of the weights, for the message.

    Raises:
        EngineMismatchError: They differ by more than `TOLERANCE` on average, or are no numbers.
    """
    theirs = torch.tensor([value for sample in samples for value in sample.logprobs], dtype=torch.float64)
    ours = torch.cat([row[: len(each.token_ids)] for row, each in zip(logp_BT, samples, strict=True)]).double().cpu()
    gap = (theirs - ours).abs()
    # A comparison with nan is false.
    if float(gap.mean()) <= TOLERANCE:
        return
    raise EngineMismatchError(
        f"The engine {engine!r} and the learner disagree: both should have the weights of version {version}, but their "
        f"log-probabilities of the same {len(gap)} tokens differ by {float(gap.mean()):.3g} on average and "
        f"{float(gap.max()):.3g} at most (allowed: {TOLERANCE:g} on average). The engine misses part of the weights, "
        "or keeps keys and values of old ones: its update_weights must load every tensor, lm_head included, and clear "
        "all caches. rollout.engine=transformers samples with the learner's own numerics."
    )

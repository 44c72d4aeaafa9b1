"""The engine canary: what is sampled, how it is scored, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sdar_gym.policy.load import load_model, load_tokenizer
from sdar_gym.policy.logprobs import score_responses
from sdar_gym.rollout.engines.canary import (
    RESPONSES,
    CanarySample,
    EngineMismatchError,
    canary_rows,
    canary_samples,
    refuse_mismatch,
)
from sdar_gym.rollout.engines.transformers_engine import engine_of


@pytest.fixture(scope="module")
def policy() -> tuple[Any, Any]:
    return load_model("builtin:tiny"), load_tokenizer("builtin:tiny")


def scored(model: Any, samples: list[CanarySample], temperature: float) -> torch.Tensor:
    ids, positions, mask = map(torch.from_numpy, canary_rows(samples, 0))
    with torch.no_grad():
        return score_responses(model, ids, positions, mask, temperature).logp_BT


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_an_engine_with_the_same_weights_passes_and_another_temperature_does_not(
    policy: tuple[Any, Any], temperature: float
) -> None:
    model, tokenizer = policy
    samples = canary_samples(engine_of(model, tokenizer), tokenizer, temperature)
    assert len(samples) == RESPONSES
    # The second turns continue the first ones.
    first, second = samples[0], samples[RESPONSES // 2]
    assert list(second.prompt_ids)[: len(first.prompt_ids)] == list(first.prompt_ids)
    refuse_mismatch(samples, scored(model, samples, temperature), "it", 3)
    with pytest.raises(EngineMismatchError, match=r"'it' and the learner disagree.*version 3.*differ by"):
        refuse_mismatch(samples, scored(model, samples, 3 * temperature), "it", 3)


def test_other_weights_and_numbers_that_are_none_are_refused(policy: tuple[Any, Any]) -> None:
    model, tokenizer = policy
    samples = canary_samples(engine_of(model, tokenizer), tokenizer, 1.0)
    right = scored(model, samples, 1.0)
    assert [list(sample.token_ids) for sample in samples] == [
        list(sample.token_ids) for sample in canary_samples(engine_of(model, tokenizer), tokenizer, 1.0)
    ]
    other: Any = load_model("builtin:tiny")
    with torch.no_grad():
        other.lm_head.weight.copy_(model.lm_head.weight.roll(1, 0))
    for wrong in (scored(other, samples, 1.0), torch.full_like(right, torch.nan)):
        with pytest.raises(EngineMismatchError):
            refuse_mismatch(samples, wrong, "it", 0)
    # A difference of rounding is none.
    refuse_mismatch(
        samples, right + 0.02 * torch.randn(right.shape, generator=torch.Generator().manual_seed(0)), "it", 0
    )

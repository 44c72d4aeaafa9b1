"""What the teacher's weight depends on, in real updates: token filter, contrast, retirement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tiny_runs import learner_metrics, moments_of, small_config  # pyright: ignore[reportMissingImports]

from sdar_gym.algorithms.sdar import SDAR, SDARConfig
from sdar_gym.training.token_classes import ACTION, token_classes

Build = Callable[[SDARConfig], SDAR]
pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_instance")]


def config(method: str = "sdar", *, training: dict[str, Any] | None = None, **distill: Any) -> SDARConfig:
    objective = {"kl_coeff": 0.0, "entropy_coeff": 0.0, "distill": {"coeff": 1.0, **distill}}
    return small_config(method, objective=objective, **(training or {})).policy(dtype="float64")


def test_the_share_of_tokens_that_is_distilled_is_that_of_actions(build: Build) -> None:
    algorithm = build(config(tokens="action"))
    found = learner_metrics(algorithm.train())
    turns = [turn for episode in algorithm.last_episodes for turn in episode.turns]
    kinds = [kind for turn in turns for kind in token_classes(algorithm.tokenizer, turn.response_ids, turn.action)]
    assert 0 < kinds.count(ACTION) < len(kinds)
    assert found["distill_fraction"] == pytest.approx(kinds.count(ACTION) / len(kinds))
    assert any(abs(moment).max() > 0 for moment in moments_of(algorithm))

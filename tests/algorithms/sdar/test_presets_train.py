"""Every preset trains the tiny policy: finite numbers, a gradient, and the same weights from the same seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tiny_runs import (  # pyright: ignore[reportMissingImports]
    Weights,
    equal,
    learner_metrics,
    moments_of,
    small_config,
    weights_of,
)

from sdar_gym.algorithms.methods import METHODS
from sdar_gym.algorithms.sdar import SDAR, SDARConfig

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_instance")]
Build = Callable[[SDARConfig], SDAR]
QUICK = ("sdar", "grpo", "rlsd", "skill_sd", "distil", "allfail_ce")
MEASURED = ("policy_gradient_norm", "distill_gradient_norm", "distill_coeff", "distill_gradient_share")
CONVERSATION = {"context": "conversation", "show_actions": "never", "max_observation_tokens": 40}
# Its teacher acts only after twenty updates.
AT_ONCE: dict[str, dict[str, Any]] = {"adrs": {"shaping": {"coeff": 1.0}}}


def trained(name: str, build: Build, **rollout: Any) -> Weights:
    """The weights after two updates, checked on the way."""
    config = small_config(name, tasks_per_iteration=4, objective=AT_ONCE.get(name, {})).rollout(**rollout)
    algorithm = build(config)
    before = weights_of(algorithm)
    distilled = 0.0
    for _ in range(2):
        result = algorithm.train()
        learned = {
            key: float(value)
            for key, value in learner_metrics(result).items()
            # RLlib reports its counts once.
            if isinstance(value, int | float) and not key.startswith("num_")
        }
        wrong = [key for key, value in learned.items() if not math.isfinite(value)]
        # Logged only where a teacher is scored, or at some updates; RLlib reports a missing metric as nan.
        assert set(wrong) <= {"gap_mean", "gate_active_fraction", *MEASURED}, wrong
        assert learned["weight"] == pytest.approx(1.0, abs=1e-5)
        # Zero where a teacher needs a success and there is none.
        distilled += abs(learned.get("distill_fraction", 0.0) * learned.get("distill_loss", 0.0))
    after = weights_of(algorithm)
    assert all(bool(tensor.isfinite().all()) for tensor in after.values())
    assert max(float(np.abs(moment).max()) for moment in moments_of(algorithm)) > 1e-6
    assert (distilled > 0) == (METHODS[name].objective.distill is not None)
    assert not equal(before, after)
    return after


@pytest.mark.parametrize("name", QUICK)
def test_a_preset_trains(name: str, build: Build) -> None:
    trained(name, build)


def test_the_same_seed_gives_the_same_weights(build: Build) -> None:
    assert equal(trained("rlsd", build), trained("rlsd", build))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_preset_trains_repeats_itself_and_is_no_other(build: Build) -> None:
    weights = {name: trained(name, build) for name in METHODS}
    for name, first in weights.items():
        assert equal(first, trained(name, build)), name
        same = [other for other in weights if other != name and equal(first, weights[other])]
        assert not same, f"{name} trains what {', '.join(same)} trains"


@pytest.mark.parametrize("name", ["sdar", pytest.param("gigpo", marks=pytest.mark.slow)])
def test_a_conversation_trains_and_repeats_itself(name: str, build: Build) -> None:
    first = trained(name, build, **CONVERSATION)
    assert equal(first, trained(name, build, **CONVERSATION)) and not equal(first, trained(name, build))


@pytest.mark.slow
@pytest.mark.timeout(900)
# The others learn from a success only, which the tiny policy has in its own context and in no other.
@pytest.mark.parametrize("name", sorted(METHODS.keys() - {"sdpo", "distil"}))
def test_every_preset_trains_in_a_conversation(name: str, build: Build) -> None:
    trained(name, build, **CONVERSATION)

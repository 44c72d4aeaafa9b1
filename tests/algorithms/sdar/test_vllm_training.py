"""Whole updates with episodes sampled by vLLM itself, on the CPU: sampler and learner have equal probabilities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tiny_runs import learner_metrics, remote, small_config, texts_of, versions_of  # pyright: ignore[reportMissingImports]

from sdar_gym.algorithms.sdar import SDAR, SDARConfig
from sdar_gym.configs.sections import LoraSettings

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.usefixtures("vllm_cpu", "ray_instance")]
Build = Callable[[SDARConfig], SDAR]
CONVERSATION = {"context": "conversation", "show_actions": "never", "max_observation_tokens": 40}


def assert_sampled_as_learned(algorithm: SDAR, updates: int = 3) -> None:
    """After the first update the engine has weights that it was sent."""
    for update in range(updates):
        learned = learner_metrics(algorithm.train())
        assert versions_of(algorithm) == {update}
        assert learned["mismatch_kl"] < 1e-8
        assert learned["mismatch_ratio_max"] == pytest.approx(1, abs=1e-4)
        assert learned["mismatch_ratio_min"] == pytest.approx(1, abs=1e-4)
        assert learned["gradients_default_optimizer_global_norm"] > 0


@pytest.mark.parametrize(
    ("rollout", "policy"),
    [({}, {}), (CONVERSATION, {}), ({}, {"lora": LoraSettings(r=4, alpha=8.0)})],
    ids=["window", "conversation", "adapters"],
)
def test_log_probabilities_of_the_sampler_are_the_learners(
    rollout: dict[str, Any], policy: dict[str, Any], build: Build
) -> None:
    config = small_config("sdar", max_steps=4, lr=1e-2).rollout(engine="vllm", **rollout).policy(**policy)
    assert_sampled_as_learned(build(config))


def test_a_run_can_be_repeated_and_its_evaluation_too(build: Build) -> None:
    played = []
    for _ in range(2):
        algorithm = build(small_config("sdar", max_steps=4).rollout(engine="vllm"))
        results = [texts_of(algorithm) for _ in range(2) if algorithm.train()]
        played.append((results, algorithm.evaluate()["success"]))
        algorithm.stop()
    assert played[0] == played[1]


def test_a_remote_runner_has_an_engine_of_its_own(build: Build) -> None:
    config = small_config("sdar", max_steps=4, lr=1e-2).rollout(engine="vllm")
    assert_sampled_as_learned(build(remote(config, runners=1)), updates=2)

"""Rollouts beside learning on remote runners: exact, resumable bit for bit, also when a runner is lost."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from tiny_runs import (  # pyright: ignore[reportMissingImports]
    equal,
    kill_runner,
    learner_metrics,
    remote,
    small_config,
    texts_of,
    versions_of,
    weights_of,
)

from sdar_gym.algorithms.sdar import SDAR, SDARConfig

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_instance")]
Build = Callable[[SDARConfig], SDAR]


def ahead(runners: int, **training: Any) -> SDARConfig:
    return remote(small_config(max_staleness=1, iterations=4, **training), runners=runners)


def test_updates_learn_from_the_weights_before_the_last_and_resume_bit_for_bit(build: Build) -> None:
    """`ucb` learns from every update: its state at the time counts as well."""

    def config(old_logp: str = "sampler") -> SDARConfig:
        return ahead(1, lr=1e-2, old_logp=old_logp).skills(strategy="ucb", k=1)

    straight = build(config())
    results, texts, state = [], [], {}
    for step in range(4):
        results.append(straight.train())
        texts.append(texts_of(straight))
        assert versions_of(straight) == {max(0, step - 1)}
        if step == 1:
            # A copy: a learner in this process goes on with the same memory.
            state = deepcopy(straight.resumable_state())
    assert state["sdar_learned"]["played_ahead"]["version"] == 1
    rollouts = [result["env_runners"] for result in results]
    assert [each["staleness_mean"] for each in rollouts] == [0, 1, 1, 1]
    # The sampler is one update behind: that is what the ratio corrects.
    mismatch = [learner_metrics(result)["mismatch_kl"] for result in results]
    assert mismatch[0] < 1e-6 < 1e-4 < min(mismatch[1:])
    assert all(result["seconds"]["rollout_wait"] >= 0 for result in results)
    # An evaluation is of the present weights, also while episodes are in flight.
    local = build(small_config())
    groups: list[Any] = [local.learner_group, straight.learner_group]
    groups[0].set_state(deepcopy(groups[1].get_state()))
    assert straight.evaluate() == local.evaluate()

    resumed = build(config())
    resumed.set_state(state)
    for step in (2, 3):
        resumed.train()
        assert texts_of(resumed) == texts[step]
    assert equal(weights_of(resumed), weights_of(straight))
    assert resumed._retriever.get_state() == straight._retriever.get_state()

    learner = build(config("learner"))
    learner.train()
    corrected = learner_metrics(learner.train())
    assert texts_of(learner) == texts[1]
    # With recomputed log-probabilities importance weights do it.
    assert corrected["mismatch_kl"] == pytest.approx(mismatch[1], rel=0.05)
    assert corrected["approx_kl"] < 1e-6


def test_a_runner_lost_in_flight_changes_no_update(build: Build) -> None:
    calm, hit = build(ahead(2)), build(ahead(2))
    for algorithm in (calm, hit):
        algorithm.train()
    kill_runner(hit)
    for _ in range(3):
        calm.train()
        hit.train()
        assert versions_of(hit) == {hit.training_iteration - 2}
        assert texts_of(hit) == texts_of(calm)
    assert equal(weights_of(hit), weights_of(calm))

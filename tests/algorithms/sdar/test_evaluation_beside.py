"""Evaluation beside training: the result of its own update's weights, whatever the learner does meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import ray
from tiny_runs import equal, small_config, weights_of  # pyright: ignore[reportMissingImports]

from sdar_gym.algorithms.sdar import SDAR, SDARConfig

Build = Callable[[SDARConfig], SDAR]


def beside(config: SDARConfig) -> SDARConfig:
    config.env_runners(num_cpus_per_env_runner=0.25)
    return config.evaluation(evaluation_num_env_runners=1)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_instance")
def test_without_own_runners_an_evaluation_cannot_be_begun(build: Build) -> None:
    algorithm = build(small_config())
    assert not algorithm.evaluates_beside and not algorithm.evaluation_done
    for act in (algorithm.begin_evaluation, algorithm.wait_for_evaluation, algorithm.finish_evaluation):
        with pytest.raises(ValueError, match="no runners that play beside training"):
            act()


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.usefixtures("ray_instance")
def test_results_are_those_of_evaluations_between_updates(build: Build) -> None:
    """With an averaged teacher that plays too, and a retriever that learns: all of it is of the same update."""

    def config() -> SDARConfig:
        teacher = {"teacher": {"weights": "ema", "rate": 0.3}}
        return small_config(lr=1e-2, objective=teacher).skills(strategy="ucb", k=1)

    between, other = build(config()), build(beside(config()))
    expected: list[Any] = []
    episodes: list[Any] = []
    for algorithm in (between, other):
        algorithm.train()
    for _ in range(2):
        expected.append(between.evaluate())
        episodes.append([each.to_json() for each in between.last_evaluation])
        between.train()

    other.begin_evaluation()
    with pytest.raises(ValueError, match="in progress"):
        other.begin_evaluation()
    other.train()
    result, seconds = other.finish_evaluation()
    assert result == expected[0]
    assert [each.to_json() for each in other.last_evaluation] == episodes[0]
    assert seconds["evaluation"] > 0 and seconds["evaluation_wait"] >= 0
    with pytest.raises(ValueError, match="No evaluation is in progress"):
        other.finish_evaluation()

    # The second one loses its runner: another plays it, with the same weights.
    other.begin_evaluation()
    (actor,) = other.eval_env_runner_group._worker_manager.actors().values()
    ray.kill(actor, no_restart=False)
    other.train()
    assert other.finish_evaluation()[0] == expected[1]
    # Called as usual, it waits.
    assert other.evaluate() == between.evaluate()
    assert equal(weights_of(other), weights_of(between))
    assert not other.evaluation_done

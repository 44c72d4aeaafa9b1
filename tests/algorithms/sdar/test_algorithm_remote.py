"""The algorithm with remote runners and learners makes the local update, also when a runner is lost."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
import ray
from ray.exceptions import RayActorError
from tiny_runs import (  # pyright: ignore[reportMissingImports]
    ENV_CONFIG,
    assert_same_gradients,
    kill_runner,
    learner_metrics,
    remote,
    small_config,
    texts_of,
    versions_of,
    weights_of,
)

from sdar_gym.algorithms.sdar import SDAR, SDARConfig
from sdar_gym.algorithms.sdar.learner_watch import LearnersLostError
from sdar_gym.algorithms.sdar.run_metrics import run_metrics
from sdar_gym.evaluation.panels import panel_requests
from sdar_gym.rollout.engines.base import SamplingParams

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_instance")]
Build = Callable[[SDARConfig], SDAR]


def test_remote_runners_and_a_remote_learner_make_the_local_update(build: Build) -> None:
    local, spread = build(small_config()), build(remote(small_config(), runners=2, learners=1))
    results = [algorithm.train() for algorithm in (local, spread)]
    assert texts_of(local) == texts_of(spread)
    assert_same_gradients(local, spread)
    assert learner_metrics(results[0])["total_loss"] == pytest.approx(
        learner_metrics(results[1])["total_loss"], rel=1e-3
    )
    assert local.evaluate() == spread.evaluate()


@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean"])
def test_two_learners_make_the_update_of_one(aggregation: str, build: Build) -> None:
    settings = {"objective": {"aggregation": aggregation}, "micro_batch_tokens": 200}
    one, two = build(small_config(**settings)), build(remote(small_config(**settings), learners=2))
    results = [learner_metrics(algorithm.train()) for algorithm in (one, two)]
    assert_same_gradients(one, two)
    for name in ("policy_loss", "distill_loss", "gap_mean", "weight", "entropy"):
        assert results[0][name] == pytest.approx(results[1][name], rel=1e-3, abs=1e-7)


def test_a_learner_without_rows_does_not_hold_up_the_other(build: Build) -> None:
    def config() -> SDARConfig:
        few = small_config(tasks_per_iteration=1, num_minibatches=2)
        return few.environment(env_config=ENV_CONFIG | {"max_steps": 1})

    algorithm = build(remote(config(), learners=2))
    result = algorithm.train()
    assert result["env_runners"]["rows"] <= 2
    assert learner_metrics(result)["weight"] == pytest.approx(1.0)
    assert all(value.isfinite().all() for value in weights_of(algorithm).values())


def test_what_a_lost_runner_should_have_played_is_played_by_another(build: Build) -> None:
    algorithm, calm = build(remote(small_config(), runners=2)), build(remote(small_config(), runners=2))
    for one in (algorithm, calm):
        assert "faults" not in run_metrics(one.train())
    kill_runner(algorithm)
    again, expected = algorithm.train(), calm.train()
    assert texts_of(algorithm) == texts_of(calm)
    faults = run_metrics(again)["faults"]
    # Whether it is noticed before its share is sent decides if episodes are sent again.
    assert faults["runner_deaths"] == 1 and faults.get("episodes_again", 4) == 4
    assert (again["env_runners"]["episodes"], again["env_runners"]["lost_episodes"]) == (8, 0)
    assert {name: value for name, value in run_metrics(again).items() if name in ("train", "learner")} == {
        name: value for name, value in run_metrics(expected).items() if name in ("train", "learner")
    }
    for _ in range(200):
        if run_metrics(algorithm.train()).get("faults", {}).get("runner_restarts"):
            break
    else:
        pytest.fail("The runner did not come back.")
    # The new one plays with the present weights.
    assert versions_of(algorithm) == {algorithm.training_iteration - 1}


def test_a_runner_that_ray_restarted_unnoticed_plays_with_the_present_weights(build: Build) -> None:
    algorithm, calm = build(remote(small_config(), runners=2)), build(remote(small_config(), runners=2))
    for one in (algorithm, calm):
        one.train()
    runner = next(iter(algorithm.env_runner_group._worker_manager.actors().values()))
    before = ray.get(runner.apply.remote(process_of))
    kill_runner(algorithm)
    wait_for_another_process(runner, before)
    again, expected = run_metrics(algorithm.train()), run_metrics(calm.train())
    assert versions_of(algorithm) == {1}
    assert texts_of(algorithm) == texts_of(calm)
    assert again["faults"] == {"runner_deaths": 1, "runner_restarts": 1}
    assert (again["train"], again["learner"]) == (expected["train"], expected["learner"])


def process_of(runner: Any) -> int:
    return os.getpid()


def wait_for_another_process(runner: Any, before: int, seconds: float = 120.0) -> None:
    """Waits until Ray has restarted a runner that is killed."""
    deadline = time.monotonic() + seconds
    while True:
        assert time.monotonic() < deadline
        try:
            if ray.get(runner.apply.remote(process_of), timeout=seconds) != before:
                return
        except RayActorError:
            pass
        time.sleep(0.1)


def test_a_run_waits_for_the_only_runner_to_come_back(build: Build) -> None:
    algorithm = build(remote(small_config(), runners=1))
    algorithm.train()
    kill_runner(algorithm)
    again = algorithm.train()["env_runners"]
    assert (again["episodes"], again["lost_episodes"]) == (8, 0)
    assert versions_of(algorithm) == {1}


def test_what_a_lost_runner_should_have_evaluated_is_played_by_another(build: Build) -> None:
    algorithm, local = build(remote(small_config(), runners=2)), build(small_config())
    for one in (algorithm, local):
        one.train()
    kill_runner(algorithm)
    assert algorithm.evaluate() == local.evaluate()


def test_a_lost_learner_is_one_error(build: Build) -> None:
    algorithm = build(remote(small_config(), learners=2))
    algorithm.train()
    ray.kill(algorithm.learner_group._workers[1])
    with pytest.raises(LearnersLostError, match="1 of 2 learners died"):
        algorithm.train()
    with pytest.raises(LearnersLostError):
        algorithm.resumable_state()


def test_a_runner_that_comes_back_while_the_teacher_plays_gets_the_teachers_weights(build: Build) -> None:
    objective = {"teacher": {"weights": "ema", "rate": 0.01}}
    algorithm = build(remote(small_config(objective=objective, lr=0.05), runners=1))
    algorithm.train()
    dispatcher, requests = algorithm._dispatcher, panel_requests(algorithm.panel, 0)

    def logprobs() -> list[list[float]]:
        episodes = dispatcher.collect(
            requests, SamplingParams(5, 1.0), 1, skills_in_prompt=False, teacher_prompts=False
        )
        return [turn.old_logp for episode in episodes for turn in episode.turns]

    student = logprobs()
    dispatcher.sync_teacher_weights()
    teacher = logprobs()
    kill_runner(algorithm)
    assert logprobs() == teacher != student


def test_a_library_that_learns_is_updated_once_a_step_and_the_same_everywhere(build: Build) -> None:
    def config() -> SDARConfig:
        # With weights that stay, the last bits of a sum do not change what is sampled.
        return small_config(lr=1e-9).skills(strategy="ucb", k=1, include_general=False)

    local, spread = build(config()), build(remote(config(), runners=2))
    for updates in range(1, 4):
        before = spread._retriever.get_state()
        for algorithm in (local, spread):
            algorithm.train()
        played_with = spread.env_runner_group.foreach_env_runner(
            lambda runner: [collector._retriever.get_state() for collector in runner._collectors.values()],
            local_env_runner=False,
        )
        assert played_with == [[before], [before]]
        assert local._retriever.get_state() == spread._retriever.get_state() != before
        assert sum(learned["episodes"] for learned in spread._retriever.get_state().values()) == 8 * updates
        assert [each.skills for each in local.last_episodes] == [each.skills for each in spread.last_episodes]

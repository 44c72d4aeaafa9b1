"""Engines, environment figures, gates and metrics of users in training and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from measured_env import ENV as MEASURED  # pyright: ignore[reportMissingImports]
from measured_env import register_measured
from tiny_runs import (  # pyright: ignore[reportMissingImports]
    equal,
    remote,
    small_config,
    texts_of,
    weights_of,
)

from sdar_gym.algorithms.objectives.gates import Gate
from sdar_gym.algorithms.sdar import SDAR, SDARConfig
from sdar_gym.algorithms.sdar.rollout_dispatcher import RolloutError
from sdar_gym.rollout import metrics
from sdar_gym.rollout.engines import canary, registry

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_instance", "clean_registry")]
Build = Callable[[SDARConfig], SDAR]
ENGINE = "counting_engine:counting_engine"
OWN = "own_extensions"


def test_an_engine_named_by_module_and_function_plays_the_episodes(build: Build) -> None:
    own, usual = build(small_config().rollout(engine=ENGINE)), build(small_config())
    engine = own.env_runner_group.local_env_runner.engine
    assert type(engine).__name__ == "CountingEngine"
    assert engine.spec.rollout.engine == ENGINE
    for algorithm in (own, usual):
        algorithm.train()
        algorithm.train()
    responses = sum(len(episode.turns) for episode in own.last_episodes)
    assert engine.generated > responses > 0
    # The weights of every update are sent once, and the first ones when the algorithm is built.
    assert engine.versions[-1] == 2 and engine.versions == sorted(engine.versions)
    before = engine.generated
    assert own.evaluate() == usual.evaluate()
    assert engine.generated > before
    assert texts_of(own) == texts_of(usual)
    assert equal(weights_of(own), weights_of(usual))
    own.env_runner_group.local_env_runner.stop()
    assert engine.closed >= 1


def test_an_engine_is_registered_under_a_name(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))
    with pytest.raises(ValueError, match=r"unknown engine 'countng'"):
        small_config().rollout(engine="countng").check()
    registry.register_engine("counting", ENGINE)
    registry.register_engine("counting", ENGINE)
    with pytest.raises(ValueError, match="Another engine 'counting' is registered already"):
        registry.register_engine("counting", "other:engine")
    with pytest.raises(ValueError, match=r"unknown engine 'countng'\. Did you mean 'counting'\?"):
        small_config().rollout(engine="countng").check()
    algorithm = build(small_config(max_steps=2).rollout(engine="counting"))
    algorithm.train()
    played = sum(len(episode.turns) for episode in algorithm.last_episodes)
    # The engine is checked before the first episodes and after the first update.
    assert algorithm.env_runner_group.local_env_runner.engine.generated == played + 2 * canary.RESPONSES
    algorithm.train()
    played += sum(len(episode.turns) for episode in algorithm.last_episodes)
    assert algorithm.env_runner_group.local_env_runner.engine.generated == played + 2 * canary.RESPONSES


@pytest.mark.slow
def test_an_engine_named_by_module_and_function_plays_on_remote_runners(build: Build) -> None:
    algorithm = build(remote(small_config(max_steps=2).rollout(engine=ENGINE), runners=2))
    algorithm.train()
    counts = algorithm.env_runner_group.foreach_env_runner(lambda runner: runner.engine.generated)
    assert len(counts) == 2 and all(counts)
    played = sum(len(episode.turns) for episode in algorithm.last_episodes)
    assert sum(counts) == played + 2 * 2 * canary.RESPONSES


@pytest.mark.slow
def test_an_engine_that_remote_runners_cannot_build_is_one_error(build: Build) -> None:
    with pytest.raises(RolloutError, match=r"No env runner could be built: .*no such weights.*PYTHONPATH"):
        build(remote(small_config().rollout(engine="counting_engine:broken_engine"), runners=2))


@pytest.fixture
def registered() -> Iterator[None]:
    """A metric of each episode, and one that applies to none."""
    known = dict(metrics._METRICS)
    register_measured()
    metrics.register_metric("characters", _characters)
    metrics.register_metric("never", lambda _: None)
    yield
    metrics._METRICS.clear()
    metrics._METRICS.update(known)


def _characters(episode: Any) -> float:
    return float(sum(len(turn.response) for turn in episode.turns))


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("runners", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_figures_of_the_environment_and_registered_metrics_are_in_the_results(runners: int, build: Build) -> None:
    config = small_config().evaluation(interval=1)
    config.env, config.env_config = MEASURED, {"max_steps": 3}
    algorithm = build(remote(config, runners=runners))
    result = algorithm.train()
    for found, episodes in (
        (result["env_runners"], algorithm.last_episodes),
        (result["evaluation"], algorithm.last_evaluation),
    ):
        count = len(episodes)
        # The last turn's value: all actions of the episode.
        assert found["env/actions"] == pytest.approx(sum(len(episode.turns) for episode in episodes) / count)
        assert found["env/moved"] == 1
        assert 0 <= found["env/goal_condition_rate"] <= 1
        assert found["custom/characters"] == pytest.approx(sum(map(_characters, episodes)) / count)
        # No text, nothing that is not finite, and no metric without a value.
        assert not {"env/room", "env/broken", "custom/never"} & found.keys()
        assert all(episode.to_json()["metrics"]["actions"] == len(episode.turns) for episode in episodes)


def test_a_metric_s_name_is_unique() -> None:
    known = dict(metrics._METRICS)
    try:
        metrics.register_metric("characters", _characters)
        metrics.register_metric("characters", _characters)
        with pytest.raises(ValueError, match="Another metric 'characters' is registered already"):
            metrics.register_metric("characters", lambda _: 0.0)
    finally:
        metrics._METRICS.clear()
        metrics._METRICS.update(known)


@pytest.mark.parametrize("runners", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_every_process_of_a_run_imports_the_named_modules(
    runners: int, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Gate, "registry", dict(Gate.registry))
    monkeypatch.setattr(metrics, "_METRICS", dict(metrics._METRICS))
    config = small_config(max_steps=2).imports(OWN).training(objective={"distill": {"gate": "half"}})
    algorithm = build(remote(config, runners=runners))
    result = algorithm.train()
    assert result["env_runners"]["custom/turns"] == result["env_runners"]["episode_turns"]
    assert result["learners"]["default_policy"]["gate_mean"] == pytest.approx(0.5)
    runners_with_it = algorithm.env_runner_group.foreach_env_runner(_has_own_gate)
    assert runners_with_it == [True] * max(1, runners)


def _has_own_gate(_: Any) -> bool:
    return "half" in Gate.registry

"""The canary in training: an engine with other weights than the learner's is caught before its episodes are used."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tiny_runs import remote, small_config  # pyright: ignore[reportMissingImports]

from sdar_gym.algorithms.sdar import SDAR, SDARConfig
from sdar_gym.rollout.engines.canary import EngineMismatchError

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_instance")]
Build = Callable[[SDARConfig], SDAR]


def test_an_engine_with_other_weights_is_refused_before_the_first_episode(build: Build) -> None:
    algorithm = build(small_config(max_steps=2).rollout(engine="scrambled_engine:wrong_at_once"))
    with pytest.raises(EngineMismatchError, match=r"wrong_at_once.* and the learner disagree.* of version 0.*lm_head"):
        algorithm.train()
    assert algorithm.last_episodes == []
    algorithm = build(small_config(max_steps=2).rollout(engine="scrambled_engine:wrong_at_once"))
    with pytest.raises(EngineMismatchError):
        algorithm.evaluate()


def test_an_engine_that_takes_new_weights_wrongly_is_refused_after_the_first_update(build: Build) -> None:
    algorithm = build(small_config(max_steps=2).rollout(engine="scrambled_engine:wrong_after_an_update"))
    with pytest.raises(EngineMismatchError, match="both should have the weights of version 1"):
        algorithm.train()
    assert len(algorithm.last_episodes) > 0


@pytest.mark.slow
def test_engines_of_remote_runners_are_checked_with_several_learners(build: Build) -> None:
    config = remote(small_config(max_steps=2), runners=2, learners=2)
    algorithm = build(config)
    algorithm.train()
    checked = algorithm.env_runner_group.foreach_env_runner(lambda runner: runner._checked_versions)
    assert checked == [{0, 1}, {0, 1}]
    algorithm = build(config.copy(copy_frozen=False).rollout(engine="scrambled_engine:wrong_after_an_update"))
    with pytest.raises(EngineMismatchError):
        algorithm.train()

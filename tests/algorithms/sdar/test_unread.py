"""RLlib settings without effect are refused with the reason, whichever method or dictionary sets them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ray import tune
from tiny_runs import small_config  # pyright: ignore[reportMissingImports]

from sdar_gym.algorithms.sdar import SDARConfig


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c.training(train_batch_size_per_learner=64),
            "train_batch_size_per_learner=64 has no effect: .*group",
        ),
        (lambda c: c.training(train_batch_size=64), "train_batch_size=64 has no effect: .*group_size"),
        (lambda c: c.training(gamma=0.5), r"gamma=0\.5 has no effect: returns are not discounted"),
        (lambda c: c.training(minibatch_size=7), "minibatch_size=7 has no effect: set num_minibatches"),
        (lambda c: c.training(shuffle_batch_per_epoch=True), "shuffle_batch_per_epoch=True has no effect"),
        (lambda c: c.training(model={"fcnet_hiddens": [1]}), r"model=.* has no effect: set the policy by \.policy"),
        (lambda c: c.env_runners(num_envs_per_env_runner=4), "num_envs_per_env_runner=4 has no effect"),
        (lambda c: c.env_runners(explore=False), r"explore=False has no effect: .*temperature"),
        (lambda c: c.env_runners(rollout_fragment_length=9), "rollout_fragment_length=9 has no effect"),
        (lambda c: c.env_runners(batch_mode="truncate_episodes"), "batch_mode=.* has no effect"),
        (
            lambda c: c.env_runners(observation_filter="MeanStdFilter"),
            "observation_filter=.* has no effect: episodes are",
        ),
        (lambda c: c.env_runners(sample_timeout_s=5), "sample_timeout_s=5 has no effect"),
        (
            lambda c: c.evaluation(evaluation_duration=5),
            r"evaluation_duration=5 has no effect: .*evaluation set is played; see \.evaluation",
        ),
        (lambda c: c.evaluation(evaluation_config={"explore": False}), "evaluation_config=.* has no effect"),
        (
            lambda c: c.learners(num_aggregator_actors_per_learner=1),
            "num_aggregator_actors_per_learner=1 has no effect",
        ),
        (lambda c: c.framework("torch", torch_compile_learner=True), "torch_compile_learner=True has no effect"),
        (lambda c: c.reporting(min_time_s_per_iteration=5), "min_time_s_per_iteration=5 has no effect: an iteration"),
        (lambda c: c.environment(clip_rewards=1.0), r"clip_rewards=1\.0 has no effect"),
        (lambda c: c.environment(normalize_actions=False), "normalize_actions=False has no effect"),
        (lambda c: c.callbacks(on_episode_step=print), "callbacks_on_episode_step=.* has no effect: this event never"),
        (lambda c: c.offline_data(output="/tmp/x"), "output='/tmp/x' has no effect: it is on policy"),
        (lambda c: c.resources(num_gpus=1), "num_gpus=1 has no effect: set num_gpus_per_learner"),
        (lambda c: c.update_from_dict({"gamma": 0.5}), "gamma=0.5 has no effect"),
        (
            lambda c: c.update_from_dict({"weight_decai": 0}),
            r"Unknown setting weight_decai\. Did you mean weight_decay\?",
        ),
        (lambda c: c.update_from_dict({"group_sise": 4}), r"Unknown setting group_sise\. Did you mean group_size\?"),
        (lambda c: c.training(lr=-1.0), r"training\.lr must be a finite number above 0 and at most 1, got -1\.0"),
        (
            lambda c: c.training(lr=[[0, 1e-3], [100, 1e-4]]),
            r"training\.lr must be a finite number above 0 .* got \[\[",
        ),
        (lambda c: c.training(grad_clip=0.0), r"training\.grad_clip must be a finite number above 0, got 0\.0"),
        (lambda c: c.training(grad_clip=None), r"training\.grad_clip must be a finite number above 0, got None"),
        (lambda c: c.training(group_size=2.0), r"training\.group_size must be a whole number .* got 2\.0"),
        (lambda c: c.training(objective=5), r"training\.objective must be a group of settings"),
        (lambda c: c.training(method=["sdar"]), r"Unknown method \['sdar'\]"),
        (lambda c: c.policy(torch_threads=tune.choice([1, 2])), r"policy\.torch_threads: search spaces are for Tune"),
    ],
)
def test_what_nothing_reads_is_refused(change: Callable[[SDARConfig], Any], message: str) -> None:
    config = small_config()
    config.check()
    with pytest.raises(ValueError, match=message) as refused:
        change(config).check()
    assert len(str(refused.value)) < 500


def test_what_is_read_is_taken() -> None:
    config = small_config().training(lr=0.5, grad_clip=2.0, num_epochs=2)
    config.env_runners(num_env_runners=2, num_cpus_per_env_runner=0.5).learners(num_learners=1, num_cpus_per_learner=1)
    config.fault_tolerance(restart_failed_env_runners=False).evaluation(evaluation_interval=2)
    config.callbacks(on_train_result=print, on_episode_end=print, on_evaluate_start=print, on_evaluate_end=print)
    config.debugging(seed=3, log_level="INFO")
    config.validate()
    config.check()  # RLlib's own changes while it validates are no user's settings.
    config.copy(copy_frozen=False).validate()


def test_a_subclass_has_its_own_defaults() -> None:
    class Discounted(SDARConfig):
        def __init__(self) -> None:
            super().__init__()
            self.gamma, self.extra = 0.5, 1

    config = Discounted().environment("sdar/ALFWorld-v0")
    config.extra = 2
    config.check()

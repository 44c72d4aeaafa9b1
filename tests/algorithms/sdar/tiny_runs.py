"""Configurations of small runs with the tiny policy, and access to their weights, moments, episodes and metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import ray
import torch
from ray.rllib.core import DEFAULT_MODULE_ID

from sdar_gym.algorithms.sdar import SDAR, SDARConfig
from sdar_gym.configs.sections import EvaluationSettings, RolloutSettings
from sdar_gym.training.sharded_adamw import BY_NAME

ENV = "sdar/ALFWorld-v0"
ENV_CONFIG = {"games": "generated", "scene": "small", "max_steps": 8}
PANEL = EvaluationSettings(tasks=4, temperature=1.0, interval=0, teacher_tasks=2)
ROLLOUT = RolloutSettings(prompt="compact", think=False, max_response_tokens=10)
Weights = dict[str, torch.Tensor]


def small_config(method: str = "sdar", *, max_steps: int = 8, **training: Any) -> SDARConfig:
    """Two groups of four episodes of at most eight turns: at first one that fails and one that does not wholly."""
    config = SDARConfig().environment(ENV, env_config={**ENV_CONFIG, "max_steps": max_steps})
    config.training(
        **{"method": method, "group_size": 4, "tasks_per_iteration": 2, "lr": 1e-3, "grad_clip": 1.0, **training}
    )
    config.skills(k=1, include_general=False)
    config.rollout_settings, config.evaluation_settings = ROLLOUT, PANEL
    return config.debugging(seed=1, log_level="ERROR")


def remote(config: SDARConfig, *, runners: int = 0, learners: int = 0) -> SDARConfig:
    """Remote processes that take less than a core each, so that all fit on a small machine."""
    config.env_runners(num_env_runners=runners, num_cpus_per_env_runner=0.25)
    return config.learners(num_learners=learners, num_cpus_per_learner=0.25)


def learner_of(algorithm: SDAR) -> Any:
    """The learner in this process."""
    return algorithm.learner_group._learner


def model_of(algorithm: SDAR) -> Any:
    """The `transformers` model of the learner in this process."""
    return learner_of(algorithm).module[DEFAULT_MODULE_ID].unwrapped().model


def learner_state(algorithm: SDAR) -> dict[str, Any]:
    return algorithm.learner_group.get_state(components="learner")["learner"]


def weights_of(algorithm: SDAR) -> Weights:
    return {
        name: torch.as_tensor(value) for name, value in learner_state(algorithm)["rl_module"][DEFAULT_MODULE_ID].items()
    }


def runner_weights(algorithm: SDAR) -> Weights:
    """Of the runner in this process."""
    return engine_weights(algorithm.env_runner_group.local_env_runner)


def engine_weights(runner: Any) -> Weights:
    """The weights that a runner samples with, under the learner's names."""
    return {f"model.{name}": tensor.clone() for name, tensor in runner.engine._model.state_dict().items()}


def teacher_tokens(algorithm: SDAR) -> list[tuple[int, ...]]:
    """The teacher's tokens of the last update's sequences, prompt and response."""
    return [
        tuple(sequence.teacher_ids)
        for episode in algorithm.last_episodes
        for sequence in episode.sequences
        if sequence.teacher_ids is not None
    ]


def moments_of(algorithm: SDAR) -> list[np.ndarray[Any, Any]]:
    """AdamW's first moments: after one step, a tenth of the gradient it was given."""
    state = learner_state(algorithm)
    named = state["optimizer"].get(BY_NAME)
    if named is not None:
        return [np.asarray(named[name]["exp_avg"]) for name in state["rl_module"][DEFAULT_MODULE_ID] if name in named]
    (optimizer,) = state["optimizer"].values()
    return [np.asarray(entry["exp_avg"]) for _, entry in sorted(optimizer["state"]["state"].items())]


def steps_of(algorithm: SDAR) -> float:
    (optimizer,) = learner_state(algorithm)["optimizer"].values()
    return float(optimizer["state"]["state"][0]["step"])


def equal(left: Weights, right: Weights) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def assert_same_gradients(left: SDAR, right: SDAR, *, relative: float = 1e-5) -> None:
    """Gradients of one update: equal up to a part of the largest of them."""
    pairs = list(zip(moments_of(left), moments_of(right), strict=True))
    largest = max(np.abs(one).max() for one, _ in pairs)
    assert largest > 1e-5
    for one, other in pairs:
        np.testing.assert_allclose(one, other, atol=relative * largest, rtol=100 * relative)


def texts_of(algorithm: SDAR) -> list[tuple[str, list[str]]]:
    return [(each.episode_id, [turn.response for turn in each.turns]) for each in algorithm.last_episodes]


def versions_of(algorithm: SDAR) -> set[int]:
    """Versions of the weights that played the last update's episodes."""
    return {turn.weight_version for episode in algorithm.last_episodes for turn in episode.turns}


def learner_metrics(result: dict[str, Any]) -> dict[str, float]:
    return result["learners"][DEFAULT_MODULE_ID]


def kill_runner(algorithm: SDAR) -> None:
    """Kills a runner as if its machine were lost; Ray restarts it."""
    ray.kill(next(iter(algorithm.env_runner_group._worker_manager.actors().values())), no_restart=False)

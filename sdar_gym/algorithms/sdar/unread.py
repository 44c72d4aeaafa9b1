"""Unread RLlib settings: those without effect on this algorithm are refused.

`AlgorithmConfig` has some 250 settings for all algorithms. Those with an effect are listed here. Any other setting that
is not at its default is an error, whichever method or dictionary set it.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from sdar_gym.configs.sections import TrainingSettings
from sdar_gym.text import closest, shortened

_READ = frozenset(
    [
        "algo_class",
        "class",  # left by RLlib where it restores a configuration
        "callbacks_class",
        "callbacks_on_algorithm_init",
        "callbacks_on_checkpoint_loaded",
        "callbacks_on_env_runners_recreated",
        "callbacks_on_episode_end",
        "callbacks_on_evaluate_end",
        "callbacks_on_evaluate_start",
        "callbacks_on_train_result",
        "create_local_env_runner",
        "custom_resources_for_main_process",
        "custom_resources_per_env_runner",
        "custom_resources_per_learner",
        "env",
        "env_config",
        "env_runner_cls",
        "env_runner_health_probe_timeout_s",
        "env_runner_restore_timeout_s",
        "evaluation_interval",
        "evaluation_num_env_runners",
        "extra_python_environs_for_driver",
        "extra_python_environs_for_worker",
        "grad_clip",
        "grad_clip_by",
        "ignore_env_runner_failures",
        "learner_config_dict",
        "local_gpu_idx",
        "log_gradients",
        "log_level",
        "log_sys_usage",
        "lr",
        "max_num_env_runner_restarts",
        "max_requests_in_flight_per_env_runner",
        "max_requests_in_flight_per_learner",
        "num_consecutive_env_runner_failures_tolerance",
        "num_cpus_for_main_process",
        "num_cpus_per_env_runner",
        "num_cpus_per_learner",
        "num_env_runners",
        "num_epochs",
        "num_gpus_per_env_runner",
        "num_gpus_per_learner",
        "num_learners",
        "placement_strategy",
        "restart_failed_env_runners",
        "seed",
        "simple_optimizer",
        "stats_cls_lookup",
        "torch_ddp_kwargs",
        "torch_skip_nan_gradients",
        "validate_env_runners_after_construction",
        "worker_index",
    ]
)
_EPISODES = "an update is group_size x tasks_per_iteration whole episodes; set those"
_PANEL = "a fixed evaluation set is played; see .evaluation(...), evaluation_interval and evaluation_num_env_runners"
_SAMPLING = "responses are sampled; set .rollout(temperature=...) and .evaluation(temperature=...)"
_CONVERSATION = "episodes are conversations kept as tokens, which no connector, filter or preprocessor of RLlib touches"
_ONE_UPDATE = "an iteration is one update"
# Reasons by the beginning of a setting's name; the first match counts.
_REASONS = (
    (("train_batch_size", "rollout_fragment_length", "batch_mode", "sample_timeout_s"), _EPISODES),
    (("minibatch_size",), "set num_minibatches, and micro_batch_tokens for the memory"),
    (("shuffle_batch_per_epoch",), "an update's rows are shuffled once, by the seed"),
    (("gamma",), "returns are not discounted; GiGPO's step returns are, by objective={'advantage': {'gamma': ...}}"),
    (
        ("num_envs_per_env_runner", "remote_worker_envs", "gym_env_vectorize_mode"),
        "a runner plays its episodes in batches",
    ),
    (("explore", "exploration_config"), _SAMPLING),
    (("evaluation_", "custom_evaluation_function", "in_evaluation"), _PANEL),
    (("min_",), _ONE_UPDATE),
    (("model", "optimizer"), "set the policy by .policy(...), and the optimizer by lr, weight_decay and adam_betas"),
    (
        ("offline", "input", "output", "dataset", "prelearner", "materialize", "map_batches", "iter_batches"),
        "it is on policy",
    ),
    (("policies", "policy_", "multi", "count_steps_by", "observation_fn"), "there is one policy"),
    (("framework", "tf_", "eager_", "local_tf_"), "it is written for torch"),
    (("torch_compile",), "nothing is compiled"),
    (
        ("enable_", "add_default_connectors", "episodes_to_numpy", "merge_env", "broadcast_env"),
        "this algorithm requires its default",
    ),
    (("num_gpus",), "set num_gpus_per_learner and num_gpus_per_env_runner"),
    (("on_", "callbacks_on_"), "this event never happens here"),
)


def refuse_unread(config: AlgorithmConfig) -> None:
    """Refuses settings of RLlib that differ from their default although this algorithm does not read them.

    Args:
        config: The configuration; compared with the defaults of its class.

    Raises:
        ValueError: Names the setting, why it has no effect, and what to set instead.
    """
    if config.in_evaluation:  # RLlib's copy for evaluation runners, which do not exist here.
        return
    default = vars(type(config)())
    foreign = vars(AlgorithmConfig())
    for name, value in vars(config).items():
        shown = _public(name)
        if name in _READ or shown.startswith("_") or (name in default and name not in foreign):
            continue
        if name not in default:
            known = {_public(other) for other in default if other not in foreign or other in _READ}
            # Their flat names are accepted in dictionaries too.
            known |= {field.name for field in fields(TrainingSettings)}
            close = closest(shown, sorted(known))
            raise ValueError(f"Unknown setting {shown}." + (f" Did you mean {close}?" if close else ""))
        if not _same(value, default[name]):
            raise ValueError(f"{shown}={shortened(value)} has no effect: {_reason(shown)}. Leave it out.")


def _public(name: str) -> str:
    """The public name of an attribute."""
    if name == "_train_batch_size_per_learner":
        return name[1:]
    return {"framework_str": "framework", "input_": "input"}.get(name, name)


def _same(value: Any, default: Any) -> bool:
    if isinstance(value, dict) and isinstance(default, dict) and "default_policy" in default:
        return set(value) == set(default)  # The specifications of policies do not compare.
    try:
        return value is default or bool(value == default)
    except Exception:  # Anything may have been set, arrays included.
        return False


def _reason(name: str) -> str:
    for starts, reason in _REASONS:
        if name.startswith(starts):
            return reason
    return (
        _CONVERSATION if any(word in name for word in ("obs", "action", "filter", "connector")) else "nothing reads it"
    )

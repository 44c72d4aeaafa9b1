"""Run metrics: an algorithm's result by the names of `metrics.jsonl`, in runs and for the logger callbacks of Tune."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

from ray.air.constants import TRAINING_ITERATION
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, EVALUATION_RESULTS, LEARNER_RESULTS
from ray.tune.logger import LoggerCallback, TBXLoggerCallback

from sdar_gym.training.metric_names import flat_metrics

Callback = TypeVar("Callback", bound=LoggerCallback)
# What Ray's callback for TensorBoard writes before every name.
_PREFIX = "ray/tune/"


def run_metrics(result: Mapping[str, Any]) -> dict[str, Any]:
    """The sections of a line of `metrics.jsonl`, without RLlib's internal counters.

    Args:
        result: What `SDAR.train()` returned.
    """
    learner = {
        name: value
        # Absent after an update without episodes.
        for name, value in result.get(LEARNER_RESULTS, {}).get(DEFAULT_MODULE_ID, {}).items()
        if not name.startswith(("num_", "module_train_batch"))
    }
    metrics = {"train": _logged(result[ENV_RUNNER_RESULTS]), "learner": _logged(learner)}
    teacher = _logged(result.get("teacher", {}))
    if teacher:
        metrics["teacher"] = teacher
    faults = _logged(result.get("faults", {}))
    if faults:
        metrics["faults"] = faults
    metrics |= {"seconds": dict(result["seconds"]), "speed": _logged(result["speed"])}
    evaluation = result.get(EVALUATION_RESULTS)
    return metrics | ({"evaluation": dict(evaluation)} if evaluation else {})


def with_run_names(callback: Callback) -> Callback:
    """Lets a logger callback of Ray show the metrics of SDAR by the names of `metrics.jsonl`, with the update as step.

    Args:
        callback: Such as `TBXLoggerCallback()`, `WandbLoggerCallback(...)` or `MLflowLoggerCallback(...)`.

    Returns:
        The callback, for `tune.RunConfig(callbacks=[...])`.
    """
    log = callback.log_trial_result

    def log_trial_result(iteration: int, trial: Any, result: dict[str, Any]) -> None:
        log(iteration, trial, flat_metrics(run_metrics(result)) | {TRAINING_ITERATION: result[TRAINING_ITERATION]})

    callback.log_trial_result = log_trial_result
    if isinstance(callback, TBXLoggerCallback):
        writer = callback._summary_writer_cls

        class Writer(writer):
            """A writer that leaves out the prefix of Tune."""

            def add_scalar(self, tag: str, *arguments: Any, **keywords: Any) -> None:
                super().add_scalar(tag.removeprefix(_PREFIX), *arguments, **keywords)

        callback._summary_writer_cls = Writer
    return callback


def _logged(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values logged in this update; RLlib reports earlier ones that were not logged as NaN."""
    return {name: value for name, value in values.items() if not (isinstance(value, float) and math.isnan(value))}

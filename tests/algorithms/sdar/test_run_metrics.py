"""Run metrics: the names of `metrics.jsonl` from an algorithm's result, and in the logger callbacks of Tune."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from ray import tune
from ray.tune.logger import TBXLoggerCallback
from tiny_runs import small_config  # pyright: ignore[reportMissingImports]

from sdar_gym.algorithms.sdar.run_metrics import run_metrics, with_run_names
from sdar_gym.training.metric_names import flat_metrics

RESULT: dict[str, Any] = {
    "training_iteration": 3,
    "time_total_s": 9.0,
    "config": {"lr": 1.0},
    "env_runners": {"success": 0.5, "success/heat": 0.25, "skill_coverage": math.nan},
    "learners": {
        "default_policy": {"policy_loss": 0.1, "num_module_steps_trained": 5, "module_train_batch_size_mean": 8.0},
        "__all_modules__": {"num_env_steps_trained": 5},
    },
    "teacher": {"gap/turn_17+": -0.5},
    "seconds": {"rollout": 1.0, "update": 2.0},
    "speed": {"rollout_tokens_per_second": 10.0},
}
NAMES = {
    "train/success": 0.5,
    "train/success/heat": 0.25,
    "learner/policy_loss": 0.1,
    "teacher/gap/turn_17_plus": -0.5,
    "seconds/rollout": 1.0,
    "seconds/update": 2.0,
    "speed/rollout_tokens_per_second": 10.0,
}


def test_a_result_has_the_sections_of_a_run_s_line() -> None:
    assert list(run_metrics(RESULT)) == ["train", "learner", "teacher", "seconds", "speed"]
    assert flat_metrics(run_metrics(RESULT)) == NAMES
    # An update without episodes has no learner's and no teacher's metrics.
    empty = {key: RESULT[key] for key in ("env_runners", "seconds", "speed")}
    assert list(run_metrics(empty)) == ["train", "learner", "seconds", "speed"]
    evaluated = flat_metrics(run_metrics(RESULT | {"evaluation": {"success": 1.0, "panel": "p"}}))
    assert evaluated == NAMES | {"evaluation/success": 1.0}


def test_a_callback_is_given_the_names_and_the_step() -> None:
    class Callback(tune.logger.LoggerCallback):
        def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
            told.append((iteration, trial, result))

    told: list[Any] = []
    with_run_names(Callback()).on_trial_result(3, [], "trial", RESULT)  # type: ignore[arg-type]
    assert told == [(3, "trial", NAMES | {"training_iteration": 3})]


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.usefixtures("ray_instance")
def test_the_callbacks_of_ray_show_the_names_of_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "needs W&B and MLflow: pip install 'sdar-gym[wandb,mlflow]'"
    pytest.importorskip("wandb", reason=reason)
    pytest.importorskip("mlflow", reason=reason)
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.air.integrations.wandb import WandbLoggerCallback

    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "runs"))
    from trackers_read_back import tensorboard_values, wandb_values  # pyright: ignore[reportMissingImports]

    # The callback asks for a key unless the variable is set here; its actor, which is older than this test, has `mode`.
    monkeypatch.setenv("WANDB_MODE", "offline")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    results = tune.Tuner(
        "SDAR",
        param_space=small_config().evaluation(evaluation_interval=2),
        run_config=tune.RunConfig(
            stop={"training_iteration": 2},
            storage_path=str(tmp_path / "results"),
            verbose=0,
            callbacks=[
                with_run_names(TBXLoggerCallback()),
                with_run_names(WandbLoggerCallback(project="sdar-gym", dir=str(tmp_path), mode="offline")),
                with_run_names(MLflowLoggerCallback(tracking_uri=uri, experiment_name="sdar-gym")),
            ],
        ),
    ).fit()
    assert results.errors == []
    wanted = flat_metrics(run_metrics(results[0].metrics))
    assert {"train/success", "learner/policy_loss", "seconds/update", "evaluation/success"} <= set(wanted)

    from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]

    client = MlflowClient(tracking_uri=uri)
    [run] = client.search_runs([client.get_experiment_by_name("sdar-gym").experiment_id])
    of_mlflow = {
        name: {each.step: each.value for each in client.get_metric_history(run.info.run_id, name)}
        for name in run.data.metrics
    }
    own = {"training_iteration"}  # W&B and MLflow show Tune's own counter too.
    for found in (tensorboard_values(Path(results[0].path)), wandb_values(tmp_path / "wandb")[0], of_mlflow):
        assert set(wanted) <= set(found) and set(found) - set(wanted) <= own | _first_only(found)
        assert set(found["train/success"]) == {1, 2}
        assert {name: values[2] for name, values in found.items() if name in wanted} == pytest.approx(wanted, rel=1e-6)


def _first_only(found: dict[str, dict[int, float]]) -> set[str]:
    """Metrics of the first update that the second one has not, such as the success of a type that it did not play."""
    return {name for name, values in found.items() if set(values) == {1}}

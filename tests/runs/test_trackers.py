"""Trackers: each gets the names and numbers of `metrics.jsonl`, a resume leaves no step twice, and none ends a run."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trackers_read_back import (  # pyright: ignore[reportMissingImports]
    Values,
    mlflow_values,
    tensorboard_values,
    wandb_values,
)

from sdar_gym.configs import load_config
from sdar_gym.configs.schema import TRACKERS, ConfigError
from sdar_gym.extras import MissingExtraError
from sdar_gym.runs.trackers import TrackedRun, Tracking, TrackingWarning, check_trackers, tracking
from sdar_gym.runs.trackers.mlflow_tracker import database
from sdar_gym.training.metric_names import flat_metrics, tracker_name

RECORDS: list[dict[str, Any]] = [
    {"update": 0, "evaluation": {"success": 0.25, "success/heat": 0.5, "panel": "p", "teacher": {"success": 0.75}}},
    {"update": 1, "train": {"success": 0.5}, "teacher": {"gap/turn_17+": -0.5}, "seconds": {"rollout": 1.5}},
    {"update": 2, "train": {"success": 0.75}, "learner": {"policy_loss": None}, "not_finite": ["learner.policy_loss"]},
    {"update": 2, "evaluation": {"success": 1.0, "success/heat": 1.0, "pass@2": 1.0, "with_skills": False}},
    {"update": 3, "train": {"success": 1.0}},
]


@pytest.fixture(autouse=True)
def _own_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_MODE", "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)


def tracked(folder: Path) -> TrackedRun:
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"method": "sdar", "training": {"lr": 1e-3, "objective": {}}}
    return TrackedRun("0123456789abcdef", folder, settings, {"python": "3.11"})


def expected(records: list[dict[str, Any]]) -> Values:
    found: Values = {}
    for record in records:
        for name, value in flat_metrics(record).items():
            found.setdefault(name, {})[record["update"]] = value
    return found


def write(names: list[str], run: TrackedRun, records: list[dict[str, Any]], before: int = 0) -> None:
    """A session: the first records are in `metrics.jsonl` already."""
    session = Tracking(names, run, records[:before])
    for record in records[before:]:
        session.log(record)
    session.close(finished=len(records) == len(RECORDS))


def close_to(found: Values, wanted: Values) -> None:
    assert set(found) == set(wanted)
    for name, values in wanted.items():
        # TensorBoard has single precision.
        assert found[name] == pytest.approx(values, rel=1e-6), name


def test_names_are_sections_and_names() -> None:
    assert flat_metrics(RECORDS[0]) == {
        "evaluation/success": 0.25,
        "evaluation/success/heat": 0.5,
        "evaluation/teacher/success": 0.75,
    }
    assert flat_metrics(RECORDS[1]) == {"train/success": 0.5, "teacher/gap/turn_17_plus": -0.5, "seconds/rollout": 1.5}
    # Neither truth values, texts, missing numbers nor the update's own number are metrics.
    assert flat_metrics(RECORDS[3]) == {
        "evaluation/success": 1.0,
        "evaluation/success/heat": 1.0,
        "evaluation/pass_at_2": 1.0,
    }
    of_run = {"update": 1, "train": {"a": np.float32(0.5), "b": float("nan"), "c": np.int64(2), "update": 3}}
    assert flat_metrics(of_run) == {"train/a": 0.5, "train/c": 2.0, "train/update": 3.0}
    assert tracker_name("pass^4 (all)") == "pass_hat_4__all_"


def test_settings_and_trackers_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(TRACKERS) == set(tracking.TRACKERS)
    assert load_config("quickstart", ["trackers=[mlflow,tensorboard,mlflow]"]).trackers == ["mlflow", "tensorboard"]
    with pytest.raises(ConfigError, match="trackers must be one of tensorboard, wandb, mlflow, got 'comet'"):
        load_config("quickstart", ["trackers=[comet]"])
    check_trackers(["tensorboard"])
    missing = dict(tracking.TRACKERS, mlflow=(tracking.TRACKERS["mlflow"][0], "no_such_module", "mlflow"))
    monkeypatch.setattr(tracking, "TRACKERS", missing)
    with pytest.raises(MissingExtraError, match=r"trackers=mlflow needs .*pip install \"sdar-gym\[mlflow\]\""):
        check_trackers(["tensorboard", "mlflow"])


def test_tensorboard_has_every_number_once_also_after_a_resume(tmp_path: Path) -> None:
    run = tracked(tmp_path / "run")
    write(["tensorboard"], run, RECORDS[:4])
    close_to(tensorboard_values(run.folder / "tensorboard"), expected(RECORDS[:4]))
    # Killed after the checkpoint of update 1, whose later lines are forgotten and come again, here with other numbers.
    again = [*RECORDS[:2], {"update": 2, "train": {"success": 0.125}}, RECORDS[4]]
    write(["tensorboard"], run, again, before=2)
    close_to(tensorboard_values(run.folder / "tensorboard"), expected(again))


class _Recorder:
    """A tracker that fails when it is told of one update."""

    begins_anew = False

    def __init__(self, fails_at: int | None = None, buffers: bool = False):
        self.fails_at, self.buffers = fails_at, buffers
        self.steps: list[int] = []
        self.closed: bool | None = None

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        if step == self.fails_at:
            raise ConnectionError("no route to host\nmore")
        self.steps.append(step)

    def close(self, *, finished: bool) -> None:
        self.closed = finished


@pytest.fixture
def recorders(monkeypatch: pytest.MonkeyPatch) -> dict[str, _Recorder]:
    made = {"good": _Recorder(), "bad": _Recorder(fails_at=2)}
    table = {name: (lambda run, name=name: made[name], "json", "train") for name in made}
    monkeypatch.setattr(tracking, "TRACKERS", table)
    return made


def test_a_tracker_that_fails_is_left_out_with_one_warning(recorders: dict[str, _Recorder], tmp_path: Path) -> None:
    run = tracked(tmp_path / "run")
    with pytest.warns(TrackingWarning, match=r"bad is not written any more: ConnectionError: no route to host") as told:
        write(["bad", "good"], run, RECORDS)
    assert len(told) == 1
    assert recorders["good"].steps == [0, 1, 2, 2, 3] and recorders["good"].closed is True
    assert recorders["bad"].steps == [0, 1] and recorders["bad"].closed is None
    assert json.loads((run.folder / "trackers.json").read_text()) == {"bad": 2, "good": 6}
    # At the next resume it gets what it lacks, and the other one nothing twice.
    recorders["bad"].fails_at = None
    write(["bad", "good"], run, RECORDS, before=4)
    assert recorders["bad"].steps == [0, 1, 2, 2, 3] and recorders["good"].steps == [0, 1, 2, 2, 3]


def test_what_a_killed_process_may_have_lost_is_sent_again(recorders: dict[str, _Recorder], tmp_path: Path) -> None:
    recorders["bad"] = _Recorder(buffers=True)
    run = tracked(tmp_path / "run")
    write(["bad", "good"], run, RECORDS[:2])
    killed = Tracking(["bad", "good"], run, RECORDS[:2])
    killed.log(RECORDS[2])
    write(["bad", "good"], run, RECORDS, before=2)
    assert recorders["bad"].steps == [0, 1, 2, 2, 2, 3] and recorders["good"].steps == [0, 1, 2, 2, 3]


def test_a_tracker_that_cannot_begin_ends_no_run(
    recorders: dict[str, _Recorder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(run: TrackedRun) -> Any:
        raise RuntimeError("not logged in")

    monkeypatch.setattr(tracking, "TRACKERS", {**tracking.TRACKERS, "bad": (refuse, "json", "train")})
    with pytest.warns(TrackingWarning, match="bad is not written any more: RuntimeError: not logged in"):
        write(["bad", "good"], tracked(tmp_path / "run"), RECORDS)
    assert recorders["good"].steps == [0, 1, 2, 2, 3]


@pytest.mark.parametrize("content", ["", "[]", '{"good": "x"}', "\x00"])
def test_a_damaged_record_of_trackers_ends_no_run(
    content: str, recorders: dict[str, _Recorder], tmp_path: Path
) -> None:
    run = tracked(tmp_path / "run")
    (run.folder / "trackers.json").write_text(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write(["good"], run, RECORDS)
    assert recorders["good"].steps == [0, 1, 2, 2, 3]


@pytest.mark.slow
def test_wandb_has_every_number_once_also_after_a_resume(tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="needs W&B: pip install 'sdar-gym[wandb]'")
    run = tracked(tmp_path / "run")
    write(["wandb"], run, RECORDS[:4])
    write(["wandb"], run, RECORDS, before=2)
    found, config = wandb_values(run.folder / "wandb")
    close_to(found, expected(RECORDS))
    assert config["method"] == "sdar" and config["training"]["lr"] == 1e-3
    assert config["run_folder"] == str(run.folder) and config["versions"] == {"python": "3.11"}
    assert all(run.id in folder.name for folder in (run.folder / "wandb").glob("offline-run-*"))


@pytest.mark.slow
def test_mlflow_has_every_number_once_also_after_a_resume(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="needs MLflow: pip install 'sdar-gym[mlflow]'")
    run = tracked(tmp_path / "run")
    write(["mlflow"], run, RECORDS[:4])
    assert mlflow_values(database(tmp_path), run.id)[1].info.status == "KILLED"
    write(["mlflow"], run, RECORDS, before=2)
    found, stored = mlflow_values(database(tmp_path), run.id)
    close_to(found, expected(RECORDS))
    assert stored.info.status == "FINISHED" and stored.info.run_name == "run"
    assert stored.data.params["training.lr"] == "0.001"
    assert stored.data.tags["sdar_gym.run_folder"] == str(run.folder)
    # A database that was left behind when the run was moved: the new one gets everything.
    (tmp_path / "elsewhere").mkdir()
    run.folder.rename(tmp_path / "elsewhere" / "run")
    write(["mlflow"], tracked(tmp_path / "elsewhere" / "run"), RECORDS, before=5)
    close_to(mlflow_values(database(tmp_path / "elsewhere"), run.id)[0], expected(RECORDS))

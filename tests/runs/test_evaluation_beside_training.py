"""Evaluation beside training in runs: the same run folder, also after a stop or a kill before a result was there."""

from __future__ import annotations

import logging
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from test_train_and_resume import EMA, assert_same_end, config, resume  # pyright: ignore[reportMissingImports]

from sdar_gym.algorithms.sdar.evaluation_beside import EvaluationBeside
from sdar_gym.runs.checkpoint import CheckpointError, read_manifest
from sdar_gym.runs.folder import RunFolder
from sdar_gym.runs.stop import RunStopped
from sdar_gym.runs.train import Progress, train

pytestmark = [pytest.mark.ray, pytest.mark.slow]
CHANGES = ("training.iterations=5", EMA)
BESIDE = "resources.num_evaluation_runners=1"


@pytest.fixture(autouse=True, scope="module")
def _ray() -> Iterator[None]:
    ray.shutdown()  # One that tests of another file left for the next ones.
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


@pytest.fixture(autouse=True)
def _late(monkeypatch: pytest.MonkeyPatch) -> None:
    """A result is there only when somebody waits for it."""
    monkeypatch.setattr(EvaluationBeside, "done", property(lambda self: False))


@pytest.fixture(scope="module")
def between(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that evaluates between updates."""
    return train(config(tmp_path_factory.mktemp("between"), *CHANGES))[0]


def newest(folder: RunFolder) -> int:
    try:
        return read_manifest(folder.newest_checkpoint).update
    except CheckpointError:  # Between two renames.
        return -1


def evaluated(folder: RunFolder) -> list[int]:
    return [record["update"] for record in folder.records() if "evaluation" in record]


def test_a_run_and_one_that_was_killed_before_a_result_end_as_one_that_waits(
    between: RunFolder, tmp_path: Path
) -> None:
    killed = RunFolder(tmp_path / "killed")
    seen: list[Any] = []

    def report(progress: Progress) -> None:
        seen.append((progress.update, dict(progress.evaluation)))
        if progress.update == 2:
            while newest(RunFolder(tmp_path / "quickstart-sdar")) < 2:
                time.sleep(0.1)  # It is written beside.
            # What a kill would leave at this moment.
            shutil.copytree(tmp_path / "quickstart-sdar", killed.path, ignore=shutil.ignore_patterns("run.lock"))

    folder, summary = train(config(tmp_path, BESIDE, *CHANGES), report=report)
    assert_same_end(between, folder)
    assert evaluated(folder) == [0, 2, 4, 5]
    # Progress shows the last result that is there.
    results = {each["update"]: each["evaluation"] for each in folder.records() if "evaluation" in each}
    assert seen[0] == (0, {}) and seen[2] == (2, results[0])
    assert seen[-1] == (5, results[5]) and summary["before"] == results[0]
    seconds = [each["seconds"] for each in folder.records() if "evaluation" in each]
    assert all(set(each) == {"evaluation", "evaluation_wait"} for each in seconds)

    assert read_manifest(killed.checkpoint).update == 2
    assert evaluated(killed) == [0]
    resume(killed.path)
    assert_same_end(between, killed)


def test_a_signal_waits_for_the_result_that_a_later_checkpoint_would_lack(between: RunFolder, tmp_path: Path) -> None:
    def report(progress: Progress) -> None:
        if progress.update == 3:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(RunStopped, match="update 3; --resume"):
        train(config(tmp_path, BESIDE, *CHANGES, "checkpoint_interval=100"), report=report)
    folder = RunFolder(tmp_path / "quickstart-sdar")
    assert read_manifest(folder.checkpoint).update == 3
    assert evaluated(folder) == [0, 2]
    assert [record["update"] for record in folder.records()] == [0, 1, 2, 2, 3]
    # Resources may change.
    resume(folder.path, "resources.num_evaluation_runners=0", "checkpoint_interval=1")
    assert_same_end(between, folder)


def test_an_error_keeps_the_lines_that_waited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any) -> Any:
        raise ValueError("no floor")

    monkeypatch.setattr(EvaluationBeside, "finish", broken)
    with pytest.raises(ValueError, match="no floor"):
        train(config(tmp_path, BESIDE, "training.iterations=2", "checkpoint_interval=100"))
    folder = RunFolder(tmp_path / "quickstart-sdar")
    assert [record["update"] for record in folder.records()] == [1, 2]
    assert read_manifest(folder.checkpoint).update == 0
    monkeypatch.undo()
    resume(folder.path)
    assert evaluated(folder) == [0, 2]

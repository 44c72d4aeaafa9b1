"""Evaluations that come late: lines in order, checkpoints that wait, the best one, stops, kills and errors."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from made_runs import PANEL, made_config, made_state  # pyright: ignore[reportMissingImports]

from sdar_gym.runs.checkpoint import read_manifest
from sdar_gym.runs.folder import RunFolder
from sdar_gym.runs.resume import resumed_run
from sdar_gym.runs.stop import RunStopped, Stopper
from sdar_gym.runs.train import Progress, _Training

SUCCESS = {0: 0.2, 2: 0.6, 4: 0.4, 5: 0.5}


def result(update: int) -> dict[str, Any]:
    """What the learning curve needs of an evaluation."""
    success = {name: SUCCESS[update] for name in ("success", "success_low", "success_high")}
    return {**success, "panel": PANEL.name, "tasks": 2, "panel_hash": PANEL.hash, "temperature": 1.0}


class Made:
    """In place of the algorithm: nothing is learned, and a result is there when somebody waits for it."""

    panel = PANEL
    last_episodes = last_evaluation = ()
    last_tokens = tokenizer = None
    teacher_in_use = evaluation_done = False
    learner_group = SimpleNamespace(is_local=True)

    def __init__(self, *, beside: bool):
        self.training_iteration = 0
        self.evaluates_beside = beside
        self.pending: int | None = None
        self.broken = False
        self.training: _Training | None = None

    def train(self) -> dict[str, Any]:
        self.training_iteration += 1
        return {"env_runners": {"success": 0.5}, "learners": {}, "seconds": {"rollout": 1.0}, "speed": {}}

    def evaluate(self) -> dict[str, Any]:
        return result(self.training_iteration)

    def begin_evaluation(self) -> None:
        assert self.pending is None
        self.pending = self.training_iteration

    def wait_for_evaluation(self) -> None:
        assert self.pending is not None

    def finish_evaluation(self) -> tuple[dict[str, Any], dict[str, float]]:
        if self.broken:
            raise ValueError("no floor")
        update, self.pending = self.pending, None
        assert update is not None
        return result(update), {"evaluation": 2.0, "evaluation_wait": 1.0}

    def resumable_state(self) -> dict[str, Any]:
        return made_state(self.training_iteration)

    def set_state(self, state: dict[str, Any]) -> None:
        self.training_iteration = state["training_iteration"]

    def export_policy(self, folder: Path) -> None:
        folder.mkdir()

    def stop(self) -> None:
        pass


def quiet(progress: Progress) -> None:
    """No report."""


def run(
    path: Path, *changes: str, algorithm: Made | None = None, report: Callable[[Progress], None] = quiet
) -> RunFolder:
    """A run of five updates that evaluates every second one."""
    folder = RunFolder(path)
    path.mkdir()
    settings = ("training.iterations=5", "evaluation.interval=2", "checkpoint_interval=1", *changes)
    stopper = Stopper()
    training = _Training(made_config(path.parent, *settings), folder, stopper, report, resumed=False)
    algorithm = algorithm or Made(beside=True)
    algorithm.training = training
    with stopper.listening():
        training._with(algorithm)
    return folder


def resume(path: Path) -> RunFolder:
    resumption, _ = resumed_run(path)
    _Training(resumption.run, RunFolder(path), Stopper(), quiet, resumed=True)._with(Made(beside=True))
    return RunFolder(path)


def lines(folder: RunFolder) -> list[dict[str, Any]]:
    return [{name: value for name, value in each.items() if name != "seconds"} for each in folder.records()]


def evaluated(folder: RunFolder) -> list[int]:
    return [record["update"] for record in folder.records() if "evaluation" in record]


def test_a_late_result_stands_behind_its_update_and_a_killed_run_plays_it_again(tmp_path: Path) -> None:
    killed, seen, algorithm = tmp_path / "killed", [], Made(beside=True)

    def report(progress: Progress) -> None:
        seen.append((progress.update, progress.evaluation.get("success")))
        if progress.update == 2:
            assert algorithm.training is not None
            algorithm.training.writer.wait()
            # What a kill would leave at this moment.
            shutil.copytree(tmp_path / "beside", killed)

    between = run(tmp_path / "between", algorithm=Made(beside=False))
    beside = run(tmp_path / "beside", algorithm=algorithm, report=report)
    assert [record["update"] for record in lines(beside)] == [0, 1, 2, 2, 3, 4, 4, 5, 5]
    assert lines(beside) == lines(between)
    # A checkpoint of a later update waits, so that the result of update 2 is there after update 3.
    assert seen == [(0, None), (1, 0.2), (2, 0.2), (3, 0.6), (4, 0.6), (5, 0.5)]
    for folder in (between, beside):
        assert read_manifest(folder.best_checkpoint).update == 2
        assert read_manifest(folder.checkpoint).update == 5
    assert (read_manifest(killed / "checkpoint").update, evaluated(RunFolder(killed))) == (2, [0])
    again = resume(killed)
    assert lines(again) == lines(between)
    assert read_manifest(again.best_checkpoint).update == 2


def test_a_signal_waits_for_the_result_that_a_later_checkpoint_would_lack(tmp_path: Path) -> None:
    def report(progress: Progress) -> None:
        if progress.update == 3:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(RunStopped):
        run(tmp_path / "run", "checkpoint_interval=100", "checkpoints.best=false", report=report)
    folder = RunFolder(tmp_path / "run")
    assert read_manifest(folder.checkpoint).update == 3
    assert [record["update"] for record in lines(folder)] == [0, 1, 2, 2, 3]
    assert evaluated(folder) == [0, 2]
    assert evaluated(resume(folder.path)) == [0, 2, 4, 5]


def test_a_run_that_breaks_off_keeps_the_lines_that_waited(tmp_path: Path) -> None:
    algorithm = Made(beside=True)

    def report(progress: Progress) -> None:
        algorithm.broken |= progress.update == 2

    with pytest.raises(ValueError, match="no floor"):
        run(tmp_path / "run", "checkpoint_interval=100", "checkpoints.best=false", algorithm=algorithm, report=report)
    folder = RunFolder(tmp_path / "run")
    # The result of update 2 was waited for when update 4 was to be evaluated.
    assert [record["update"] for record in lines(folder)] == [0, 1, 2, 3, 4]
    assert read_manifest(folder.checkpoint).update == 0
    assert evaluated(resume(folder.path)) == [0, 2, 4, 5]

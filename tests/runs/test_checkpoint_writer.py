"""The checkpoint writer: beside the training, from a copy; the last n and the best stay; a full disk costs nothing."""

from __future__ import annotations

import resource
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from made_runs import PANEL, made_config, made_run, made_state  # pyright: ignore[reportMissingImports]

from sdar_gym.configs.record import resolved
from sdar_gym.configs.sections import CheckpointSettings
from sdar_gym.policy.non_finite import NonFiniteError
from sdar_gym.runs import checkpoint_writer
from sdar_gym.runs.checkpoint import read_manifest, read_state, verify_checkpoint
from sdar_gym.runs.checkpoint_writer import CheckpointWriter
from sdar_gym.runs.folder import RunFolder, RunFolderError
from sdar_gym.runs.resume import CheckpointError, plain_settings, plan_resume, resumed_run


def writer_of(run: RunFolder, **settings: Any) -> CheckpointWriter:
    return CheckpointWriter(run, CheckpointSettings(**settings))


def write(writer: CheckpointWriter, run: RunFolder, state: Any, *, best: bool = False, in_use: bool = True) -> None:
    settings = plain_settings(resolved(made_config(run.path.parent)))
    writer.write(state, best=best, in_use=in_use, run=run.run_id(), settings=settings, panel=PANEL.hash)


def weight_of(state: Any) -> torch.Tensor:
    return state["learner_group"]["learner"]["rl_module"]["default_policy"]["model.embed.weight"]


def kept(run: RunFolder) -> dict[str, int]:
    return {path.name: verify_checkpoint(path).update for path in run.path.glob("*checkpoint*")}


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Checkpoints are not written before this is set."""
    go, whole = threading.Event(), checkpoint_writer.write_checkpoint

    def wait(*arguments: Any, **keywords: Any) -> None:
        assert go.wait(30)
        whole(*arguments, **keywords)

    monkeypatch.setattr(checkpoint_writer, "write_checkpoint", wait)
    return go


def test_training_goes_on_while_a_checkpoint_is_written(run: RunFolder, held: threading.Event) -> None:
    writer, state = writer_of(run), made_state(3)
    before = weight_of(state).clone()
    write(writer, run, state)
    # The learner takes a step, and the run logs.
    weight_of(state).add_(1.0)
    state["sdar_learned"]["gap_advantage_correlation"]["heat"] = 7.0
    writer.check()
    assert read_manifest(run.newest_checkpoint).update == 2
    held.set()
    writer.wait()
    manifest = verify_checkpoint(run.newest_checkpoint)
    written = read_state(run.newest_checkpoint, manifest)
    assert manifest.update == 3
    assert torch.equal(weight_of(written), before)
    assert written["sdar_learned"]["gap_advantage_correlation"]["heat"] == 0.25


def test_an_abandoned_checkpoint_leaves_the_folder_as_it_is(run: RunFolder, held: threading.Event) -> None:
    writer = writer_of(run)
    write(writer, run, made_state(3))
    writer.abandon()
    held.set()
    writer.wait()
    assert kept(run) == {"checkpoint": 2, "previous_checkpoint": 1}


def test_weights_that_are_not_finite_are_refused_at_once(run: RunFolder) -> None:
    state = made_state(3)
    weight_of(state)[0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match="A checkpoint was not written: its weights"):
        write(writer_of(run), run, state)


@pytest.mark.parametrize("in_use", [True, False])
def test_the_last_n_and_the_best_stay(in_use: bool, run: RunFolder) -> None:
    writer = writer_of(run, keep=4)
    for update in range(3, 8):
        write(writer, run, made_state(update), best=update in (3, 4), in_use=in_use)
    writer.wait()
    assert kept(run) == {
        "checkpoint": 7, "previous_checkpoint": 6, "checkpoint-000005": 5, "checkpoint-000004": 4, "best_checkpoint": 4
    }  # fmt: skip
    # An update that is done again after a failure takes the place of its first time; fewer are kept from now on.
    fewer = writer_of(run, keep=3)
    for update in (6, 7):
        write(fewer, run, made_state(update))
    fewer.wait()
    assert kept(run) == {
        "checkpoint": 7, "previous_checkpoint": 6, "checkpoint-000007": 7, "best_checkpoint": 4
    }  # fmt: skip


def test_no_best_one_is_kept_unless_it_is_wanted(run: RunFolder) -> None:
    writer = writer_of(run, best=False)
    write(writer, run, made_state(3), best=True)
    writer.wait()
    assert kept(run) == {"checkpoint": 3, "previous_checkpoint": 2}


def test_the_best_one_is_a_checkpoint_of_its_own(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    run.keep_best()
    first = (run.newest_checkpoint / "weights.safetensors").stat()
    assert (run.best_checkpoint / "weights.safetensors").stat().st_ino == first.st_ino  # No room is used twice.
    shutil.rmtree(run.newest_checkpoint)
    assert verify_checkpoint(run.best_checkpoint).update == 2

    def refuse(*_: Any) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    run.keep_best()  # Of the previous one, the newest that there is.
    assert verify_checkpoint(run.best_checkpoint).update == 1


def test_a_kill_between_two_renames_costs_no_best_one(run: RunFolder) -> None:
    run.keep_best()
    run.best_checkpoint.rename(run.path / "best_checkpoint.12ab34cd")
    (run.path / "best_checkpoint.00ab34cd").mkdir()
    run.recover()
    assert kept(run) == {"checkpoint": 2, "previous_checkpoint": 1, "best_checkpoint": 2}


def test_a_resume_knows_the_best_evaluation_that_has_a_checkpoint(run: RunFolder) -> None:
    def planned() -> float:
        return plan_resume(run, resumed_run(run.path)[0].run).best

    assert planned() == -1.0
    run.log({"update": 2, "evaluation": {"success": 0.75}})
    assert planned() == -1.0
    run.keep_best()
    assert planned() == 0.75


def test_the_last_good_one_is_named_wherever_it_is(run: RunFolder) -> None:
    writer = writer_of(run, keep=3)
    run.log({"update": 3})
    write(writer, run, made_state(3))
    writer.wait()
    for path in (run.newest_checkpoint, run.previous_checkpoint):
        (path / "weights.safetensors").write_bytes(b"")
    with pytest.raises(
        CheckpointError, match=r"last good checkpoint is .*checkpoint-000001, of update 1: .* rename it"
    ):
        plan_resume(run, resumed_run(run.path)[0].run, verify=True)


def test_a_disk_without_room_keeps_the_last_checkpoint_and_ends_clearly(run: RunFolder) -> None:
    """The system refuses files above a size, as a full disk would."""
    writer = writer_of(run)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, hard))
    try:
        write(writer, run, made_state(3), best=True)
        with pytest.raises(RunFolderError, match=r"Cannot write to .*(large|Error).* update 2; --resume"):
            writer.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert kept(run) == {"checkpoint": 2, "previous_checkpoint": 1}
    # Told once; there is room again.
    write(writer, run, made_state(3))
    writer.wait()
    assert kept(run) == {"checkpoint": 3, "previous_checkpoint": 2}


def test_a_folder_that_is_gone_ends_clearly(tmp_path: Path) -> None:
    run = made_run(tmp_path / "runs")
    writer = writer_of(run)
    write(writer, run, made_state(3))
    writer.wait()
    run_id, settings = run.run_id(), plain_settings(resolved(made_config(tmp_path)))
    shutil.rmtree(run.path)
    writer.write(made_state(4), best=True, in_use=True, run=run_id, settings=settings, panel=PANEL.hash)
    with pytest.raises(
        RunFolderError, match=r"Cannot write to .*: No such file or directory. .* has no checkpoint yet"
    ):
        writer.wait()

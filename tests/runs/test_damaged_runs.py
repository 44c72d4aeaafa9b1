"""Damaged run folders and full disks: one message that says how to resume, and no good checkpoint is lost."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from made_runs import add_checkpoint, made_config, made_run, made_state  # pyright: ignore[reportMissingImports]

from sdar_gym.policy.non_finite import NonFiniteError
from sdar_gym.runs import checkpoint
from sdar_gym.runs.checkpoint import CheckpointError, read_manifest, read_state, verify_checkpoint
from sdar_gym.runs.folder import RunFolder, RunFolderError
from sdar_gym.runs.resume import plan_resume, resumed_run

SCRIPT = Path(__file__).parents[2] / "scripts" / "robustness" / "damaged_states.py"


def equal(left: Any, right: Any) -> bool:
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return type(left) is type(right) and len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, torch.Tensor) or hasattr(left, "dtype"):
        return type(left) is type(right) and bool((torch.as_tensor(left) == torch.as_tensor(right)).all())
    return left == right or (left != left and right != right)


def test_every_damage_is_refused_in_one_message(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("damaged_states", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    run, other = made_run(tmp_path / "a"), made_run(tmp_path / "b", "seed=1", seed=1)
    assert script.attempt(run.path) is None
    number, wrong = script.count(run.path, other.path)
    assert wrong == []
    assert number >= 140


def test_a_checkpoint_gives_back_the_state(run: RunFolder) -> None:
    manifest = verify_checkpoint(run.checkpoint)
    assert (manifest.update, manifest.run) == (2, run.run_id())
    state = read_state(run.checkpoint, manifest)
    assert equal(state, made_state(2))
    weights = state["learner_group"]["learner"]["rl_module"]["default_policy"]
    assert weights["model.embed.weight"] is weights["model.head.weight"]


def test_no_file_of_a_checkpoint_is_code(run: RunFolder) -> None:
    names = {path.suffix for path in run.path.rglob("*") if path.is_file()}
    assert names == {".json", ".jsonl", ".yaml", ".safetensors"}


def test_the_last_two_are_kept_and_the_last_good_one_is_named(run: RunFolder) -> None:
    assert [verify_checkpoint(path).update for path in (run.newest_checkpoint, run.previous_checkpoint)] == [2, 1]
    (run.checkpoint / "weights.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"weights.safetensors has 0 bytes.*last good checkpoint is .*update 1"):
        plan_resume(run, resumed_run(run.path)[0].run, verify=True)
    # The way that the message tells.
    run.newest_checkpoint.rename(run.path / "bad")
    assert plan_resume(run, resumed_run(run.path)[0].run, verify=True).manifest.update == 1


def test_pickles_are_not_read(run: RunFolder, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (open, (str(tmp_path / "pickle-ran"), "w"))

    for path in (run.checkpoint, run.previous_checkpoint):
        for name in ("algorithm_state.pkl", "state.pkl", "learner_group/state.pkl"):
            (path / name).parent.mkdir(exist_ok=True)
            (path / name).write_bytes(pickle.dumps(Evil()))
        (path / "rllib_checkpoint.json").write_text("{}")
    # Beside a good manifest they are not looked at.
    read_state(run.checkpoint, plan_resume(run, resumed_run(run.path)[0].run, verify=True).manifest)
    (run.checkpoint / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match="older format, made of Python pickles"):
        resumed_run(run.path)
    assert not (tmp_path / "pickle-ran").exists()


def test_weights_that_are_not_finite_are_not_written(run: RunFolder) -> None:
    state = made_state(3)
    state["learner_group"]["learner"]["rl_module"]["default_policy"]["model.embed.weight"][1, 2] = torch.nan
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with (
        pytest.raises(NonFiniteError, match=r"its weights hold 1 numbers that are not finite, in 1 tensors, .*embed"),
        run.fresh_checkpoint() as fresh,
    ):
        checkpoint.write_checkpoint(fresh, state, run="x", settings={}, panel="x")
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


def full_disk(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("function", ["save_file", "flush_tree", "replace_text"])
def test_a_full_disk_while_a_checkpoint_is_written_costs_nothing(
    function: str, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, function, full_disk)
    with pytest.raises(RunFolderError, match=rf"Cannot write to {run.path}: No space.*update 2; --resume {run.path}"):
        add_checkpoint(run, made_config(run.path.parent), 3)
    assert [verify_checkpoint(path).update for path in (run.newest_checkpoint, run.previous_checkpoint)] == [2, 1]
    assert not list(run.path.glob("checkpoint.*"))


@pytest.mark.parametrize(
    "write",
    [
        lambda run: run.log({"update": 3}),
        lambda run: run.forget_after(1),
        lambda run: run.write_summary({}),
        lambda run: run.write_episodes("eval-00001", []),
        lambda run: run.write_config(made_config(run.path.parent)),
    ],
)
def test_a_full_disk_is_one_message_whatever_is_written(
    write: Callable[[RunFolder], None], run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (run.path / "metrics.jsonl").read_bytes()
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(RunFolderError, match=rf"Cannot write to {run.path}: No space left .*--resume"):
        write(run)
    assert (run.path / "metrics.jsonl").read_bytes().startswith(before)


def test_a_number_that_is_none_is_null_and_named(run: RunFolder) -> None:
    run.log({"update": 3, "learner": {"ratio_max": float("inf"), "loss": 0.5}, "list": [1.0, float("nan")]})
    record = run.records()[-1]
    assert record["learner"] == {"ratio_max": None, "loss": 0.5}
    assert record["not_finite"] == ["learner.ratio_max", "list[1]"]


def test_a_line_that_was_cut_off_is_left_out(run: RunFolder) -> None:
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"update": 3, "tra')
    assert [record["update"] for record in run.records()] == [0, 1, 2]
    run.forget_after(1)
    run.log({"update": 2})
    assert [record["update"] for record in run.records()] == [0, 1, 2]


LEFT = ("checkpoint.48popyzh", "checkpoint.12ab34cd", "policy.0a1b2c3d")


def test_a_resume_removes_what_belongs_to_nobody_and_nothing_else(run: RunFolder) -> None:
    for name in (*LEFT, "checkpoint.mine", "policy.original", "backup"):
        (run.path / name).mkdir()
        (run.path / name / "weights.safetensors").write_bytes(b"half")
    (run.path / "metrics.jsonl.1234abcd").write_text("half")
    run.recover()
    names = {path.name for path in run.path.iterdir()}
    assert {"checkpoint.mine", "policy.original", "backup", "checkpoint", "previous_checkpoint"} <= names
    assert not names & {*LEFT, "metrics.jsonl.1234abcd"}


def test_a_checkpoint_that_was_finished_and_not_renamed_is_taken(run: RunFolder) -> None:
    # Between its second and its third rename.
    shutil.rmtree(run.previous_checkpoint)
    run.newest_checkpoint.rename(run.previous_checkpoint)
    fresh = run.path / "checkpoint.9999aaaa"
    shutil.copytree(run.previous_checkpoint, fresh)
    content = json.loads((fresh / "manifest.json").read_text())
    del content["sha256"]
    content["update"] = 3
    (fresh / "manifest.json").write_text(json.dumps({**content, "sha256": checkpoint._digest(content)}))
    half = run.path / "checkpoint.0000aaaa"
    shutil.copytree(fresh, half)
    (half / "optimizer.safetensors").unlink()
    assert run.checkpoint == run.previous_checkpoint
    run.recover()
    assert [read_manifest(path).update for path in (run.newest_checkpoint, run.previous_checkpoint)] == [3, 2]
    assert not list(run.path.glob("checkpoint.*"))


def test_at_no_moment_is_there_no_good_checkpoint(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = os.replace, []

    def look(source: Any, target: Any) -> None:
        real(source, target)
        if RunFolder(run.path).checkpoint.is_dir():
            seen.append(verify_checkpoint(RunFolder(run.path).checkpoint).update)

    monkeypatch.setattr(os, "replace", look)
    add_checkpoint(run, made_config(run.path.parent), 3)
    assert set(seen) == {2, 3}


def test_what_is_renamed_was_flushed(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed, real, fsync = set(), os.replace, os.fsync

    def note(handle: int) -> None:
        flushed.add(os.fstat(handle).st_ino)
        fsync(handle)

    def rename(source: Any, target: Any) -> None:
        if Path(target) == run.newest_checkpoint:
            missing = [
                path.name for path in [Path(source), *Path(source).iterdir()] if path.stat().st_ino not in flushed
            ]
            assert missing == []
        real(source, target)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(os, "replace", rename)
    add_checkpoint(run, made_config(run.path.parent), 3)
    assert run.path.stat().st_ino in flushed

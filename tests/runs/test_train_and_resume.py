"""Training runs: what they write, how they end, and that resuming is exact."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from processes import kill, of_part  # pyright: ignore[reportMissingImports]
from safetensors.torch import load_file
from trackers_read_back import (  # pyright: ignore[reportMissingImports]
    mlflow_values,
    tensorboard_values,
    wandb_values,
)

from sdar_gym.algorithms.sdar.algorithm import SDAR
from sdar_gym.algorithms.sdar.learner import SDARLearner
from sdar_gym.algorithms.sdar.panel_evaluator import PanelEvaluator
from sdar_gym.configs import load_config
from sdar_gym.configs.schema import RunConfig
from sdar_gym.policy.non_finite import NonFiniteError
from sdar_gym.runs.checkpoint import read_manifest, verify_checkpoint
from sdar_gym.runs.folder import RunFolder, RunFolderError
from sdar_gym.runs.lock import RunLockedError, locked
from sdar_gym.runs.resume import resumed_run
from sdar_gym.runs.stop import RunStopped
from sdar_gym.runs.trackers.mlflow_tracker import database
from sdar_gym.runs.train import Progress, train
from sdar_gym.training.metric_names import flat_metrics

pytestmark = pytest.mark.ray
SIZES = (
    "training.group_size=2",
    "training.tasks_per_iteration=2",
    "training.num_minibatches=2",
    "env_config.max_steps=3",
    "evaluation.tasks=2",
    "evaluation.teacher_tasks=1",
    "evaluation.interval=2",
    "checkpoint_interval=1",
)
EMA = "training.objective.teacher={weights: ema, rate: 0.3}"
LORA = ("policy.lora={r: 4, alpha: 8.0}", "training.lr=1e-2")


@pytest.fixture(autouse=True, scope="module")
def _ray() -> Iterator[None]:
    ray.shutdown()  # One that tests of another file left for the next ones.
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()


def config(place: Path, *changes: str) -> RunConfig:
    return load_config("quickstart", [*SIZES, f"runs_dir={place}", *changes])


def resume(folder: Path, *changes: str, report: Callable[[Progress], None] = lambda progress: None) -> dict[str, Any]:
    resumption, _ = resumed_run(folder, None, list(changes))
    return train(resumption.run, folder, report)[1]


def end_of(folder: RunFolder) -> dict[str, Any]:
    """All of a run that does not tell the time."""
    tensors = {
        f"{path.parent.name}/{path.stem}/{name}": tensor
        for path in [*folder.checkpoint.glob("*.safetensors"), *folder.policy.glob("*.safetensors")]
        for name, tensor in load_file(path).items()
    }
    times = ("seconds", "speed", "faults")
    records = [{key: value for key, value in each.items() if key not in times} for each in folder.records()]
    texts = [*folder.path.glob("episodes/*"), *folder.path.glob("tokens/*")]
    state = json.loads((folder.checkpoint / "state.json").read_text())["state"]["sdar_learned"]
    return {
        "tensors": {name: (tensor.dtype, tensor.numpy().tobytes()) for name, tensor in sorted(tensors.items())},
        "records": records,
        "texts": {str(path.relative_to(folder.path)): path.read_text() for path in sorted(texts)},
        "learned": state,
    }


def assert_same_end(one: RunFolder, other: RunFolder) -> None:
    first, second = end_of(one), end_of(other)
    assert first["records"] == second["records"]
    assert first["learned"] == second["learned"]
    assert first["texts"].keys() == second["texts"].keys()
    assert first == second


@pytest.mark.parametrize(
    "changes",
    [
        (EMA, "skills.strategy=ucb"),
        pytest.param((*LORA, EMA), marks=pytest.mark.slow),
        pytest.param(("method=frozen_ce",), marks=pytest.mark.slow),
        pytest.param(("training.objective.teacher={weights: stale, every: 2}",), marks=pytest.mark.slow),
        pytest.param((EMA, "resources.num_learners=1", "resources.num_env_runners=2"), marks=pytest.mark.slow),
        pytest.param((*LORA, "resources.num_learners=2"), marks=pytest.mark.slow),
        pytest.param(
            ("training.max_staleness=1", "resources.num_env_runners=1", "skills.strategy=ucb"), marks=pytest.mark.slow
        ),
    ],
    ids=["ema-ucb", "lora-ema", "frozen", "stale", "remote", "two-learners-lora", "ahead"],
)
def test_a_resumed_run_ends_bit_for_bit_as_one_that_was_not(changes: tuple[str, ...], tmp_path: Path) -> None:
    straight, summary = train(config(tmp_path / "straight", *changes, "training.iterations=3"))
    parted, _ = train(config(tmp_path / "parted", *changes, "training.iterations=1"))
    assert verify_checkpoint(parted.checkpoint).update == 1
    # As a run of three updates would be after one: without the extras of a last update.
    for path in (parted.path / "episodes" / "eval-00001.jsonl", parted.path / "curve.png"):
        path.unlink()
    (parted.path / "metrics.jsonl").write_text(
        "".join(json.dumps(each) + "\n" for each in parted.records() if each["update"] == 0 or "evaluation" not in each)
    )
    assert resume(parted.path, "training.iterations=3")["after"] == summary["after"]
    whole = [record["update"] for record in straight.records()]
    assert [record["update"] for record in parted.records()] == whole
    first, second = end_of(straight), end_of(parted)
    # The first part's last update was looked at closely, since it was the last.
    for each in (first, second):
        for record in each["records"]:
            record.pop("teacher", None)
        each["learned"].pop("gap_advantage_correlation")
    assert first["records"] == second["records"]
    assert first == second


def test_a_run_leaves_whole_paths_two_checkpoints_and_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unlisted_metrics: Callable[[list[dict[str, Any]]], list[str]]
) -> None:
    monkeypatch.chdir(tmp_path)
    seen: list[Progress] = []
    folder, _ = train(config(Path("runs"), "training.iterations=2", "checkpoint_interval=2"), report=seen.append)
    assert folder.path == tmp_path / "runs" / "quickstart-sdar"
    assert load_config(str(folder.config)).runs_dir == str(tmp_path / "runs")
    # The first one comes right after the evaluation before the first update.
    assert [read_manifest(path).update for path in (folder.newest_checkpoint, folder.previous_checkpoint)] == [2, 0]
    assert [progress.update for progress in seen] == [0, 1, 2]
    assert all(0 <= progress.figures["mismatch_kl"] < 1e-6 for progress in seen[1:])
    assert (folder.path / "run.lock").read_text() == ""
    assert all(path.suffix != ".pkl" for path in folder.path.rglob("*"))
    for record in folder.records():
        assert "null" not in json.dumps(record.get("train", {})), record
        assert "not_finite" not in record
    assert unlisted_metrics(folder.records()) == []


def stop_after(update: int, number: int) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.update == update:
            os.kill(os.getpid(), number)

    return report


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_a_signal_ends_a_run_with_a_checkpoint_and_the_way_back(
    number: int, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One comes between two updates, one at the beginning of an optimizer's steps, one in an evaluation."""
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    changes = ("training.iterations=4", "checkpoint_interval=100", EMA)
    straight, _ = train(config(tmp_path / "straight", *changes))
    with pytest.raises(RunStopped, match=f"{signal.Signals(number).name} ended the run.*update 1; --resume") as stopped:
        train(config(tmp_path / "stopped", *changes), report=stop_after(1, number))
    assert stopped.value.code == status
    folder = RunFolder(tmp_path / "stopped" / "quickstart-sdar")
    assert str(folder.path) in str(stopped.value)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before

    with monkeypatch.context() as patch:
        update, sent = SDARLearner.update, []

        def interrupted(self: Any, **kwargs: Any) -> Any:
            if self._optimizer_steps == 0 and not sent:
                sent.append(os.kill(os.getpid(), number))
            return update(self, **kwargs)

        patch.setattr(SDARLearner, "_optimizer_steps", 0, raising=False)
        patch.setattr(SDARLearner, "update", interrupted)
        with pytest.raises(RunStopped, match="update 2; --resume") as stopped:
            resume(folder.path)
    assert stopped.value.code == status
    assert verify_checkpoint(folder.checkpoint).update == 2
    # Evaluated after the second update, which the signal did not wait for.
    assert [record["update"] for record in folder.records() if "evaluation" in record] == [0]

    with monkeypatch.context() as patch:
        play = PanelEvaluator._play

        def interrupted_panel(self: Any, *args: Any) -> Any:
            os.kill(os.getpid(), number)
            return play(self, *args)

        patch.setattr(PanelEvaluator, "_play", interrupted_panel)
        with pytest.raises(RunStopped, match="update 2; --resume"):
            resume(folder.path)
    resume(folder.path)
    assert_same_end(straight, folder)


def test_a_second_signal_ends_a_run_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(self: Any, **kwargs: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("It went on.")

    monkeypatch.setattr(SDARLearner, "update", twice)
    with pytest.raises(RunStopped, match="update 0; --resume") as stopped:
        train(config(tmp_path, "training.iterations=2"))
    assert stopped.value.code == 143
    assert verify_checkpoint(tmp_path / "quickstart-sdar" / "checkpoint").update == 0


def test_a_run_in_another_thread_leaves_signals_alone(tmp_path: Path) -> None:
    before, done = signal.getsignal(signal.SIGTERM), []
    changes = ("training.iterations=1", "evaluation.interval=0")
    thread = threading.Thread(target=lambda: done.append(train(config(tmp_path, *changes))))
    thread.start()
    thread.join()
    assert len(done) == 1
    assert signal.getsignal(signal.SIGTERM) is before


DIVERGES = (
    # Every step of AdamW multiplies the weights by 1 - lr x weight_decay.
    "training.lr=1",
    "training.weight_decay=1000",
    "training.iterations=12",
    "evaluation.interval=0",
)


@pytest.mark.parametrize(
    "changes",
    [
        (),
        pytest.param(("resources.num_learners=1",), marks=pytest.mark.slow),
        pytest.param(("resources.num_learners=2", "resources.num_env_runners=1"), marks=pytest.mark.slow),
    ],
)
def test_training_that_diverges_ends_and_keeps_what_was_good(
    changes: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(NonFiniteError, match=r"^(Update|The optimizer's step of update) \d") as ended:
        train(config(tmp_path, *DIVERGES, *changes))
    folder = RunFolder(tmp_path / "quickstart-sdar")
    told = str(ended.value)
    assert "\n" not in told
    update = verify_checkpoint(folder.checkpoint).update
    assert f"last good checkpoint is that of update {update}; --resume {folder.path}" in told
    assert not folder.policy.exists()
    for tensor in load_file(folder.checkpoint / "weights.safetensors").values():
        assert tensor.isfinite().all()
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("learners", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("broken", ["loss", "gradient", "weights"])
def test_no_step_is_taken_along_what_is_not_finite(
    broken: str, learners: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of one minibatch, of one learner, is enough."""
    # Remote learners cannot import this file.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    made = {"loss": _nan_loss, "gradient": _nan_gradient, "weights": _inf_weights}[broken]
    monkeypatch.setattr("sdar_gym.algorithms.sdar.config.SDARConfig.get_default_learner_class", lambda self: made)
    with pytest.raises(NonFiniteError, match=r"[uU]pdate 2") as ended:
        train(config(tmp_path, "training.iterations=3", f"resources.num_learners={learners}"))
    folder = RunFolder(tmp_path / "quickstart-sdar")
    assert verify_checkpoint(folder.checkpoint).update == 1
    assert f"update 1; --resume {folder.path}" in str(ended.value)
    if broken != "weights":
        assert "optimizer step 2" in str(ended.value)


def _second(learner: Any) -> bool:
    """Whether this is the second minibatch of the second update."""
    return learner._step == 1 and learner._optimizer_steps == 1


class _nan_loss(SDARLearner):
    def compute_loss_for_module(self, **kwargs: Any) -> torch.Tensor:
        loss = super().compute_loss_for_module(**kwargs)
        first = not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0
        # Its gradient is finite: that of the others as well.
        return loss + torch.tensor(float("nan")) if _second(self) and first else loss


class _nan_gradient(SDARLearner):
    def compute_loss_for_module(self, **kwargs: Any) -> torch.Tensor:
        loss = super().compute_loss_for_module(**kwargs)
        if _second(self):
            loss.register_hook(lambda gradient: gradient * float("inf"))
        return loss


class _inf_weights(SDARLearner):
    def apply_gradients(self, gradients_dict: Any) -> None:
        super().apply_gradients(gradients_dict)
        if self._step == 1:
            with torch.no_grad():
                next(iter(self._params.values())).view(-1)[-1] = float("inf")


def test_a_policy_that_is_not_finite_is_not_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = SDAR.resumable_state

    def spoil(self: Any) -> Any:
        kept = state(self)
        if self.training_iteration == 1:
            self.learner_group._learner._params[next(iter(self.learner_group._learner._params))].data.fill_(torch.nan)
        return kept

    monkeypatch.setattr(SDAR, "resumable_state", spoil)
    with pytest.raises(NonFiniteError, match="policy was not saved: its weights hold"):
        train(config(tmp_path, "training.iterations=1"))
    assert not (tmp_path / "quickstart-sdar" / "policy").exists()


def test_two_processes_never_train_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = train(config(tmp_path, "training.iterations=1"))
    monkeypatch.setattr(SDAR, "setup", lambda *_: pytest.fail("It was started."))
    with locked(folder.path), pytest.raises(RunLockedError, match="in use by process"):
        resume(folder.path, "training.iterations=2")


def test_a_state_of_another_model_is_refused(tmp_path: Path, policy_folder: Path) -> None:
    folder, _ = train(config(tmp_path / "one", "training.iterations=1"))
    other, _ = train(config(tmp_path / "two", "training.iterations=1", f"policy.model={policy_folder}"))
    manifest = json.loads((folder.checkpoint / "manifest.json").read_text())
    for name in ("weights.safetensors", "optimizer.safetensors", "state.json"):
        (folder.checkpoint / name).write_bytes((other.checkpoint / name).read_bytes())
        manifest["files"][name] = json.loads((other.checkpoint / "manifest.json").read_text())["files"][name]
    from sdar_gym.runs.checkpoint import _digest

    del manifest["sha256"]
    (folder.checkpoint / "manifest.json").write_text(json.dumps({**manifest, "sha256": _digest(manifest)}))
    with pytest.raises(ValueError, match="does not fit this run's model"):
        resume(folder.path, "training.iterations=2")


def test_a_disk_that_fills_up_ends_a_run_in_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sdar_gym.runs import folder as folders

    append = folders.append_line

    def full(path: Path, line: str) -> None:
        if '"update": 2' in line:
            raise OSError(28, "No space left on device")
        append(path, line)

    monkeypatch.setattr(folders, "append_line", full)
    with pytest.raises(RunFolderError, match=r"Cannot write to .*: No space left on device\. .*update 1; --resume"):
        train(config(tmp_path, "training.iterations=3"))
    monkeypatch.undo()
    assert resume(tmp_path / "quickstart-sdar")["updates"] == 3


@pytest.mark.slow
def test_a_lost_learner_and_a_lost_runner_change_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    changes = ("training.iterations=4", "resources.num_learners=2", "resources.num_env_runners=2", EMA)
    straight, _ = train(config(tmp_path / "straight", *changes))
    left = {1: "learner", 3: "runner"}

    def report(progress: Progress) -> None:
        if progress.update in left:
            kill(of_part(os.getpid(), left.pop(progress.update))[0])

    folder, _ = train(config(tmp_path / "killed", *changes), report=report)
    assert not left
    assert_same_end(straight, folder)
    faults = [record.get("faults", {}) for record in folder.records() if "train" in record]
    assert faults[1]["learner_restarts"] == 1
    assert "goes on from its last checkpoint, of update 1" in capfd.readouterr().err


@pytest.mark.slow
def test_trackers_have_what_metrics_have_also_after_a_stop_and_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_MODE", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    here = [name for name in ("wandb", "mlflow") if find_spec(name)]

    def stop(progress: Progress) -> None:
        if progress.update == 3:
            signal.raise_signal(signal.SIGTERM)

    run = config(tmp_path, "training.iterations=4", "checkpoint_interval=2", f"trackers=[{','.join(here)}]")
    with pytest.raises(RunStopped):
        train(run, None, stop)
    folder = RunFolder(next(tmp_path.glob("quickstart-*")))
    # One more at the resume, and a checkpoint that is older than what the trackers have.
    shutil.rmtree(folder.newest_checkpoint)
    resume(folder.path, f"trackers=[{','.join(['tensorboard', *here])}]")
    wanted: dict[str, dict[int, float]] = {}
    for record in folder.records():
        for name, value in flat_metrics(record).items():
            if not name.startswith(("seconds/", "speed/")):
                wanted.setdefault(name, {})[record["update"]] = value
    written = {"tensorboard": tensorboard_values(folder.path / "tensorboard")}
    if "wandb" in here:
        written["wandb"] = wandb_values(folder.path / "wandb")[0]
    if "mlflow" in here:
        written["mlflow"] = mlflow_values(database(tmp_path), folder.run_id())[0]
    for name, found in written.items():
        timeless = {key: values for key, values in found.items() if not key.startswith(("seconds/", "speed/"))}
        assert set(timeless) == set(wanted), name
        for metric, values in wanted.items():
            assert timeless[metric] == pytest.approx(values, rel=1e-6, abs=1e-9), (name, metric)

"""Warm-start run: an exported policy that plays, exact resumes, and errors in one message each."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from warm_configs import ALFWORLD, ENVIRONMENTS, TALK, smollm2, warm_config  # pyright: ignore[reportMissingImports]

from sdar_gym.configs.schema import RunConfig
from sdar_gym.evaluation.panels import play_panel
from sdar_gym.policy.load import PolicyLoadError, load_model
from sdar_gym.policy.trained_prompt import prompt_differences, prompt_record
from sdar_gym.runs.checkpoint import CheckpointError
from sdar_gym.runs.folder import RunFolder, RunFolderError
from sdar_gym.runs.resume import resumed_run
from sdar_gym.runs.stop import RunStopped
from sdar_gym.warmstart.demonstrator import DemonstrationError
from sdar_gym.warmstart.run import Progress, check_warm_start, resumed_warm_start, warm_start_model

SHORT = ("warmstart.batch_tokens=1500", "warmstart.held_out_interval=2", "checkpoint_interval=2")
LORA = ("policy.lora.r=4", "policy.lora.dropout=0.2", "warmstart.lr=5e-2", "warmstart.batch_tokens=500")
# A held-out loss is written beside the step after which it was measured.
TIMES = ("seconds", "tokens_per_second")


def stop_after(step: int, error: BaseException | None = None) -> Any:
    """A progress report that interrupts the run: by an error, or by SIGTERM."""

    def report(progress: Progress) -> None:
        if progress.phase == "steps" and progress.done == step:
            if error is not None:
                raise error
            os.kill(os.getpid(), signal.SIGTERM)

    return report


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_model(str(folder / "policy"), "float32").state_dict())


def figures_of(folder: Path) -> list[dict[str, Any]]:
    """The metrics without times."""
    return [{key: value for key, value in record.items() if key not in TIMES} for record in RunFolder(folder).records()]


@pytest.mark.parametrize("context", ["window", "conversation"])
@pytest.mark.parametrize(
    "env_id", [each if each == ALFWORLD else pytest.param(each, marks=pytest.mark.slow) for each in ENVIRONMENTS]
)
def test_the_exported_policy_is_better_on_held_out_episodes_and_plays(
    policy_folder: Path, tmp_path: Path, env_id: str, context: str
) -> None:
    changes = ("evaluation.tasks=2", "rollout.max_response_tokens=120", "evaluation.temperature=1")
    talk = (*TALK, "rollout.max_observation_tokens=150") if context == "conversation" else ()
    run = warm_config(policy_folder, env_id, *changes, *talk)
    assert any("micro_batch_tokens" in note for note in check_warm_start(run))
    seen: list[Progress] = []
    folder = tmp_path / "new" / "warm"
    record = warm_start_model(run, folder, report=seen.append)
    result, shown = record["result"], record["demonstrations"]
    assert result["held_out_after"] < 0.95 * result["held_out_before"]
    assert {one.phase for one in seen} == {"episodes", "steps"} and seen[-1].done == seen[-1].total == result["steps"]
    assert shown["train"]["episodes"] == 3 and shown["held_out"]["episodes"] == 1
    assert (shown["train"]["sequences"] == 3) == (context == "conversation")
    assert json.loads((folder / "warmstart.json").read_text()) == record
    before = load_model(str(policy_folder)).state_dict()
    assert any(not torch.equal(before[name], value) for name, value in weights_of(folder).items())
    # Evaluation and training know the prompts that the policy was tuned with.
    assert json.loads((folder / "policy" / "sdar_gym_prompt.json").read_text()) == prompt_record(run.rollout)
    assert prompt_differences(folder / "policy", run.rollout) == []
    summary, episodes = play_panel(run, str(folder / "policy"))
    assert summary["context"] == context and len(episodes) == 2 and all(episode.turns for episode in episodes)


@pytest.mark.parametrize("changes", [(), (*TALK, *LORA)], ids=["window", "conversation with adapters"])
def test_a_resumed_run_is_the_uninterrupted_one(policy_folder: Path, tmp_path: Path, changes: tuple[str, ...]) -> None:
    run = warm_config(policy_folder, ALFWORLD, *SHORT, *changes)
    whole = warm_start_model(run, tmp_path / "whole")
    assert whole["result"]["steps"] >= 5
    cut = tmp_path / "cut"
    # After step 3 by a signal, which writes a checkpoint; then after step 5 without a warning.
    with pytest.raises(RunStopped, match=r"SIGTERM ended the warm start. --resume .*cut continues it."):
        warm_start_model(run, cut, report=stop_after(3))
    assert json.loads((cut / "checkpoint" / "manifest.json").read_text())["update"] == 3
    with pytest.raises(KeyboardInterrupt):
        warm_start_model(resumed_warm_start(cut), cut, resume=True, report=stop_after(5, KeyboardInterrupt()))
    assert json.loads((cut / "checkpoint" / "manifest.json").read_text())["update"] == 4
    resumed = warm_start_model(resumed_warm_start(cut), cut, resume=True)
    assert figures_of(cut) == figures_of(tmp_path / "whole")
    ours, theirs = weights_of(cut), weights_of(tmp_path / "whole")
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    timeless = {key: value for key, value in whole["result"].items() if key not in TIMES}
    assert {key: value for key, value in resumed["result"].items() if key not in TIMES} == timeless
    assert resumed["demonstrations"] == whole["demonstrations"]


def test_a_warm_start_that_was_stopped_before_its_first_step_measures_the_held_out_loss_once(
    policy_folder: Path, tmp_path: Path
) -> None:
    run = warm_config(policy_folder, ALFWORLD, *SHORT, "warmstart.episodes=1", "warmstart.epochs=1")
    with pytest.raises(RunStopped):
        warm_start_model(run, tmp_path / "cut", report=stop_after(0))
    warm_start_model(resumed_warm_start(tmp_path / "cut"), tmp_path / "cut", resume=True)
    warm_start_model(run, tmp_path / "whole")
    assert figures_of(tmp_path / "cut") == figures_of(tmp_path / "whole")


@pytest.fixture(scope="module")
def finished(policy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunConfig, Path]:
    """A finished warm start."""
    run = warm_config(policy_folder, ALFWORLD, "warmstart.episodes=1", "warmstart.epochs=1")
    folder = tmp_path_factory.mktemp("runs") / "warm"
    warm_start_model(run, folder)
    return run, folder


@pytest.fixture
def copied(finished: tuple[RunConfig, Path], tmp_path: Path) -> Path:
    """A copy of it to damage."""
    return Path(shutil.copytree(finished[1], tmp_path / "copy"))


def test_a_finished_warm_start_is_not_trained_again(copied: Path) -> None:
    before, figures = weights_of(copied), figures_of(copied)
    shutil.rmtree(copied / "policy")
    warm_start_model(resumed_warm_start(copied), copied, resume=True)
    assert all(torch.equal(before[name], value) for name, value in weights_of(copied).items())
    assert figures_of(copied) == figures


def test_a_folder_of_something_else_is_refused(finished: tuple[RunConfig, Path], copied: Path, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"is not empty. Name a new folder, or continue a warm start: --resume"):
        warm_start_model(finished[0], copied)
    with pytest.raises(RunFolderError, match="is a warm start: sdar-gym warmstart --resume"):
        resumed_run(copied)
    (copied / "warmstart.json").unlink()
    with pytest.raises(RunFolderError, match=r"is no warm start: it has no warmstart\.json"):
        resumed_warm_start(copied)


def test_a_checkpoint_of_other_settings_or_episodes_is_refused(
    copied: Path, policy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = yaml.safe_load((copied / "config.yaml").read_text())
    content["warmstart"]["lr"] = 0.5
    (copied / "config.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(CheckpointError, match=r"config.yaml was changed since .*checkpoint was written. Put it back."):
        warm_start_model(resumed_warm_start(copied), copied, resume=True)
    content["warmstart"]["lr"] = 1e-2
    (copied / "config.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.setattr("sdar_gym.warmstart.demonstrations.Demonstrations.digest", lambda shown: "another")
    with pytest.raises(CheckpointError, match=r"The expert's episodes are not those that .* was trained on"):
        warm_start_model(resumed_warm_start(copied), copied, resume=True)


def test_a_model_that_is_no_chat_model_and_an_environment_without_expert_are_refused_before_the_work(
    policy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = Path(shutil.copytree(policy_folder, tmp_path / "base"))
    (base / "chat_template.jinja").unlink()
    with pytest.raises(PolicyLoadError, match=r"has no chat template, as base models have none; use an instruction"):
        check_warm_start(warm_config(base, ALFWORLD))
    with pytest.raises(ValueError, match=r"is more than the [\d,]+ tokens that policy.model=.* can read"):
        check_warm_start(warm_config(policy_folder, ALFWORLD, "rollout.max_prompt_tokens=1000000"))
    monkeypatch.setattr("sdar_gym.warmstart.demonstrator.expert_of", lambda env_id: None)
    with pytest.raises(DemonstrationError, match="has no expert, whose episodes a warm start trains on"):
        check_warm_start(warm_config(policy_folder, ALFWORLD))


def test_a_full_disk_is_told_and_leaves_the_last_checkpoint(
    policy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = warm_config(policy_folder, ALFWORLD, *SHORT, "warmstart.epochs=1")
    full = tmp_path / "full"

    def no_space(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("sdar_gym.warmstart.run.save_model", no_space)
        with pytest.raises(RunFolderError, match=r"No space left on device. Its last good checkpoint .* --resume"):
            warm_start_model(run, full)
    assert warm_start_model(resumed_warm_start(full), full, resume=True)["result"]["steps"] > 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("context", ["window", "conversation"])
def test_a_real_chat_model_learns_in_a_few_steps_and_plays(tmp_path: Path, context: str) -> None:
    # Few and short rows: a step of a model of this size takes half a minute on one core.
    talk = TALK if context == "conversation" else ("rollout.show_actions=never", "rollout.window=1")
    sizes = ("env_config.max_steps=4", "evaluation.tasks=2", "rollout.max_response_tokens=24")
    run = warm_config(
        smollm2(),
        ALFWORLD,
        f"warmstart.episodes={4 if context == 'conversation' else 1}",
        "warmstart.epochs=1",
        "warmstart.lr=1e-4",
        "warmstart.batch_tokens=500",
        *sizes,
        *talk,
    )
    check_warm_start(run)
    result = warm_start_model(run, tmp_path / "warm")["result"]
    assert result["steps"] >= 2 and result["held_out_after"] < 0.8 * result["held_out_before"]
    summary, episodes = play_panel(run, str(tmp_path / "warm" / "policy"))
    assert summary["context"] == context and all(episode.turns for episode in episodes)

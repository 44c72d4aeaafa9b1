"""The command `warmstart --model`: what it prints, and what it refuses in one message."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sdar_gym.cli import main

Run = Callable[..., tuple[int, str]]
SIZES = (
    *("env_config.games=generated", "env_config.scene=small", "policy.dtype=float32", "policy.device=cpu"),
    *("rollout.think=false", "rollout.max_prompt_tokens=3600", "rollout.max_response_tokens=100"),
    *("warmstart.episodes=2", "warmstart.held_out=1", "training.micro_batch_tokens=4000"),
)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in this process; gives its exit status and all that it prints, in one line."""

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["sdar-gym", "warmstart", *arguments])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
        return code, " ".join("".join(capsys.readouterr()).split())

    monkeypatch.setenv("COLUMNS", "300")
    return call


def test_a_model_is_tuned_evaluated_and_not_tuned_twice(run: Run, policy_folder: Path, tmp_path: Path) -> None:
    folder = str(tmp_path / "warm")
    code, printed = run(folder, "--model", str(policy_folder), *SIZES)
    assert code == 0 and "2 episodes" in printed and "held-out loss" in printed
    assert f"sdar-gym eval {folder}" in printed
    code, printed = run(folder, "--model", str(policy_folder), *SIZES)
    assert code == 2 and "is not empty" in printed and "Traceback" not in printed
    code, printed = run("--resume", folder)
    assert code == 0 and "2 episodes" in printed


def test_episodes_that_are_cut_are_counted(run: Run, policy_folder: Path, tmp_path: Path) -> None:
    talk = ("rollout.context=conversation", "rollout.show_actions=never", "rollout.max_context_tokens=700")
    code, printed = run(
        str(tmp_path / "warm"), "--model", str(policy_folder), *SIZES, *talk, "warmstart.episodes=12", "seed=1"
    )
    assert code == 0 and "context is full" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("out", "--model", "builtin:tiny", "--steps", "3"), "--steps is for the tiny policy"),
        (("out", "warmstart.epochs=3"), "warmstart.epochs=3 needs --model"),
        (("--model", "builtin:tiny"), "Name a folder for the policy, or a warm start to continue"),
        (("out", "--resume", "somewhere"), "has no effect with --resume"),
        (("--resume", "nowhere"), "is no warm start: it has no warmstart.json"),
        (("out", "--model", "./nowhere"), "nowhere"),
        (("out", "--model", "builtin:tiny", "warmstart.epochs=0"), "warmstart.epochs must be"),
        (("out", "--model", "builtin:tiny", "rollout.prompt=fancy"), "fancy"),
        (("out", "--model", "builtin:tiny", *SIZES, "rollout.max_response_tokens=2"), "would cut it off"),
    ],
)
def test_it_refuses_in_one_message_and_leaves_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, printed = run(*arguments)
    assert code == 2 and message in printed and "Traceback" not in printed, printed
    assert not (tmp_path / "out" / "policy").exists()

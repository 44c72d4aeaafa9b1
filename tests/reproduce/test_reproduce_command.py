"""The command `reproduce`: a small study for real, interrupted and gone on, and its errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sdar_gym.cli import main

SMALL = ("training.iterations=1", "evaluation.tasks=4", "env_config.max_steps=3", "evaluation.interval=0")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["sdar-gym", "reproduce", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def test_a_study_or_a_part_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "macro") == 2
    assert "There is no study macro" in capsys.readouterr().err
    assert run(monkeypatch, "micro", "--only", "mars", "--output", str(tmp_path)) == 2
    assert "There is no part mars; the parts are alfworld" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.ray
def test_a_part_is_played_written_and_not_played_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = (
        "micro",
        "--only",
        "wrong-skills",
        "--seeds",
        "2",
        "--tuning-seeds",
        "1",
        "--output",
        str(tmp_path),
        *SMALL,
    )
    assert run(monkeypatch, *command) == 0
    assert "| sdar, by share |" in capsys.readouterr().out
    result = json.loads((tmp_path / "result.json").read_text())
    assert len(result["runs"]["wrong-skills"]) == 10
    assert result["panels"]["wrong-skills"]["test"][0] == "evaluation.split=valid_seen"
    assert (tmp_path / "differences.png").read_bytes().startswith(b"\x89PNG")
    log = (tmp_path / "runs.jsonl").read_text()
    assert run(monkeypatch, *command) == 0
    assert (tmp_path / "runs.jsonl").read_text() == log

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
    assert run(monkeypatch, "quickstart", "--seeds", "3") == 2
    assert "belong to other studies" in capsys.readouterr().err
    assert run(monkeypatch, "micro", "--only", "mars", "--output", str(tmp_path)) == 2
    assert "There is no part mars; the parts are alfworld" in capsys.readouterr().err
    assert run(monkeypatch, "chat", "--only", "alfworld") == 2
    assert "chat has one part" in " ".join(capsys.readouterr().err.split())
    assert run(monkeypatch, "chat", "--output", str(tmp_path)) == 2
    assert "chat needs policy.model=FOLDER" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.ray
def test_a_part_is_played_written_and_not_played_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = (
        "micro",
        "--only",
        "alfworld-wrong",
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
    assert len(result["runs"]["alfworld-wrong"]) == 2 * len(result["arms"]["alfworld-wrong"])
    assert result["panels"]["alfworld-wrong"]["test"][0] == "evaluation.split=valid_seen"
    assert (tmp_path / "differences.png").read_bytes().startswith(b"\x89PNG")
    log = (tmp_path / "runs.jsonl").read_text()
    assert run(monkeypatch, *command) == 0
    assert (tmp_path / "runs.jsonl").read_text() == log


@pytest.mark.slow
@pytest.mark.ray
def test_the_quick_starts_study_goes_on_and_keeps_to_its_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("quickstart", "--output", str(tmp_path), *SMALL)
    assert run(monkeypatch, *command) == 0
    told = capsys.readouterr().out
    assert "SDAR, wrong skills" in told and (tmp_path / "view.html").as_uri() in told.replace("\n", "")
    written = {
        name: (tmp_path / name / "summary.json").stat().st_mtime_ns for name in ("quickstart-grpo", "wrong-sdar")
    }
    (tmp_path / "quickstart-sdar" / "summary.json").unlink()
    assert run(monkeypatch, *command) == 0
    assert (tmp_path / "quickstart-sdar" / "summary.json").exists()
    assert all((tmp_path / name / "summary.json").stat().st_mtime_ns == before for name, before in written.items())
    assert run(monkeypatch, *command, "seed=3") == 2
    assert "was begun with other settings: seed" in " ".join(capsys.readouterr().err.split())

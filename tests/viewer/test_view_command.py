"""The command `view`: where the page is, what is wrong with a folder, and following a run that goes on."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from made_run import make_run  # pyright: ignore[reportMissingImports]

from sdar_gym.cli import main
from sdar_gym.cli import view as module


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["sdar-gym", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def test_the_page_s_address_is_the_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = make_run(tmp_path), make_run(tmp_path, "second-sdar")
    assert run(monkeypatch, "view", str(first)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("84 episodes, 0.")
    assert lines[-1] == (first / "view.html").as_uri()
    assert run(monkeypatch, "view", str(first), str(second), "--output", str(tmp_path / "both.html")) == 0
    assert capsys.readouterr().out.startswith("168 episodes")
    assert "second-sdar" in (tmp_path / "both.html").read_text()


def test_what_cannot_be_shown_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_run(tmp_path)
    assert run(monkeypatch, "view", str(tmp_path / "none")) == 2
    assert "is not a folder; give a run folder" in capsys.readouterr().err
    assert run(monkeypatch, "view", *[str(folder)] * 3) == 2
    assert "A page shows one run or compares two; 3 were given" in " ".join(capsys.readouterr().err.split())
    assert run(monkeypatch, "view", str(folder), "--output", str(folder)) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_follow_writes_the_page_again_until_the_run_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "_INTERVAL", 0.02)
    folder = make_run(tmp_path)
    page = folder / "view.html"

    def go_on() -> None:
        while not page.exists():
            time.sleep(0.01)
        with (folder / "metrics.jsonl").open("a") as file:
            file.write('{"update": 3, "train": {"success": 0.125}}\n')
        deadline = time.monotonic() + 20
        while "[1,2,3],[0.5,0.75,0.125]" not in page.read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        (folder / "summary.json").write_text("{}")

    other = threading.Thread(target=go_on)
    other.start()
    assert run(monkeypatch, "view", str(folder), "--follow") == 0
    other.join()
    assert "follows the run" in capsys.readouterr().out
    text = page.read_text()
    assert "[1,2,3],[0.5,0.75,0.125]" in text
    # In the end it is an ordinary page.
    assert "version.js" not in text and not (folder / "view_files").exists()

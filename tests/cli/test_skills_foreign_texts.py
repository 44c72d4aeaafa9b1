"""`sdar-gym skills` with terminal control characters in its texts, and with targets that cannot be written."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sdar_gym.cli import main
from sdar_gym.skills import load_library

Command = Callable[..., tuple[int, str]]
ESCAPES = "\x1b]0;title\x07 \x1b]52;c;cHduZWQ=\x07 \x1b[2J \x9b1m \u202eback \u2066x \x08 \x7f"
MARKUP = "[red]not red[/] :smile: [/] [link=http://x]y[/link] \\"
ACTS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["sdar-gym", "skills", *arguments])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
        return code, "".join(capsys.readouterr())

    monkeypatch.setenv("COLUMNS", "300")
    return run


@pytest.fixture(params=["bank", "markdown"])
def hostile(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    foreign = f"{ESCAPES} {MARKUP}"
    if request.param == "markdown":
        (tmp_path / "lib").mkdir()
        blocks = [
            f"## a.{n}: {foreign} {n}\nWhen: the goal {foreign}\nOrigin: {foreign}\n\nText {foreign} {n}"
            for n in (1, 2)
        ]
        (tmp_path / "lib" / "general.md").write_bytes("\n\n".join(blocks).encode())
        (tmp_path / "lib" / "library.json").write_text(json.dumps({"name": foreign, "env": foreign}))
        return tmp_path / "lib"
    skills = [
        {"skill_id": f"a{n}", "title": f"{foreign}\ud83d {n}", "principle": f"{foreign} {n}", "when_to_apply": foreign}
        for n in (1, 2)
    ]
    bank = {"general_skills": skills[:1], "task_specific_skills": {foreign: skills[1:]}}
    (tmp_path / "lib.json").write_text(json.dumps(bank))
    return tmp_path / "lib.json"


def test_nothing_foreign_acts_on_the_terminal(command: Command, hostile: Path, tmp_path: Path) -> None:
    grown = str(tmp_path / "grown")
    library = str(hostile)
    calls = [
        ("list", library),
        ("search", library, "the goal"),
        ("search", library, "the goal", "--general"),
        ("search", library, "the goal", "--text", "--general"),
        ("stats", library),
        ("add", "alfworld", library, "--output", grown, "--duplicates"),
        ("add", grown, library),
        ("list", str(tmp_path / ESCAPES)),
        ("search", library, "x", "--strategy", ESCAPES),
    ]
    shown = ""
    for call in calls:
        _, out = command(*call)
        assert not ACTS.search(out), call
        assert "Traceback" not in out
        shown += out
    # Shown, not dropped; and neither markup nor emoji are made of it.
    assert "\\x1b]0;title\\x07" in shown
    assert "[red]not red[/] :smile:" in shown


def test_the_text_for_a_model_is_shown_line_by_line_as_it_is(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    text = "word " * 30 + "end\n  indented [b]line[/b]"
    (tmp_path / "general.md").write_text(f"## a.b: Title\nWhen: always\n\n{text}\n")
    code, out = command("search", str(tmp_path), "x", "--general", "--text")
    assert (code, out) == (0, text + "\n")


def test_ids_and_fingerprints_are_never_cut(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    _, out = command("stats", "alfworld")
    assert load_library("alfworld").fingerprint() in "".join(out.split())


def test_a_target_that_cannot_be_written_is_refused_before_the_work(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sdar_gym.cli import skills as module

    def worked(*_: object) -> None:
        raise AssertionError("the source was read before the target was looked at")

    monkeypatch.setattr(module, "_candidates", worked)
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    for output, message in (
        (str(tmp_path / "file"), "is a file; name a folder"),
        (str(tmp_path / "file" / "x"), "is no folder that can be written to"),
        (str(tmp_path / "full"), "is not empty"),
        ("s3://bucket/lib", "must be a local or mounted folder, got the address 's3://bucket/lib'"),
    ):
        code, out = command("add", "alfworld", "webshop", "--output", output)
        assert code == 2
        assert message in " ".join(out.split())
    code, out = command("add", "s3://bucket/lib", "webshop")
    assert (code, "must be a local or mounted folder" in out) == (2, True)

"""`sdar-gym skills`: what it prints, what it saves, what it refuses."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sdar_gym.cli import main
from sdar_gym.skills import load_library

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sdar-gym", "skills", *arguments])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
        out, err = capsys.readouterr()
        return code, out, err

    monkeypatch.setenv("COLUMNS", "300")
    return run


def run_folder(path: Path) -> Path:
    def turn(action: str, valid: bool) -> dict[str, object]:
        return {"observation": "A room.", "action": action, "valid_action": valid}

    turns = [turn("go to desk 1", True), *[turn("jump", False)] * 3, turn("move pen 1 to desk 1", True)]
    episode = {"episode_id": "0/0", "task_type": "tidy", "goal": "put a pen on the desk", "won": True, "turns": turns}
    (path / "episodes").mkdir(parents=True)
    (path / "episodes" / "update-1.jsonl").write_text(json.dumps(episode) + "\n")
    return path


def test_libraries_and_skills_are_listed(command: Command) -> None:
    code, out, _ = command("list")
    assert code == 0
    assert {"alfworld", "searchqa", "webshop"} <= {line.split()[0] for line in out.splitlines()}
    code, out, _ = command("list", "webshop")
    assert (code, len(out.splitlines())) == (0, 1 + len(load_library("webshop")))
    assert any(line.split()[:3] == ["mistake.over-limit", "mistake", "all"] for line in out.splitlines())


def test_search_shows_scores_or_the_text(command: Command) -> None:
    code, out, _ = command("search", "webshop", "gluten free granola bars", "--strategy", "keywords", "--k", "2")
    assert (code, len(out.splitlines())) == (0, 3)
    assert "grocery.procedure" in out.splitlines()[1]
    assert float(out.splitlines()[1].split()[0]) > 0
    oracle = ("--strategy", "oracle_type", "--task-type", "grocery", "--k", "1", "--text")
    assert (
        command("search", "webshop", "x", *oracle)[1].split()
        == load_library("webshop").get("grocery.procedure").text.split()
    )
    assert command("search", "webshop", "zzz")[1] == "Nothing found.\n"
    code, _, err = command("search", "webshop", "x", "--strategy", "bm52")
    assert code != 0
    assert "Did you mean 'bm25'" in err


def test_stats_tell_the_fingerprint_and_the_most_alike(command: Command) -> None:
    code, out, _ = command("stats", "alfworld")
    assert code == 0
    assert load_library("alfworld").fingerprint() in out
    assert "cool.not-hot" in out
    assert "heat.not-cold" in out
    assert "(0.79)" in out


def test_a_run_teaches_a_library(command: Command, tmp_path: Path) -> None:
    run, mine = run_folder(tmp_path / "run"), tmp_path / "mine"
    code, out, err = command("add", "alfworld", str(run), "--output", str(mine))
    assert (code, err) == (0, "")
    assert out.startswith("2 added, 0 left out; 47 skills, version 3, in ")
    library = load_library(mine)
    assert [skill.text for skill in library.for_task_type("tidy")] == [
        "These steps worked: go to <thing 2>; move <thing 1> to <thing 2>.",
        'Do not write "jump": it is refused. The world answers: A room.',
    ]
    code, out, err = command("add", str(mine), str(run))
    assert code != 0
    assert out.count("has a skill with the id 'learned.tidy.") == 2
    assert "Nothing in" in err
    assert load_library(mine) == library


def test_a_run_teaches_what_its_training_showed_and_panels_only_when_asked(command: Command, tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    file = run / "episodes" / "update-1.jsonl"
    file.write_text(json.dumps({**json.loads(file.read_text()), "split": "test"}) + "\n")
    code, _, err = command("add", "alfworld", str(run), "--output", str(tmp_path / "mine"))
    assert code != 0
    assert "are of the split test, and train was asked for" in err
    assert command("add", "alfworld", str(run), "--output", str(tmp_path / "mine"), "--split", "test")[0] == 0
    (worked, refused) = load_library(tmp_path / "mine").for_task_type("tidy")
    assert worked.origin == f"run {tmp_path.name}/run, episode update-1:0/0, the shortest of 1 won"
    assert refused.origin == f"run {tmp_path.name}/run, 3 times in 1 of 1 episodes: update-1:0/0"


def test_a_new_library_grows_from_another_without_saying_things_twice(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    old = load_library("webshop").get("general.read")
    (folder / "general.md").write_text(
        f"## a: {old.title}\nWhen: {old.when_to_use}\n\n{old.text}\n\n## b: New\nWhen: w\n\nSay something else.\n"
    )
    code, out, _ = command("add", "webshop", str(folder), "--output", str(tmp_path / "both"))
    assert code == 0
    assert "'a' says what 'general.read' of library 'webshop' says already" in out
    assert "1 added, 1 left out" in out
    assert [skill.id for skill in load_library(tmp_path / "both")][-1] == "b"
    assert command("add", str(tmp_path / "fresh"), str(folder), "--env", "shop")[0] == 0
    assert {skill.env for skill in load_library(tmp_path / "fresh")} == {"shop"}
    # The fresh library has a and b: b is taken by its id, and the copy of a comes in only where that is wanted.
    for extra, added, left_out in (((), 37, 2), (("--duplicates",), 38, 1)):
        output = str(tmp_path / f"out{added}")
        code, out, _ = command("add", str(tmp_path / "fresh"), str(tmp_path / "both"), "--output", output, *extra)
        assert code == 0
        assert f"{added} added, {left_out} left out" in out


def test_what_cannot_grow_in_place_says_so(command: Command, tmp_path: Path) -> None:
    code, _, err = command("add", "webshop", str(tmp_path))
    assert code != 0
    assert "'webshop' comes with the package; say --output FOLDER" in err
    (tmp_path / "skill_mapping.json").write_text("{}")
    code, _, err = command("add", str(tmp_path), str(tmp_path))
    assert code != 0
    assert "published form, which is read only" in err


def test_an_audit_prints_what_skills_are_worth_and_writes_it(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "audit.json"
    arguments = ("audit", "builtin:tiny", "env_config.max_steps=2", "--tasks", "6", "--json", str(file))
    code, out, _ = command(*arguments)
    assert code == 0
    assert "train-6" in out
    assert "about 0.7 of them would exclude 0 by chance" in out
    written = json.loads(file.read_text())
    assert written["settings"]["strategy"] == "oracle_type"
    assert [row["kind"] for row in written["rows"]] == ["all", *["task type"] * 6, *["skill"] * 6]
    for row in written["rows"]:
        assert row["name"] in out and row["verdict"] in out


def test_an_audit_refuses_the_settings_that_it_decides_itself(command: Command) -> None:
    for change, instead in (("evaluation.tasks=5", "--tasks"), ("evaluation.split=valid_seen", "--split")):
        code, _, err = command("audit", "builtin:tiny", change)
        assert code == 2
        assert f"{change.partition('=')[0]} does not reach an audit; use {instead}" in err

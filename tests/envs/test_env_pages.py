"""Environment pages: class docstrings have all headings in order, and the committed pages are up to date."""

from __future__ import annotations

from pathlib import Path

import env_pages  # pyright: ignore[reportMissingImports]
import pytest

from sdar_gym.envs import EnvEntry, TextEnv, entries


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.id)
def test_the_docstring_has_all_headings_in_their_order(entry: EnvEntry) -> None:
    kind = env_pages.env_class(entry)
    assert issubclass(kind, TextEnv)
    assert env_pages.page(entry).count("\n## ") == len(env_pages.HEADINGS)


@pytest.mark.parametrize("entry", env_pages.builtin(), ids=lambda entry: entry.id)
def test_the_committed_page_is_up_to_date(entry: EnvEntry) -> None:
    path = env_pages.path_of(entry)
    assert path.is_file() and path.read_text(encoding="utf-8") == env_pages.page(entry), (
        f"{path.name} does not say what {entry.entry_point} says: run python scripts/env_pages.py"
    )


def test_every_argument_of_the_class_is_in_its_docstring() -> None:
    import inspect

    for entry in env_pages.builtin():
        kind = env_pages.env_class(entry)
        told = env_pages.sections(kind.__name__, inspect.getdoc(kind))[1]["Arguments"]
        missing = [name for name in list(inspect.signature(kind).parameters) if f"{name}:" not in told]
        assert set(missing) <= {"render_mode"}, f"{entry.id} does not explain {missing}."


def test_a_missing_heading_or_text_is_named() -> None:
    whole = "What it is.\n\n" + "\n\n".join(f"{heading}:\n    Text of it." for heading in env_pages.HEADINGS)
    intro, texts = env_pages.sections("Maze", whole)
    assert (intro, texts["Task"], len(texts)) == ("What it is.", "Text of it.", len(env_pages.HEADINGS))
    with pytest.raises(ValueError, match=r"Maze has the headings .*; they have to be Task, Observation"):
        env_pages.sections("Maze", whole.replace("Reward:", "Rewards:"))
    with pytest.raises(ValueError, match="Maze says nothing under 'Info'"):
        env_pages.sections("Maze", whole.replace("Info:\n    Text of it.", "Info:"))
    with pytest.raises(ValueError, match="Maze says nothing under 'the first line'"):
        env_pages.sections("Maze", whole.removeprefix("What it is."))


def test_checking_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(env_pages, "FOLDER", tmp_path)
    assert env_pages.main(["--check"]) == 1
    assert capsys.readouterr().out.startswith("out of date: alfworld.md")
    assert list(tmp_path.iterdir()) == []
    assert env_pages.main([]) == 0
    assert env_pages.main(["--check"]) == 0
    assert (tmp_path / "alfworld.md").read_text().count("\n## ") == len(env_pages.HEADINGS)

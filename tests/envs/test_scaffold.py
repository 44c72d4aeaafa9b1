"""`sdar-gym new-env`: the written package works and passes its own test; bad names and existing folders are refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import sdar_gym
from sdar_gym.cli import main
from sdar_gym.envs.scaffold import write_env_package

ROOT = Path(sdar_gym.__file__).parents[1]
FOUND = """
import warnings
warnings.simplefilter("error")
import {first}
import sdar_gym
from sdar_gym.envs import entry_of, expert_of, prompt_template
from sdar_gym.skills import load_library
entry = entry_of("word_ladder/WordLadder-v0")
sdar_gym.check_text_env(entry.id, size=3)
print(expert_of(entry.id).__class__.__module__, prompt_template(entry.id, "window").__class__.__name__)
print(*(skill.id for skill in load_library(entry.skills)))
"""


def python(*arguments: str, cwd: Path, path: Path) -> str:
    environ = os.environ | {"PYTHONPATH": f"{path}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environ, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_written_package_passes_its_own_test(tmp_path: Path) -> None:
    package = write_env_package("word_ladder", tmp_path / "new")
    assert package.env_id == "word_ladder/WordLadder-v0"
    assert package.folder == tmp_path / "new" / "word_ladder"
    assert os.listdir(tmp_path / "new") == ["word_ladder"]
    written = {path.relative_to(package.folder) for path in package.folder.rglob("*") if path.is_file()}
    assert written == set(package.files)
    for path in written:
        text = f"{path}\n{(package.folder / path).read_text(encoding='utf-8')}".lower()
        assert not any(placeholder in text for placeholder in ("my_game", "my-game", "mygame")), path
    out = python("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=package.folder, path=tmp_path / "none")
    assert "3 passed" in out


def test_the_next_steps_are_printed_and_the_readme_says_them_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["sdar-gym", "new-env", "word_ladder"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    out = capsys.readouterr().out
    readme = (tmp_path / "word_ladder" / "README.md").read_text(encoding="utf-8")
    for step in (
        "python -m pytest",
        "pip install -e .",
        "sdar-gym play word_ladder/WordLadder-v0 --skills",
        "sdar-gym train quickstart env=word_ladder/WordLadder-v0",
    ):
        assert step in out
        assert step in readme


@pytest.mark.parametrize(
    ("name", "env_id"),
    [
        ("cave_env", "cave_env/Cave-v0"),
        ("env", "env/Env-v0"),
        ("go2", "go2/Go2-v0"),
        ("my_game_2", "my_game_2/MyGame2-v0"),
    ],
)
def test_ids_follow_from_names(tmp_path: Path, name: str, env_id: str) -> None:
    package = write_env_package(name, tmp_path)
    assert package.env_id == env_id
    assert f'"{env_id}"' in (package.folder / name / "__init__.py").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("word-ladder", "cannot name a Python package.*such as 'word_ladder'"),
        ("WordLadder", "cannot name a Python package.*such as 'word_ladder'"),
        ("2048", "cannot name a Python package"),
        ("class", "cannot name a Python package"),
        ("", "cannot name a Python package"),
        ("../up", "cannot name a Python package.*such as 'up'"),
        ("wörter", "cannot name a Python package"),
        ("a" * 41, "cannot name a Python package"),
        ("sdar", "'sdar' is reserved: sdar/ALFWorld-v0 is registered under it"),
        ("random", "'random' is taken: Python has a module of that name"),
        ("sdar_gym", "'sdar_gym' is taken"),
        ("numpy", "'numpy' is taken"),
        ("tests", "'tests' is taken"),
    ],
)
def test_a_name_that_cannot_be_is_refused_and_nothing_is_written(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_env_package(name, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("kind", ["folder", "file", "broken link"])
def test_nothing_is_overwritten(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "word_ladder"
    if kind == "folder":
        target.mkdir()
    elif kind == "file":
        target.write_text("mine")
    else:
        target.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="exists already, and nothing is overwritten: choose another name"):
        write_env_package("word_ladder", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["word_ladder"]


@pytest.mark.slow
@pytest.mark.parametrize("first", ["sdar_gym", "word_ladder.env"])
def test_pip_installs_it_and_its_entry_point_is_found(tmp_path: Path, first: str) -> None:
    package = write_env_package("word_ladder", tmp_path)
    site = tmp_path / "site"
    python(
        "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", str(site), str(package.folder),
        cwd=tmp_path, path=tmp_path / "none",
    )  # fmt: skip
    out = python("-c", FOUND.format(first=first), cwd=site.parent, path=site)
    assert out.splitlines() == ["word_ladder.env WindowTemplate", "bring.way-back find.rows"]

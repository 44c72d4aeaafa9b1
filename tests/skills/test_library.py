"""Skill libraries: the Markdown format, ids, fingerprints, loading by name and path."""

from __future__ import annotations

import pickle
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from sdar_gym.skills import Skill, SkillFormatError, SkillLibrary, UnknownLibraryError, builtin_libraries, load_library

GOOD = """# Heading

Origin: a test

## a.one: First
When: always.

Line one.

Line two.
## a.two: Second
When: sometimes.
Text.
"""

PROCEDURES = {
    "pick_and_place_simple": "Find the object, take it, go to the target and move it there.",
    "look_at_obj_in_light": "Find the object, take it, go to the desklamp and use the desklamp.",
    "pick_clean_then_place_in_recep": (
        "Find the object, take it, go to the sinkbasin, clean it with the sinkbasin, "
        "go to the target and move it there."
    ),
    "pick_heat_then_place_in_recep": (
        "Find the object, take it, go to the microwave, heat it with the microwave, go to the target and move it there."
    ),
    "pick_cool_then_place_in_recep": (
        "Find the object, take it, go to the fridge, cool it with the fridge, go to the target and move it there."
    ),
    "pick_two_obj_and_place": (
        "Find one object, take it, go to the target and move it there, then do the same with a second one."
    ),
}


def skill(skill_id: str, task_types: tuple[str, ...] = (), text: str = "Text.") -> Skill:
    return Skill(skill_id, "Title", text, "always", "test", task_types, "test")


def write(folder: Path, **contents: str) -> Path:
    folder.mkdir(exist_ok=True)
    for stem, text in contents.items():
        (folder / f"{stem}.md").write_text(text, encoding="utf-8")
    return folder


def test_a_file_is_read_as_written(tmp_path: Path) -> None:
    library = SkillLibrary.from_folder(write(tmp_path / "mine", maze=GOOD), env="labyrinth")
    first, second = library
    assert first == Skill("a.one", "First", "Line one.\n\nLine two.", "always.", "labyrinth", ("maze",), "a test")
    assert second.text == "Text."
    assert (library.name, len(library), library.task_types) == ("mine", 2, ("maze",))


def test_general_comes_first_then_types_by_name(tmp_path: Path) -> None:
    files_by_type = {name: f"## {name}.x: T\nWhen: w\n\nText.\n" for name in ("zebra", "general", "apple")}
    library = SkillLibrary.from_folder(write(tmp_path / "lib", **files_by_type))
    assert [s.id for s in library] == ["general.x", "apple.x", "zebra.x"]
    assert [s.id for s in library.general()] == ["general.x"]
    assert [s.id for s in library.for_task_type("zebra")] == ["zebra.x"]
    assert library.for_task_type("unknown") == ()
    assert [s.origin for s in library] == ["lib"] * 3


def test_windows_line_ends_and_byte_order_mark(tmp_path: Path) -> None:
    folder = write(tmp_path / "lib")
    (folder / "maze.md").write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert SkillLibrary.from_folder(folder).get("a.one").text == "Line one.\n\nLine two."


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "there is no skill"),
        ("# Heading\nstray\n## a: T\nWhen: w\nx\n", 2, "before the first skill"),
        ("Origin: a\nOrigin: b\n## a: T\nWhen: w\nx\n", 2, "second 'Origin:'"),
        ("Origin:\n## a: T\nWhen: w\nx\n", 1, "'Origin:' is empty"),
        ("## no colon\nWhen: w\nx\n", 1, "not of the form"),
        ("## a:\nWhen: w\nx\n", 1, "not of the form"),
        ("## A: T\nWhen: w\nx\n", 1, "lower-case"),
        ("\n## a: T\n\nx\n", 4, "lacks its 'When: ...' line"),
        ("## a: T\n", 1, "lacks its 'When: ...' line"),
        ("## a: T\nWhen:\nx\n", 2, "'When:' of skill 'a' is empty"),
        ("## a: T\nWhen: w\nWhen: v\nx\n", 3, "second 'When:'"),
        ("## a: T\nWhen: w\n\n", 2, "has no text"),
        ("## a: T\nWhen: w\nx\n### b: T\n", 4, "looks like a heading"),
        ("## a: T\nWhen: w\nx\n##b: T\n", 4, "looks like a heading"),
        ("Types: Left\n## a: T\nWhen: w\nx\n", 1, "'Left' is no task type"),
        ("Types: all, left\n## a: T\nWhen: w\nx\n", 1, "'all' beside other task types"),
        ("## a: T\nWhen: w\nKeywords: x,, y\n\nx\n", 3, "two commas in a row"),
        ("## a: T\nWhen: w\nTypes: x\nTypes: y\n\nx\n", 4, "second 'Types:'"),
        ("## a: T\nWhen: w\nKeywords:\n\nx\n", 3, "'Keywords:' is empty"),
        ("Kind: hint\n## a: T\nWhen: w\nx\n", 1, "'hint' is no kind of skill; say advice or mistake"),
        ("## a: T\nWhen: w\nx\n## a: U\nWhen: w\ny\n", 4, "taken by lib/maze.md, line 1"),
    ],
)
def test_format_errors_name_file_line_and_remedy(tmp_path: Path, text: str, line: int, message: str) -> None:
    with pytest.raises(SkillFormatError, match=re.escape(f"lib/maze.md, line {line}: ")) as caught:
        SkillLibrary.from_folder(write(tmp_path / "lib", maze=text))
    assert message in str(caught.value)


def test_a_file_and_a_skill_may_name_their_types_and_keywords(tmp_path: Path) -> None:
    text = """# Heading
Types: left, right
Keywords: turn, go round

## a: A
When: w
Keywords: spin
Types: all
Origin: elsewhere
Kind: mistake

Keywords: in the text are text.

## b: B
When: w
Text.
"""
    own, common = SkillLibrary.from_folder(write(tmp_path / "lib", maze=text))
    assert (own.task_types, own.keywords, own.origin) == ((), ("spin",), "elsewhere")
    assert (own.kind, common.kind) == ("mistake", "advice")
    assert own.text == "Keywords: in the text are text."
    assert (common.task_types, common.keywords, common.text) == (("left", "right"), ("turn", "go round"), "Text.")
    assert common.search_text == "B\nw\nturn, go round\nText."


def test_bad_file_names_encodings_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SkillFormatError, match=r"no \.md file"):
        SkillLibrary.from_folder(write(tmp_path / "empty", README="for people"))
    with pytest.raises(SkillFormatError, match="'Big Maze' is no task type"):
        SkillLibrary.from_folder(write(tmp_path / "names", **{"Big Maze": GOOD}))
    folder = write(tmp_path / "latin")
    (folder / "maze.md").write_bytes(b"# Heading\n## a: caf\xe9\n")
    with pytest.raises(SkillFormatError, match=re.escape("latin/maze.md, line 2: the text is not UTF-8")):
        SkillLibrary.from_folder(folder)


def test_the_same_id_in_two_files_is_refused(tmp_path: Path) -> None:
    one = "## x: T\nWhen: w\n\nText.\n"
    with pytest.raises(SkillFormatError, match=re.escape("'x' is taken by lib/general.md, line 1")):
        SkillLibrary.from_folder(write(tmp_path / "lib", general=one, maze=one))


def test_a_library_of_objects_checks_ids_and_pickles() -> None:
    library = SkillLibrary("mine", (skill("a"), skill("b", ("t",))))
    assert "a" in library
    assert "c" not in library
    assert library.get("b").applies_to("t")
    with pytest.raises(ValueError, match=r"no skill 'bb'\. Did you mean 'b'"):
        library.get("bb")
    with pytest.raises(ValueError, match="two skills with the id 'a'"):
        SkillLibrary("mine", (skill("a"), skill("a")))
    copy = pickle.loads(pickle.dumps(library))
    assert copy == library
    assert copy.get("a") == library.get("a")


def test_senseless_skills_are_refused() -> None:
    with pytest.raises(ValueError, match="needs an id"):
        skill(" ")
    with pytest.raises(ValueError, match="has no text"):
        skill("a", text="\n")
    with pytest.raises(ValueError, match="keywords is 'left'"):
        Skill("a", "T", "Text.", "w", "test", (), "test", "left")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="kind is 'hint'"):
        replace(skill("a"), kind="hint")
    with pytest.raises(ValueError, match="task_types is 'maze'"):
        skill("a", "maze")  # pyright: ignore[reportArgumentType]


def test_fingerprint_follows_the_contents_alone(tmp_path: Path) -> None:
    source = files("sdar_gym.skills") / "data" / "alfworld"
    shutil.copytree(str(source), tmp_path / "copy")
    builtin, copy = SkillLibrary.builtin("alfworld"), SkillLibrary.from_folder(tmp_path / "copy")
    assert builtin.fingerprint() == copy.fingerprint()
    assert re.fullmatch(r"[0-9a-f]{64}", builtin.fingerprint())
    a, b = skill("a"), skill("b")
    prints = {
        SkillLibrary("x", skills).fingerprint() for skills in ((a, b), (b, a), (a,), (a, skill("b", text="Other.")))
    }
    prints.add(SkillLibrary("x", (a, replace(b, keywords=("left",)))).fingerprint())
    assert len(prints) == 5


def test_libraries_load_by_name_and_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "mine", maze=GOOD)
    write(tmp_path / "alfworld", maze=GOOD)
    assert len(load_library("mine")) == len(load_library(Path("mine"))) == len(load_library("./alfworld")) == 2
    assert len(load_library("alfworld")) > 2
    assert "alfworld" in builtin_libraries()
    with pytest.raises(UnknownLibraryError, match=r"'alfword'; there are: .*alfworld.* Did you mean 'alfworld'"):
        load_library("alfword")
    with pytest.raises(UnknownLibraryError, match=r"No skill folder at \./nowhere"):
        load_library("./nowhere")
    with pytest.raises(UnknownLibraryError, match="No skill folder at nowhere"):
        load_library(Path("nowhere"))


def test_alfworld_has_general_advice_and_all_six_types() -> None:
    library = SkillLibrary.builtin("alfworld")
    assert [s.id.split(".")[0] for s in library.general()] == ["general"] * 10
    assert [s.id.split(".")[0] for s in library.mistakes()] == ["mistake"] * 6
    assert set(library.task_types) == set(PROCEDURES)
    for task_type in PROCEDURES:
        assert 4 <= len(library.for_task_type(task_type)) <= 5
    assert {s.env for s in library} == {"alfworld"}


@pytest.mark.parametrize("task_type", sorted(PROCEDURES))
def test_the_first_skill_of_a_type_is_its_procedure(task_type: str) -> None:
    # The tiny policy's warm start teaches this very sentence form; a reworded procedure would be unreadable to it.
    assert SkillLibrary.builtin("alfworld").for_task_type(task_type)[0].text == PROCEDURES[task_type]


def test_importing_skills_stays_light() -> None:
    code = "import sys, sdar_gym.skills; print(*({'torch', 'ray', 'jnius', 'bm25s', 'Stemmer'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""

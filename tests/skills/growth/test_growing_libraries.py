"""Growing libraries: duplicates are refused, retrievers see new skills, saved Markdown reads back equal."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdar_gym.skills import (
    STRATEGIES,
    DuplicateSkillError,
    Skill,
    SkillFormatError,
    SkillLibrary,
    SkillQuery,
    load_library,
    make_retriever,
)
from sdar_gym.skills.growth.deduplicate import most_similar
from sdar_gym.skills.strategies.bm25 import Bm25Retriever

NEW = Skill(
    "learned.juggle",
    "Juggle three balls",
    "Throw one up, then the next.\n\nCatch the first.",
    "the goal says to juggle",
    "alfworld",
    ("juggling", "circus"),
    "a run",
    ("juggle", "throw up"),
)


def grown(name: str = "alfworld") -> SkillLibrary:
    return SkillLibrary(name, SkillLibrary.builtin(name).skills)


def query(goal: str) -> SkillQuery:
    return SkillQuery("alfworld", "juggling", goal)


def test_adding_counts_versions_and_keeps_the_order() -> None:
    library = grown()
    before, skills = library.fingerprint(), library.skills
    library.add(NEW)
    assert library.skills == (*skills, NEW)
    assert (library.version, library.get(NEW.id)) == (2, NEW)
    assert library.fingerprint() != before
    library.add(replace(NEW, id="again"), duplicate_above=None)
    assert library.version == 3


def test_what_says_the_same_is_refused() -> None:
    library = grown()
    old = library.get("cool.from-fridge")
    with pytest.raises(ValueError, match=r"has a skill with the id 'cool\.from-fridge' already"):
        library.add(old)
    with pytest.raises(
        DuplicateSkillError, match=r"'other' says what 'cool\.from-fridge' .*similarity 1\.00"
    ) as caught:
        library.add(replace(old, id="other"))
    assert (caught.value.similar_id, caught.value.similarity) == ("cool.from-fridge", pytest.approx(1.0))
    with pytest.raises(DuplicateSkillError, match=r"cool\.from-fridge"):
        library.add(replace(old, id="other", text=old.text.replace("leave", "depart")))
    with pytest.raises(ValueError, match=r"'learned\.juggle' has no origin"):
        library.add(replace(NEW, origin=" "))
    assert library == grown()


@pytest.mark.parametrize("name", ["alfworld", "webshop", "searchqa"])
def test_no_skill_that_ships_is_taken_for_another(name: str) -> None:
    library = SkillLibrary(name, ())
    for skill in SkillLibrary.builtin(name):
        library.add(skill)
    assert library.skills == SkillLibrary.builtin(name).skills


def test_similarity_has_a_scale() -> None:
    def said(text: str) -> Skill:
        return Skill("s", text, text, text, "e", (), "test")

    others = [said("red lamp on desk"), said("red lamp"), said("blue chair")]
    assert most_similar(said("red lamp on desk"), others)[0] == ("s", pytest.approx(1.0))
    ((_, part),) = most_similar(said("lamp"), others[1:], k=2)
    assert 0 < part < 1
    assert most_similar(said("green sofa"), others) == []
    assert most_similar(said("the of"), []) == []


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name != "none"])
def test_retrievers_see_what_was_added(strategy: str) -> None:
    library = grown()
    retriever = make_retriever(strategy, library, k=100, include_general=False)
    assert not retriever.retrieve(query("juggle the balls")).specific
    library.add(NEW)
    result = retriever.retrieve(query("juggle the balls"))
    assert result.specific
    assert NEW.id in result.ids


def test_an_index_that_grew_equals_a_new_one() -> None:
    library = grown()
    retrievers = [Bm25Retriever(library), Bm25Retriever(library, field_weights={"title": 2, "text": 1})]
    for retriever in retrievers:
        retriever.retrieve(query("put a mug on the desk"))
    first = [dict(retriever._indices) for retriever in retrievers]
    library.add(NEW)
    for retriever, indices in zip(retrievers, first, strict=True):
        again = Bm25Retriever(library, field_weights=retriever.field_weights)
        assert retriever.retrieve(query("throw a mug")) == again.retrieve(query("throw a mug"))
        assert all(retriever._indices[field] is index for field, index in indices.items())


@pytest.mark.parametrize("name", ["alfworld", "webshop", "searchqa"])
def test_a_saved_library_reads_back_equal(tmp_path: Path, name: str) -> None:
    library = grown(name)
    library.add(replace(NEW, env=name))
    library.add(replace(NEW, id="general.late", title="Late: a colon", task_types=(), kind="mistake", text="Late."))
    if name != "alfworld":
        with pytest.raises(ValueError, match=f"is for one environment; '{name}' has skills for: alfworld, {name}"):
            library.save(tmp_path / "mine")
        library = SkillLibrary(name, tuple(replace(skill, env=name) for skill in library), library.version)
    library.save(tmp_path / "deep" / "mine")
    back = load_library(tmp_path / "deep" / "mine")
    assert back == library
    assert back.version == 3
    assert back.fingerprint() == library.fingerprint()
    assert list((tmp_path / "deep").iterdir()) == [tmp_path / "deep" / "mine"]


@pytest.mark.data
@pytest.mark.parametrize("place", ["alfworld", "search", "webshop/claude_style_skills.json"])
def test_published_libraries_can_be_saved_as_markdown(
    data_dir: Callable[[str], Path], tmp_path: Path, place: str
) -> None:
    library = load_library(data_dir("sdar_skills") / place)
    library.save(tmp_path / "mine")
    assert load_library(tmp_path / "mine") == library


def test_saving_replaces_only_what_it_may(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    grown().save(folder)
    (folder / "README.md").write_text("for people")
    (folder / "notes.txt").write_text("notes")
    (folder / "stale.md").write_text("## stale: T\nWhen: w\n\nText.\n")
    with pytest.raises(ValueError, match=r"mine is not empty; choose a new folder"):
        grown().save(folder)
    grown().save(folder, overwrite=True)
    assert load_library(folder) == grown()
    assert {"README.md", "notes.txt"} < {file.name for file in folder.iterdir()}
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    for text, message in (
        ("# Heading", "cannot be written as Markdown: .*looks like a heading"),
        ("End. ", "its text"),
    ):
        with pytest.raises(ValueError, match=message):
            SkillLibrary("mine", (replace(NEW, text=text),)).save(folder, overwrite=True)
    assert before == {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(ValueError, match=r"notes\.txt is a file"):
        grown().save(folder / "notes.txt", overwrite=True)


def test_a_skill_written_by_hand_joins_a_saved_library(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    grown().save(folder)
    (folder / "general.md").write_text((folder / "general.md").read_text() + "\n## hand: T\nWhen: w\n\nText.\n")
    assert [skill.id for skill in load_library(folder)][-1] == "hand"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no JSON"),
        ([], "has to be an object, and is list"),
        ({"versoin": 1}, "unknown key 'versoin'"),
        ({"version": True}, "'version' is True"),
        ({"version": 0}, "'version' is 0"),
        ({"order": ["gone"]}, "'order' names 'gone'"),
        ({"order": ["a", "a"]}, "'order' names 'a'"),
        ({"order": [[]]}, "'order' names []"),
    ],
)
def test_a_damaged_manifest_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    (tmp_path / "general.md").write_text("## a: T\nWhen: w\n\nText.\n")
    (tmp_path / "library.json").write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(SkillFormatError, match=re.escape("library.json: ") + ".*" + re.escape(message)):
        load_library(tmp_path)

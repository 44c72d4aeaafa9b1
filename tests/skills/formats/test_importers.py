"""Importers of published libraries: skill banks, memories, SDAR's folders."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdar_gym.skills import (
    SkillFormatError,
    SkillLibrary,
    SkillQuery,
    UnknownLibraryError,
    load_library,
    make_retriever,
)
from sdar_gym.skills.formats.json_libraries import MEMORY
from sdar_gym.skills.formats.published_types import PUBLISHED_TYPES


def bank() -> dict[str, Any]:
    def entry(skill_id: str) -> dict[str, str]:
        return {"skill_id": skill_id, "title": f"T {skill_id}", "principle": f"Do {skill_id}.", "when_to_apply": "now"}

    return {
        "general_skills": [entry("GEN_1")],
        "task_specific_skills": {"clean": [entry("cle_1"), entry("cle_2")], "maze": [entry("maz_1")]},
        "common_mistakes": [
            {"mistake_id": "err_1", "description": "Running.", "why_it_happens": "Haste.", "how_to_avoid": "Walk."}
        ],
        "metadata": {"source": "a test"},
    }


def memory(**changes: Any) -> dict[str, Any]:
    return {
        "memory_id": "mem_1",
        "contextual_description": "A task classified as 'pick_and_place', done.",
        "tags": {"environment": "X", "outcome": "Success"},
        "content": {
            "task_meta": {"original_goal": "put a mug on a desk."},
            "refined_trajectory": {"refined_trajectory": [{"step_index": 0, "action": "look"}, {"action": "take"}]},
            "strategic_guidelines": {"strategic_guidelines": {"planning_pattern": "a -> b", "mistakes_to_avoid": []}},
        },
        "origin_env_id": "e",
    } | changes


def folder(path: Path, mapping: Any = None, **files: str) -> Path:
    path.mkdir()
    mapping = mapping or {
        "skill_files": {"general_skills": "general_skills.md", "heat": "heat.md"},
        "task_to_skill": {"warm_up": "heat"},
        "task_keywords": {"warm_up": ["hot dish", "warm"]},
    }
    (path / "skill_mapping.json").write_text(json.dumps(mapping))
    texts = {"general_skills": "### ALL ###\n\nIntro.\n\n1. Look: See. Apply this always.\n", "heat": "1. Warm: Do.\n"}
    for name, text in (texts | files).items():
        (path / f"{name}.md").write_text(text)
    return path


def saved(tmp_path: Path, content: Any) -> Path:
    (tmp_path / "kitchen").mkdir(exist_ok=True)
    path = tmp_path / "kitchen" / "mine.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_skill_bank_is_read_whole(tmp_path: Path) -> None:
    library = load_library(saved(tmp_path, bank()))
    assert [skill.id for skill in library] == ["gen_1", "cle_1", "cle_2", "maz_1", "err_1"]
    assert (library.name, library.get("gen_1").env) == ("mine", "kitchen")
    first = library.get("cle_1")
    assert (first.title, first.text, first.when_to_use, first.origin) == ("T cle_1", "Do cle_1.", "now", "mine.json")
    assert first.task_types == ("clean", "pick_clean_then_place_in_recep")
    assert library.get("maz_1").task_types == ("maze",)
    assert [skill.text for skill in library.mistakes()] == ["Avoid this: Running. Instead: Walk."]
    assert load_library(str(saved(tmp_path, bank())), env="house").get("gen_1").env == "house"


def test_memories_become_skills_of_their_type(tmp_path: Path) -> None:
    failed = memory(memory_id="mem_2", contextual_description="Lost.", tags={"data_source": "nq"})
    failed["content"] |= {
        "refined_trajectory": None,
        "strategic_guidelines": {
            "planning_pattern": None,
            "mistakes_to_avoid": [{"trigger_condition": "Dark.", "bad_action": "Run."}],
        },
    }
    untyped = memory(memory_id="mem_3", contextual_description="No type.")
    one, two, three = load_library(saved(tmp_path, [memory(), failed, untyped]))
    assert one.text == "What worked: a -> b\n1. look\n2. take"
    assert (one.when_to_use, one.kind) == ("put a mug on a desk.", "advice")
    assert one.task_types == ("pick_and_place", "pick_and_place_simple")
    assert (two.text, two.kind, two.task_types) == ("Avoid: Run. When: Dark.", "mistake", ("nq",))
    assert three.task_types == (MEMORY,)


def test_a_folder_with_a_mapping(tmp_path: Path) -> None:
    library = load_library(folder(tmp_path / "lib", stray="not read"))
    look, warm = library
    assert (look.id, look.text, look.when_to_use) == ("general_skills.1", "Look: See. Apply this always.", "always.")
    assert (look.is_general, look.env, look.origin) == (True, "lib", "lib/general_skills.md")
    assert (warm.id, warm.title, warm.when_to_use) == ("heat.1", "Warm", "Warm")
    assert warm.task_types == ("warm_up", "heat", "pick_heat_then_place_in_recep")
    assert warm.keywords == ("hot dish", "warm")


def changed(*path: Any, to: Any) -> dict[str, Any]:
    content = bank()
    at: Any = content
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = to
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{\n  "general_skills": [,]\n}', "mine.json, line 2: no JSON here"),
        ('{"general_skills": [], "general_skills": []}', "the key 'general_skills' occurs twice"),
        ("[" * 200_000, "nested too deeply"),
        ("[]", "neither a skill bank"),
        ("3", "neither a skill bank"),
        ({"skills": []}, "neither a skill bank"),
        ({"skill_files": {}}, "give the folder that it is in"),
        (changed("mistakes", to=[]), "unknown key 'mistakes'; known here: common_mistakes"),
        (changed("general_skills", to={}), "at general_skills: this has to be a list, and is dict"),
        (changed("general_skills", 0, to="x"), "at general_skills[0]: this has to be an object, and is str"),
        (
            changed("task_specific_skills", "clean", 1, "principle", to=" "),
            "at task_specific_skills.clean[1].principle: the text is empty",
        ),
        (
            changed("common_mistakes", 0, to={"mistake_id": "e"}),
            "at common_mistakes[0]: 'description' is missing; it has 'mistake_id'",
        ),
        (changed("task_specific_skills", "maze", 0, "skill_id", to="gen_1"), "the id 'gen_1' occurs twice"),
        ([memory(), memory()], "the id 'mem_1' occurs twice"),
        ([memory(), memory(content={})], "at [1].content: 'task_meta' is missing; it has nothing"),
    ],
)
def test_damaged_json_is_refused_with_its_place(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(SkillFormatError, match=re.escape(message)) as caught:
        load_library(saved(tmp_path, content))
    assert str(caught.value).startswith("mine.json")


@pytest.mark.parametrize(
    ("mapping", "files", "message"),
    [
        ({"skill_files": {"a": "a.md"}, "task_to_skill": {"t": "b"}}, {}, "at task_to_skill.t: 't' is sent to 'b'"),
        ({"skill_files": {"a": "a.md"}, "task_to_skill": {}}, {}, "at skill_files.a: there is no file 'a.md'"),
        ({"skill_files": {"a": "../x.md"}, "task_to_skill": {}}, {}, "there is no file '../x.md'"),
        ({"skill_files": {}, "task_to_skill": {}, "typo": 1}, {}, "unknown key 'typo'"),
        ({"skill_files": {}}, {}, "'task_to_skill' is missing"),
        (None, {"heat": "Words.\n"}, "lib/heat.md, line 1: there is no item"),
        (None, {"heat": "1. Warm: Do.\n\n2. No colon.\n"}, "lib/heat.md, line 3: '2. No colon.' is not"),
        (None, {"heat": "1. Warm: Apply this always.\n"}, "lib/heat.md, line 1: the item says when"),
        (None, {"heat": "1. A: b.\n1. C: d.\n"}, "the id 'heat.1' occurs twice"),
    ],
)
def test_damaged_folders_are_refused(tmp_path: Path, mapping: Any, files: dict[str, str], message: str) -> None:
    with pytest.raises(SkillFormatError, match=re.escape(message)):
        load_library(folder(tmp_path / "lib", mapping, **files))


def test_other_files_are_no_libraries(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("## a: T\nWhen: w\n\nText.\n")
    with pytest.raises(SkillFormatError, match="give its folder"):
        load_library(tmp_path / "a.md")
    with pytest.raises(UnknownLibraryError, match=r"No skill file at .*gone\.json"):
        load_library("gone.json")


@pytest.mark.data
@pytest.mark.parametrize(
    ("place", "general", "specific", "mistakes"),
    [
        ("alfworld", 12, 31, 0),
        ("webshop", 15, 39, 0),
        ("search", 10, 20, 0),
        ("alfworld/claude_style_skills.json", 12, 32, 11),
        ("webshop/claude_style_skills.json", 15, 39, 12),
        ("search/claude_style_skills_search.json", 10, 20, 11),
        ("alfworld/generated_memories_alfworld_total.json", 0, 223, 0),
        ("webshop/generated_memories_webshop_100.json", 0, 100, 0),
        ("search/generated_memories_search.json", 0, 196, 0),
    ],
)
def test_the_published_libraries_are_read_whole(
    data_dir: Callable[[str], Path], place: str, general: int, specific: int, mistakes: int
) -> None:
    library = load_library(data_dir("sdar_skills") / place)
    assert (len(library.general()), len(library.mistakes())) == (general, mistakes)
    assert len(library) == general + specific + mistakes


@pytest.mark.data
@pytest.mark.parametrize("name", ["alfworld", "webshop", "search"])
def test_published_skills_reach_the_task_types_here(data_dir: Callable[[str], Path], name: str) -> None:
    own = SkillLibrary.builtin({"search": "searchqa"}.get(name, name)).task_types
    (file,) = (data_dir("sdar_skills") / name).glob("claude_style_skills*.json")
    for library in (load_library(data_dir("sdar_skills") / name), load_library(file)):
        retriever = make_retriever("oracle_type", library)
        for task_type in own:
            assert retriever.retrieve(SkillQuery(name, task_type, "")).specific, task_type


def test_no_published_name_leads_nowhere() -> None:
    known = {task_type for name in ("alfworld", "webshop", "searchqa") for task_type in load_library(name).task_types}
    assert {found for names in PUBLISHED_TYPES.values() for found in names} <= known

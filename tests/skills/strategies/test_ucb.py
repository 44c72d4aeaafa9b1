"""UCB: scores computed by hand, the better skill is found, the state is complete."""

from __future__ import annotations

import json
import math
import pickle
from collections import Counter
from math import inf, log, sqrt
from random import Random
from typing import Any

import pytest

from sdar_gym.configs.sections import SkillSettings
from sdar_gym.rollout.build import build_retriever
from sdar_gym.skills import (
    STRATEGIES,
    LearningRetriever,
    Skill,
    SkillLibrary,
    SkillQuery,
    make_retriever,
)
from sdar_gym.skills.strategies.ucb import DEFAULT_UCB_C, UcbRetriever


def skill(skill_id: str, *task_types: str, kind: str = "advice") -> Skill:
    return Skill(skill_id, "", f"Text of {skill_id}.", "", "shop", task_types, "test", (), kind)


def shop() -> SkillLibrary:
    made = (
        skill("g"),
        skill("a", "clothes"),
        skill("b", "clothes", "shoes"),
        skill("c", "clothes"),
        skill("d", "tools"),
        skill("m", kind="mistake"),
    )
    return SkillLibrary("shop", made)


def picked(retriever: UcbRetriever, task_type: str = "clothes", goal: str = "x") -> tuple[str, ...]:
    return retriever.retrieve(SkillQuery("shop", task_type, goal)).ids


def test_what_no_episode_was_given_comes_first_in_library_order() -> None:
    retriever = UcbRetriever(shop(), k=1, include_general=False)
    tried = []
    for _ in range(3):
        result = retriever.retrieve(SkillQuery("shop", "clothes", "x"))
        assert [scored.score for scored in result.skills] == [inf]
        assert result.specific
        tried += result.ids
        # However well the first ones went.
        retriever.observe("clothes", result.ids, 1.0)
    assert tried == ["a", "b", "c"]
    assert picked(retriever) == ("a",)


def test_scores_by_hand() -> None:
    retriever = UcbRetriever(shop(), k=3, include_general=False, ucb_c=0.5)
    for skills, reward in ((("a", "b"), 1.0), (("a",), 0.5), (("a", "c"), 0.0), (("b",), 0.25)):
        retriever.observe("clothes", skills, reward)
    # Another type's episodes, and its figures for the same skill, count for nothing here.
    retriever.observe("shoes", ("b",), 1.0)
    result = retriever.retrieve(SkillQuery("shop", "clothes", "x"))
    assert [(scored.skill.id, scored.score) for scored in result.skills] == [
        ("b", pytest.approx(1.25 / 2 + 0.5 * sqrt(log(4) / 2))),  # 1.04
        ("a", pytest.approx(1.5 / 3 + 0.5 * sqrt(log(4) / 3))),  # 0.84
        ("c", pytest.approx(0.0 + 0.5 * sqrt(log(4) / 1))),  # 0.59
    ]
    assert (result.strategy, result.backend, result.query) == ("ucb", "none", "")


def test_without_exploration_the_mean_decides() -> None:
    retriever = UcbRetriever(shop(), k=1, include_general=False, ucb_c=0)
    for skill_id, reward in (("a", 0.5), ("b", 0.6), ("c", 0.1)):
        retriever.observe("clothes", (skill_id,), reward)
    assert picked(retriever) == ("b",)


@pytest.mark.parametrize("better", ["a", "b"])
def test_it_finds_the_better_of_two(better: str) -> None:
    retriever = UcbRetriever(SkillLibrary("two", (skill("a", "t"), skill("b", "t"))), k=1)
    rng = Random(7)
    chosen = []
    for _ in range(600):
        (skill_id,) = picked(retriever, "t")
        chosen.append(skill_id)
        retriever.observe("t", (skill_id,), float(rng.random() < (0.7 if skill_id == better else 0.3)))
    late = Counter(chosen[300:])
    assert late[better] > 0.9 * 300
    # It never drops the other one altogether, or it could not recover from an unlucky start.
    assert 0 < Counter(chosen)[{"a": "b", "b": "a"}[better]] < 100


def test_arms_are_the_skills_of_the_type_and_else_all_that_compete() -> None:
    retriever = UcbRetriever(shop(), k=9)
    assert picked(retriever) == ("g", "a", "b", "c")
    assert picked(retriever, "shoes") == ("g", "b")
    result = retriever.retrieve(SkillQuery("shop", "garden", "x"))
    assert (result.ids, result.specific) == (("g", "a", "b", "c", "d"), False)
    assert picked(UcbRetriever(shop(), k=9, include_general=False), "garden") == ("g", "a", "b", "c", "d")


def test_general_skills_that_always_come_are_no_arms() -> None:
    retriever = UcbRetriever(shop(), k=2, include_mistakes=True)
    given = picked(retriever)
    assert given == ("g", "m", "a", "b")
    retriever.observe("clothes", given, 1.0)
    retriever.observe("clothes", ("g", "m"), 1.0)
    assert retriever.get_state() == {"clothes": {"episodes": 1, "arms": {"a": [1, 1.0], "b": [1, 1.0]}}}


def test_equal_states_give_equal_results() -> None:
    retriever = UcbRetriever(shop(), k=1)
    first = retriever.retrieve(SkillQuery("shop", "clothes", "x"))
    assert all(picked(retriever, goal=f"goal {number}") == first.ids for number in range(5))
    retriever.observe("clothes", first.ids, 0.0)
    assert picked(retriever) != first.ids
    # Another type's arms are where they were.
    assert picked(retriever, "tools") == ("g", "d")


def test_a_new_skill_is_a_new_arm() -> None:
    library = shop()
    retriever = UcbRetriever(library, k=1, include_general=False)
    for skill_id in ("a", "b", "c"):
        retriever.observe("clothes", (skill_id,), 1.0)
    assert picked(retriever) == ("a",)
    library.add(skill("new", "clothes"), duplicate_above=None)
    assert picked(retriever) == ("new",)
    retriever.observe("clothes", ("new",), 0.0)
    assert picked(retriever) == ("a",)


def learned() -> UcbRetriever:
    retriever = UcbRetriever(shop(), k=2)
    rng = Random(1)
    for _ in range(50):
        retriever.observe("clothes", picked(retriever), rng.random())
        retriever.observe("garden", picked(retriever, "garden"), rng.random())
    return retriever


def test_a_state_is_all_that_was_learned() -> None:
    one, other = learned(), UcbRetriever(shop(), k=2)
    picked(other)  # an result that has to be forgotten
    other.set_state(json.loads(json.dumps(one.get_state())))
    copy = pickle.loads(pickle.dumps(one))
    for again in (other, copy):
        assert again.get_state() == one.get_state()
        for task_type in ("clothes", "shoes", "garden"):
            query = SkillQuery("shop", task_type, "x")
            assert again.retrieve(query) == one.retrieve(query)
    # A state that was handed out is a copy.
    state = one.get_state()
    one.observe("clothes", ("a",), 1.0)
    assert state == other.get_state() != one.get_state()
    other.set_state({})
    assert picked(other) == ("g", "a", "b")


@pytest.mark.parametrize("reward", [-0.01, 1.01, math.nan, inf])
def test_rewards_outside_the_range_are_refused(reward: float) -> None:
    retriever = learned()
    before = retriever.get_state()
    with pytest.raises(ValueError, match=r"rewards from 0 to 1, got .* for task type 'clothes'"):
        retriever.observe("clothes", ("a",), reward)
    with pytest.raises(ValueError, match="has no skill 'z'"):
        retriever.observe("clothes", ("a", "z"), 1.0)
    assert retriever.get_state() == before


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"t": 3}, "no state of the strategy 'ucb' .task type 't'"),
        ({"t": {"arms": {}}}, "KeyError.*episodes"),
        ({"t": {"episodes": 1, "arms": {"a": 1}}}, "TypeError"),
        ({"t": {"episodes": 1, "arms": {"a": [2, 1.0]}}}, "'a' has 2 episodes"),
        ({"t": {"episodes": 3, "arms": {"a": [2, 2.5]}}}, r"rewards of 2\.5"),
        ({"t": {"episodes": 3, "arms": {"z": [2, 1.5]}}}, r"skill 'z', which the library 'shop' does not have"),
    ],
)
def test_a_state_of_something_else_is_refused_whole(state: dict[str, Any], message: str) -> None:
    retriever = learned()
    before = retriever.get_state()
    with pytest.raises(ValueError, match=message):
        retriever.set_state({"clothes": {"episodes": 0, "arms": {}}} | state)
    assert retriever.get_state() == before


def test_only_what_learns_is_a_learning_retriever() -> None:
    learning = [name for name in STRATEGIES if isinstance(make_retriever(name, shop()), LearningRetriever)]
    assert learning == ["ucb"]


def test_settings_weigh_exploration_and_no_other_strategy_takes_the_weight() -> None:
    assert SkillSettings().ucb_c == DEFAULT_UCB_C
    retriever = build_retriever("sdar/WebShop-v0", SkillSettings(strategy="ucb", ucb_c=0.25))
    assert isinstance(retriever, UcbRetriever)
    assert retriever.ucb_c == 0.25
    for strategy in ("bm25", "none"):
        with pytest.raises(ValueError, match=rf"ucb_c \(0\.25\) belongs to the strategy 'ucb', not to '{strategy}'"):
            build_retriever("sdar/WebShop-v0", SkillSettings(strategy=strategy, ucb_c=0.25))
    with pytest.raises(ValueError, match=r"skills\.ucb_c must be a finite number of at least 0, got -1"):
        SkillSettings(strategy="ucb", ucb_c=-1)
    with pytest.raises(ValueError, match="must not be negative or infinite; got inf"):
        UcbRetriever(shop(), ucb_c=inf)

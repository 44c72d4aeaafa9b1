"""Long repetitive texts, on which work of quadratic time took minutes or all memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sdar_gym.skills import Skill, SkillFormatError, SkillLibrary, SkillQuery, load_library
from sdar_gym.skills.growth.episode_reader import read_episodes
from sdar_gym.skills.growth.extract import extract_skills
from sdar_gym.skills.strategies.keywords import KeywordRetriever

pytestmark = pytest.mark.timeout(60)
N = 300_000


def episode(goal: str, *actions: str) -> dict[str, Any]:
    turns = [{"observation": "A room.", "action": action, "valid_action": True} for action in actions]
    return {"episode_id": "0/0", "task_type": "t", "goal": goal, "won": True, "turns": turns}


@pytest.mark.parametrize(
    "action",
    [
        "<a>" * N,
        "<" * N,
        "a" * N,
        "a[" * N,
        "a[" * N + "]",
        "".join(f"<t{n}>" for n in range(N // 10)),
        "<a>" * N + "</b>",
        "</a>" * N + "<a>",
        "1" * N,
        "a " * N + "1",
        "word 1 " * (N // 5),
        "a-" * N,
        "_" * N + "[",
    ],
)
def test_actions_of_any_form_are_abstracted(action: str) -> None:
    for goal in ("put a pen away", action):
        (skill,) = extract_skills([episode(goal, action)], env="e", origin="o")
        assert skill.text.startswith("These steps worked: ")


def test_the_form_of_an_action_is_found_where_it_was() -> None:
    def step(action: str, goal: str = "find red shoes") -> str:
        (skill,) = extract_skills([episode(goal, action)], env="e", origin="o")
        return skill.text.removeprefix("These steps worked: ").removesuffix(".")

    assert step("search[red shoes]") == "search[<words of the task>]"
    assert step("I say <b>so</c> click[b0123456789]]") == "click[b0123456789]]"
    assert step("<answer>red</answer> and search[x]") == "<answer><words of the task></answer>"
    assert step("search[<answer>red</answer>]") == "search[<words of your own>]"
    assert step("<x>a <answer>red</answer>") == "<answer><words of the task></answer>"
    assert step("<answer>red</answer></answer>") == "<answer><words of the task></answer>"


def test_many_things_in_a_goal_and_in_actions(tmp_path: Path) -> None:
    def name(number: int) -> str:
        return "".join("abcdefghij"[int(digit)] for digit in str(number))

    names = [name(number) for number in range(20_000)]
    played = episode(" ".join(names), *[f"take {name} 1" for name in names[::2]])
    (tmp_path / "e.jsonl").write_text(json.dumps(played))
    (skill,) = extract_skills(read_episodes(tmp_path / "e.jsonl"), env="e", origin="o")
    assert "take <thing 10000>" in skill.text


def test_keywords_and_goals_may_be_long() -> None:
    words = [f"w{number}x" for number in range(20_000)]
    long, short = " ".join(words), "w7x w8x"
    skills = [
        Skill("long", "t", "x", "w", "e", ("a",), "o", (long,)),
        Skill("short", "t", "x", "w", "e", ("b",), "o", (short, "w9x w11x")),
    ]
    retriever = KeywordRetriever(SkillLibrary("l", tuple(skills)))
    found = retriever.retrieve(SkillQuery("e", "", long)).skills
    assert [(scored.skill.id, scored.score) for scored in found] == [("long", 20_000.0)]
    assert retriever.retrieve(SkillQuery("e", "", "w7x w8x w9x")).skills[0].score == 2.0


def test_an_object_with_many_keys_and_one_twice_is_named(tmp_path: Path) -> None:
    keys = ",".join(f'"{number}": 0' for number in range(N))
    (tmp_path / "b.json").write_text(f'{{"general_skills": [], "metadata": {{{keys}, "{N - 1}": 1}}}}')
    with pytest.raises(SkillFormatError, match=rf"b\.json: the key '{N - 1}' occurs twice in one object"):
        load_library(tmp_path / "b.json")


@pytest.mark.parametrize("line", ["## a" + " " * N, "## " + "a" * N, "## a.b: " + ":" * N + "\r", "#" * N, "When" * N])
def test_long_lines_of_markdown_are_read_or_quoted_in_part(tmp_path: Path, line: str) -> None:
    (tmp_path / "turn.md").write_text(f"{line}\nText.\n")
    with pytest.raises(SkillFormatError) as caught:
        load_library(tmp_path)
    assert len(str(caught.value)) < 600


def test_a_memory_may_say_the_same_many_times(tmp_path: Path) -> None:
    told = "classified as '" * (N // 10) + "classified as 'maze'"
    content = {"task_meta": {"original_goal": "g " * N}, "strategic_guidelines": {"mistakes_to_avoid": []}}
    memory = {"memory_id": "m", "contextual_description": told, "content": content, "tags": {}}
    (tmp_path / "m.json").write_text(json.dumps([memory]))
    (skill,) = load_library(tmp_path / "m.json")
    assert skill.task_types == ("maze",)
    assert len(skill.title) < 80

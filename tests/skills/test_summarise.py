"""Candidate skills from episodes, on episodes written by hand and on one of the environments' own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import pytest

import sdar_gym  # noqa: F401  registers the environments
from sdar_gym.skills import SkillFormatError, SkillLibrary
from sdar_gym.skills.summarise import read_episodes, steps_of, summarise

KITCHEN = "put a clean mug in cabinet."


def episode(goal: str, *actions: str, won: bool = True, task_type: str = "clean", number: int = 0) -> dict[str, Any]:
    """Actions with a leading "!" were refused; "action => text" says what the world answers."""
    turns, observation = [], "You are in a room."
    for action in actions:
        action, _, answer = action.partition(" => ")
        turns.append(
            {"observation": observation, "action": action.lstrip("!"), "valid_action": not action.startswith("!")}
        )
        observation = answer or "Something."
    return {"episode_id": f"0/{number}", "task_type": task_type, "goal": goal, "won": won, "turns": turns}


def test_numbered_things_become_the_goals_things_or_their_kind() -> None:
    played = episode(
        KITCHEN,
        "go to shelf 1",
        "go to shelf 2",
        "open drawer 1",
        "close drawer 1",
        "open drawer 2",
        "close drawer 2",
        "!take mug from shelf 2",
        "take mug 3 from shelf 2",
        "clean mug 3 with sinkbasin 1",
        "go to cabinet 4",
        "move mug 3 to cabinet 4",
    )
    assert steps_of(played) == [
        "go to shelf",
        "open drawer",
        "close drawer",
        "take <thing 1> from shelf",
        "clean <thing 1> with sinkbasin",
        "go to <thing 2>",
        "move <thing 1> to <thing 2>",
    ]


def test_searches_clicks_and_tags() -> None:
    shop = episode(
        "Find me red running shoes with size: 8.5, and price lower than 40 dollars",
        "search[red shoes]",
        "search[cheap boots]",
        "click[B0ABC12345]",
        "click[8.5]",
        "click[Buy Now]",
    )
    assert steps_of(shop) == [
        "search[<words of the task>]",
        "search[<words of your own>]",
        "click[<code>]",
        "click[<words of the task>]",
        "click[buy now]",
    ]
    question = episode(
        "Where was the author of Salt born?",
        "<search>Salt</search> => <information>Salt is by Ada Lund.</information>",
        "<search>Ada Lund</search>",
        "<answer>Oslo</answer>",
    )
    assert steps_of(question) == [
        "<search><words of the task></search>",
        "<search><words found before></search>",
        "<answer><words of your own></answer>",
    ]


def test_the_shortest_won_episode_of_each_type_becomes_a_skill() -> None:
    played = [
        episode(KITCHEN, "go to shelf 1", "take mug 1 from shelf 1", "move mug 1 to cabinet 1", number=1),
        episode(KITCHEN, "go to shelf 1", "move mug 1 to cabinet 1", "!jump", "!jump", number=2),
        episode(KITCHEN, "win 1", won=False, number=3),
        episode("look at it", "look", task_type="see", number=4),
        episode("lost", "look", task_type="lost", won=False),
    ]
    first, second = summarise(played, env="alfworld", origin="run x")
    assert first.text == "These steps worked: go to shelf; move <thing 1> to <thing 2>."
    assert (first.task_types, first.kind, first.env) == (("clean",), "advice", "alfworld")
    assert first.origin == "run x, episode 0/2, the shortest of 2 won"
    assert first.when_to_use == f"the task is like this one: {KITCHEN}"
    assert second.id.startswith("learned.see.worked-")
    assert summarise(played, env="alfworld", origin="run x") == (first, second)


def test_the_action_refused_most_becomes_a_mistake() -> None:
    played = [
        episode(KITCHEN, "!put mug 1 in cabinet 1 => Nothing happens.", "!put mug 2 in cabinet 3", "!jump", won=False),
        episode(KITCHEN, "!jump", "!put mug 1 in cabinet 2 => Nothing happens.", "look", won=False),
        episode(KITCHEN, "look", won=False),
    ]
    (mistake,) = summarise(played, env="alfworld", origin="run x")
    assert (mistake.kind, mistake.task_types, mistake.origin) == ("mistake", ("clean",), "run x")
    assert mistake.text == (
        'Do not write "put <thing 1> in <thing 2>": it was refused 3 times in 2 of 3 episodes. '
        "The world answers: Nothing happens."
    )
    assert summarise(played, env="alfworld", origin="run x", min_mistakes=4) == ()
    (empty,) = summarise([episode("g", "!", "!", "!", won=False)], env="e", origin="o")
    assert empty.text.startswith("Do not answer without an action in the required form: it was refused 3 times in 1")
    with pytest.raises(ValueError, match="at least 1; got 0"):
        summarise([], env="e", origin="o", min_mistakes=0)


def test_candidates_join_a_library_and_can_be_saved(tmp_path: Path) -> None:
    library = SkillLibrary("alfworld", SkillLibrary.builtin("alfworld").skills)
    played = [episode(KITCHEN, "!fly to cabinet 1", "!fly to cabinet 2", "!fly to desk 1", "go to cabinet 1")]
    for skill in summarise(played, env="alfworld", origin="run x", min_mistakes=2):
        library.add(skill)
    library.save(tmp_path / "mine")
    back = SkillLibrary.from_folder(tmp_path / "mine")
    assert back == library
    assert len(back.for_task_type("clean")) == 2


def test_run_folders_are_read_and_damage_is_told(tmp_path: Path) -> None:
    (tmp_path / "episodes").mkdir()
    lines = [json.dumps(episode(KITCHEN, "look", number=n)) for n in range(2)]
    (tmp_path / "episodes" / "b.jsonl").write_text(lines[1] + "\n\n")
    (tmp_path / "episodes" / "a.jsonl").write_text(lines[0] + "\n")
    assert [played["episode_id"] for played in read_episodes(tmp_path)] == ["0/0", "0/1"]
    assert len(read_episodes(tmp_path / "episodes" / "a.jsonl")) == 1
    for line in ("{", "3", '{"goal": 1}', lines[0].replace('"look"', "7"), lines[0].replace('"turns"', '"trunks"')):
        (tmp_path / "episodes" / "b.jsonl").write_text(f"{lines[1]}\n{line}\n")
        with pytest.raises(SkillFormatError, match=r"b\.jsonl, line 2: no episode"):
            read_episodes(tmp_path)
    with pytest.raises(ValueError, match=r"No episodes in .*give a run folder"):
        read_episodes(tmp_path / "episodes")


def test_what_the_expert_does_in_the_kitchen_is_the_procedure() -> None:
    from sdar_gym.envs.alfworld.expert import Expert

    env: Any = gymnasium.make("sdar/ALFWorld-v0", scene="small", disable_env_checker=True).unwrapped
    task = next(task for task in env.task_ids("train") if env.task_type(task).startswith("pick_clean"))
    observation, info = env.reset(options={"task_id": task})
    expert, turns = Expert(), []
    expert.begin(env, observation, info)
    over = False
    while not over:
        action = expert.act(observation, info)
        turn = {"observation": observation, "action": action}
        observation, _, terminated, truncated, info = env.step(action)
        turns.append({**turn, "valid_action": info["action_valid"]})
        over = terminated or truncated
    played = {"episode_id": "0/0", "goal": info["goal"], "won": info["won"], "turns": turns}
    (skill,) = summarise([{**played, "task_type": info["task_type"]}], env="alfworld", origin="the expert")
    # The last four steps of cleaning something and bringing it somewhere, whatever had to be searched before.
    assert "clean <thing 1> with sinkbasin; go to <thing 2>; " in skill.text
    assert skill.text.endswith("move <thing 1> to <thing 2>.")

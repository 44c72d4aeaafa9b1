"""Skill extraction: on episodes written by hand and on an episode of the ALFWorld expert."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import pytest

import sdar_gym  # noqa: F401  registers the environments
from sdar_gym.skills import SkillFormatError, SkillLibrary
from sdar_gym.skills.growth.abstraction import steps_of
from sdar_gym.skills.growth.episode_reader import read_episodes
from sdar_gym.skills.growth.extract import episode_name, extract_skills

KITCHEN = "put a clean mug in cabinet."


def episode(goal: str, *actions: str, won: bool = True, task_type: str = "clean", number: int = 0) -> dict[str, Any]:
    """Actions with a leading "!" were refused; "action => text" says the observation after it."""
    turns, observation = [], "You are in a room."
    for action in actions:
        action, _, answer = action.partition(" => ")
        turns.append(
            {"observation": observation, "action": action.lstrip("!"), "valid_action": not action.startswith("!")}
        )
        observation = answer or "Something."
    return {"episode_id": f"0/{number}", "task_type": task_type, "goal": goal, "won": won, "turns": turns}


def numbered(episodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same with ids of their own."""
    return [{**played, "episode_id": f"0/{number}"} for number, played in enumerate(episodes)]


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
    first, second = extract_skills(played, env="alfworld", origin="run x")
    assert first.text == "These steps worked: go to shelf; move <thing 1> to <thing 2>."
    assert (first.task_types, first.kind, first.env) == (("clean",), "advice", "alfworld")
    assert first.origin == "run x, episode 0/2, the shortest of 2 won"
    assert first.when_to_use == f"the task is like this one: {KITCHEN}"
    assert second.id.startswith("learned.see.worked-")
    assert extract_skills(played, env="alfworld", origin="run x") == (first, second)


def test_the_action_refused_most_becomes_a_mistake() -> None:
    played = [
        episode(KITCHEN, "!put mug 1 in cabinet 1 => Nothing happens.", "!put mug 2 in cabinet 3", "!jump", won=False),
        episode(KITCHEN, "!jump", "!put mug 1 in cabinet 2 => Nothing happens.", "look", won=False),
        episode(KITCHEN, "look", won=False),
    ]
    (mistake,) = extract_skills(numbered(played), env="alfworld", origin="run x")
    assert (mistake.kind, mistake.task_types) == ("mistake", ("clean",))
    assert mistake.origin == "run x, 3 times in 2 of 3 episodes: 0/0, 0/1"
    assert mistake.text == (
        'Do not write "put <thing 1> in <thing 2>": it is refused. The world answers: Nothing happens.'
    )
    assert extract_skills(played, env="alfworld", origin="run x", min_mistakes=4) == ()
    (empty,) = extract_skills([episode("g", "!", "!", "!", won=False)], env="e", origin="o")
    assert empty.text.startswith("Do not answer without an action in the required form: it is refused.")
    with pytest.raises(ValueError, match="at least 1; got 0"):
        extract_skills([], env="e", origin="o", min_mistakes=0)


def test_what_is_accepted_more_often_is_no_mistake_and_one_stuck_episode_does_not_outweigh_several() -> None:
    stuck = episode(KITCHEN, *["!take mug 1 from cabinet 1"] * 9, won=False)
    others = [episode(KITCHEN, "!jump", *["go to shelf 1"] * 3, *["!go to shelf 1"] * 2, won=False) for _ in range(3)]
    (mistake,) = extract_skills(numbered([stuck, *others, others[0]]), env="alfworld", origin="run x")
    assert mistake.text.startswith('Do not write "jump": it is refused.')
    assert mistake.origin == "run x, 4 times in 4 of 5 episodes: 0/1, 0/2, 0/3 and 1 more"


def test_what_all_won_ones_did_and_lost_ones_did_not_becomes_a_skill() -> None:
    def won(place: str) -> dict[str, Any]:
        return episode(KITCHEN, f"go to {place} 1", "take mug 1", "clean mug 1", "move mug 1 to cabinet 1")

    def lost(*actions: str) -> dict[str, Any]:
        return episode(KITCHEN, *actions, won=False)

    gave_up = [lost("take mug 1", "!clean mug 1"), lost("take mug 1", "look"), lost("take mug 1", "clean mug 1")]
    played = numbered([won("desk"), won("shelf"), *gave_up])
    worked, left_out = extract_skills(played, env="alfworld", origin="run x", min_mistakes=2)
    assert worked.id.startswith("learned.clean.worked-")
    # Not "go to desk", which one of them did; not "move", which comes later and which winning itself needs.
    assert left_out.text.startswith('Do not leave out "clean <thing 1>": every won episode did it, and most')
    assert (left_out.kind, left_out.task_types) == ("advice", ("clean",))
    assert left_out.origin == "run x, 2 of 3 lost episodes: 0/2, 0/3; won ones: 0/0, 0/1"
    # Where most lost ones clean, the next step is reported; with too few of either kind, none is.
    (_, later) = extract_skills([*played, *[gave_up[2]] * 3], env="e", origin="o", min_mistakes=2)
    assert later.text.startswith('Do not leave out "move <thing 1> to <thing 2>"')
    assert ", 6 of 6 lost episodes: " in later.origin
    for few in (played[1:], played[:3]):
        assert len(extract_skills(few, env="e", origin="o", min_mistakes=2)) == 1


def test_candidates_join_a_library_and_can_be_saved(tmp_path: Path) -> None:
    library = SkillLibrary("alfworld", SkillLibrary.builtin("alfworld").skills)
    played = [episode(KITCHEN, "!fly to cabinet 1", "!fly to cabinet 2", "!fly to desk 1", "go to cabinet 1")]
    for skill in extract_skills(played, env="alfworld", origin="run x", min_mistakes=2):
        library.add(skill)
    library.save(tmp_path / "mine")
    back = SkillLibrary.from_folder(tmp_path / "mine")
    assert back == library
    assert len(back.for_task_type("clean")) == 2


def test_run_folders_are_read_and_damage_is_reported(tmp_path: Path) -> None:
    (tmp_path / "episodes").mkdir()
    lines = [json.dumps(episode(KITCHEN, "look", number=n)) for n in range(2)]
    (tmp_path / "episodes" / "b.jsonl").write_text(lines[1] + "\n\n")
    (tmp_path / "episodes" / "a.jsonl").write_text(lines[0] + "\n")
    assert [episode_name(played) for played in read_episodes(tmp_path)] == ["a:0/0", "b:0/1"]
    assert len(read_episodes(tmp_path / "episodes" / "a.jsonl")) == 1
    for line in ("{", "3", '{"goal": 1}', lines[0].replace('"look"', "7"), lines[0].replace('"turns"', '"trunks"')):
        (tmp_path / "episodes" / "b.jsonl").write_text(f"{lines[1]}\n{line}\n")
        with pytest.raises(SkillFormatError, match=r"b\.jsonl, line 2: no episode"):
            read_episodes(tmp_path)
    with pytest.raises(ValueError, match=r"No episodes in .*give a run folder"):
        read_episodes(tmp_path / "episodes")


def test_panels_are_not_learned_from_unless_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "episodes").mkdir()
    for split, number in (("train", 0), ("valid_seen", 1), ("test", 2)):
        line = json.dumps({**episode(KITCHEN, "look", number=number), "split": split})
        (tmp_path / "episodes" / f"{split}.jsonl").write_text(line + "\n")
    assert [played["split"] for played in read_episodes(tmp_path)] == ["train"]
    assert [played["split"] for played in read_episodes(tmp_path, ["valid_seen", "test"])] == ["test", "valid_seen"]
    with pytest.raises(ValueError, match=r"1 episodes in .* are of the split test, and train was asked for"):
        read_episodes(tmp_path / "episodes" / "test.jsonl")
    (tmp_path / "episodes" / "test.jsonl").write_text(json.dumps({**episode(KITCHEN, "look"), "split": 3}))
    with pytest.raises(SkillFormatError, match="split is no text"):
        read_episodes(tmp_path)


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
    (skill,) = extract_skills([{**played, "task_type": info["task_type"]}], env="alfworld", origin="the expert")
    # The last four steps of cleaning something and bringing it somewhere, whatever had to be searched before.
    assert "clean <thing 1> with sinkbasin; go to <thing 2>; " in skill.text
    assert skill.text.endswith("move <thing 1> to <thing 2>.")

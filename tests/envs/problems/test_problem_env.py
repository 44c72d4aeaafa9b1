"""The shared base of environments with a verifier, on sums."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from sums import TEMPLATES, SumEnv, embedded  # pyright: ignore[reportMissingImports]

from sdar_gym.envs.problems.embedded import Draft, EmbeddedProblems, Family
from sdar_gym.envs.problems.expert import ReferenceExpert
from sdar_gym.envs.problems.problem import ProblemFormatError
from sdar_gym.envs.problems.prompt import without_thoughts
from sdar_gym.envs.prompting import EpisodeView, PastTurn, PrivilegedContext
from sdar_gym.envs.text_env import TaskNotFoundError
from sdar_gym.testing import CheckSettings, check_text_env


def test_the_contract_holds() -> None:
    check_text_env(SumEnv(max_steps=3), settings=CheckSettings(tasks=6, fuzz_actions=200))


def test_one_answer_ends_the_episode_by_default() -> None:
    env = SumEnv()
    shown, info = env.reset(seed=1)
    assert shown == info["goal"] == env.problem.text
    assert (info["answer"], info["feedback"], info["length"]) == ("", "", 0.0)
    assert info["reference"] == env.problem.solution
    shown, reward, terminated, truncated, info = env.step("7000000")
    assert (reward, terminated, truncated, info["won"], info["score"]) == (0.0, True, False, False, 0.0)
    assert shown == "7000000 is not the sum." and env.problem.answer not in shown
    assert info["feedback"] == f"{shown} It is {env.problem.answer}."
    assert (info["answer"], info["length"], info["action_valid"]) == ("7000000", 7.0, True)


def test_with_more_turns_it_answers_again_until_it_is_right() -> None:
    env = SumEnv(max_steps=3, success_reward=5.0)
    env.reset(seed=1)
    _, reward, terminated, truncated, info = env.step("no number")
    assert (reward, terminated, truncated, info["action_valid"]) == (0.0, False, False, False)
    _, reward, terminated, _, info = env.step(env.reference_answer())
    assert (reward, terminated, info["won"], info["turn"]) == (5.0, True, True, 2)
    env.reset(seed=1)
    ends = [env.step("1")[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (True, False)]


def test_the_expert_solves_every_problem_with_its_solution() -> None:
    env, expert = SumEnv(), ReferenceExpert()
    for split in env.splits:
        for task_id in env.task_ids(split):
            shown, info = env.reset(options={"task_id": task_id})
            expert.begin(env, shown, info)
            assert env.step(expert.act(shown, info))[4]["won"]
    with pytest.raises(TypeError, match="environments with problems"):
        expert.begin(object(), "", {})  # pyright: ignore[reportArgumentType]


def test_generated_problems_are_in_one_split_each_and_the_same_everywhere() -> None:
    source = embedded({"train": 60, "dev": 20, "test": 20})
    texts = {split: [source.load(task_id).text for task_id in source.task_ids(split)] for split in source.splits}
    assert [len(found) for found in texts.values()] == [120, 40, 40]
    every = [text for found in texts.values() for text in found]
    assert len(set(every)) == len(every)
    # Loaded in another order, and from another object.
    again = embedded({"train": 60, "dev": 20, "test": 20})
    for task_id in reversed(source.task_ids("test")):
        assert again.load(task_id) == source.load(task_id)
    # More problems are these and others.
    more = embedded({"train": 80, "dev": 20, "test": 20})
    assert [more.load(task_id).text for task_id in source.task_ids("train")] == texts["train"]
    assert (
        embedded({"train": 60, "dev": 1, "test": 1}, version="2").load("train/sum/1/000000").text != texts["train"][0]
    )


@pytest.mark.parametrize(
    "task_id",
    ["", "train", "train/sum/1", "train/sum/3/000000", "train/sum/0/000000", "train/sum/1/000060", "train/sum/1/0",
     "train/sum/¹/000000", "nowhere/sum/1/000000", "train/other/1/000000", "train/sum/1/-00001"],
)  # fmt: skip
def test_ids_of_no_problem_are_refused(task_id: str) -> None:
    with pytest.raises(TaskNotFoundError, match=r"ids look like train/sum/1/000000"):
        embedded({"train": 60, "dev": 1, "test": 1}).load(task_id)


def test_a_family_that_is_too_small_says_so() -> None:
    small = Family("one", 1, lambda rng, level: Draft("1 + 1", (), "2"))
    source = EmbeddedProblems([small], {"train": 2, "dev": 0, "test": 0}, "1", lambda draft: draft.text, None)  # pyright: ignore
    with pytest.raises(ValueError, match="'one' has fewer than 2 problems of level 1 in train"):
        source.draft("train/one/1/000000")


def written(path: Path, rows: list[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_files_are_split_by_name_and_problems_of_the_test_split_leave_training(tmp_path: Path) -> None:
    rows = [{"question": f"{n} + 1", "answer": n + 1} for n in range(5)]
    written(tmp_path / "train.jsonl", [*rows, {"question": "open"}])
    written(tmp_path / "test.jsonl", rows[3:])
    env = SumEnv(problems=tmp_path)
    assert env.splits == ("train", "test")
    assert env.task_ids() == ("train/file/000000", "train/file/000001", "train/file/000002")
    assert env.task_ids("test") == ("test/file/000000", "test/file/000001")
    env.reset(options={"task_id": "test/file/000001"})
    assert env.step("5")[4]["won"]
    # A changed file is read again.
    written(tmp_path / "test.jsonl", rows[:1])
    assert SumEnv(problems=tmp_path).task_ids("test") == ("test/file/000000",)
    restored = pickle.loads(pickle.dumps(env))
    assert restored.task_ids("test") == ("test/file/000000",)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "holds no problems"),
        ([{"question": "open"}], "holds no problems"),
        ([{"question": "1 + 1", "answer": 2}, 3], r"row 2 is not a problem: expected an object, found a number: 3"),
        ([{"answer": 2}], r"train\.jsonl, row 1 has no question"),
    ],
)
def test_damaged_files_are_named(rows: list[object], message: str, tmp_path: Path) -> None:
    path = written(tmp_path / "train.jsonl", rows)
    with pytest.raises(ProblemFormatError, match=message):
        SumEnv(problems=path)


def test_missing_problems_are_named(tmp_path: Path) -> None:
    with pytest.raises(ProblemFormatError, match=r"There are no problems at .*nowhere"):
        SumEnv(problems=tmp_path / "nowhere")
    with pytest.raises(TaskNotFoundError, match="no split 'dev' in these problems; there are: train"):
        SumEnv(problems=written(tmp_path / "a.jsonl", [{"question": "1", "answer": 1}]), split="dev")


VIEW = EpisodeView(
    "Add 1 and 2.", (PastTurn("Add 1 and 2.", "4"), PastTurn("4 is not the sum.", "5")), "5 is not the sum.", ()
)


def test_the_prompt_shows_the_last_answers_and_what_was_wrong() -> None:
    hint = PrivilegedContext("1+2=3", "A correct solution", "solution")
    (message,) = TEMPLATES["window"].messages(VIEW, window=1, think=True, privileged=hint)
    assert "Your answer 2:\n5\n\nResult:\n5 is not the sum." in message["content"]
    assert "Your answer 1" not in message["content"]
    assert "A correct solution:\n1+2=3" in message["content"] and "<think>" in message["content"]
    (first,) = TEMPLATES["window"].messages(EpisodeView("Add.", (), "Add.", ()), window=2, think=False)
    assert "Result" not in first["content"] and "<think>" not in first["content"]
    (compact,) = TEMPLATES["compact"].messages(VIEW, window=1, think=False, privileged=hint)
    assert compact["content"].split("\n") == [
        "problem: Add 1 and 2.", "solution: 1+2=3", "answered: 5", "reply: 5 is not the sum.",
    ]  # fmt: skip


def test_an_action_is_the_response_without_its_thoughts() -> None:
    template = TEMPLATES["window"]
    parsed = template.parse("<think>1+2</think>\nIt is\n3", think=True)
    assert (parsed.action, parsed.valid, parsed.tagged) == ("It is\n3", True, True)
    assert not template.parse("It is\n3", think=True).valid
    assert template.parse("It is\n3", think=False).valid
    assert not template.parse("It is three", think=False).valid
    assert without_thoughts("a</think>b</think> c ") == "c"
    assert without_thoughts("<think>never ends") == "<think>never ends"
    assert template.parse(template.respond("3", think=True), think=True).valid

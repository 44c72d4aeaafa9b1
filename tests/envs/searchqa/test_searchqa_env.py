"""`SearchQAEnv`: turns, rewards, episode ends, arguments, sharing and pickling."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env

import sdar_gym  # noqa: F401  registers the environments
from sdar_gym.envs.policies import expert_of
from sdar_gym.envs.searchqa import local_index
from sdar_gym.envs.searchqa.env import MissingCorpusError, SearchQAEnv
from sdar_gym.envs.text_env import TaskNotFoundError

KEYS = {
    *("task_id", "task_type", "split", "goal", "admissible_actions", "action_valid", "score", "won", "turn"),
    *("data_source", "em", "f1", "answer", "searches"),
}


def make(**arguments: Any) -> SearchQAEnv:
    env = gymnasium.make("sdar/SearchQA-v0", **arguments).unwrapped
    assert isinstance(env, SearchQAEnv)
    return env


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Two questions and three passages."""
    questions, corpus = tmp_path / "quiz.jsonl", tmp_path / "quiz_corpus.jsonl"
    rows = [
        {"question": "What color is the boat?", "golden_answers": ["deep red", "crimson"]},
        {"question": "Who owns the boat?", "golden_answers": ["Olaf"], "data_source": "nq"},
    ]
    passages = [("boat", "The boat is crimson."), ("owner", "Olaf owns the boat."), ("cow", "Cows eat grass.")]
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus.write_text(
        "".join(json.dumps({"id": title, "contents": f'"{title}"\n{text}'}) + "\n" for title, text in passages)
    )
    return questions, corpus


def test_a_question_is_searched_for_and_answered(files: tuple[Path, Path]) -> None:
    env = make(questions=files[0], corpus=files[1])
    observation, info = env.reset(options={"task_id": "train/quiz/000000"})
    assert observation == info["goal"] == "What color is the boat?"
    assert set(info) == KEYS
    assert info["admissible_actions"] == ()
    observation, reward, terminated, truncated, info = env.step("I see. <search>color boat</search>")
    assert observation == (
        '<information>{"result": "Doc 1: \\"boat\\"\\nThe boat is crimson.\\nDoc 2: \\"owner\\"\\nOlaf owns the boat."}'
        "</information>"
    )
    assert (reward, terminated, truncated, info["searches"], info["action_valid"]) == (0.0, False, False, 1, True)
    _, reward, terminated, truncated, info = env.step("<answer>The Crimson.</answer>")
    assert (reward, terminated, truncated) == (1.0, True, False)
    assert info["won"] and info["score"] == info["em"] == info["f1"] == 1.0
    assert info["answer"] == "The Crimson." and info["data_source"] == info["task_type"] == "quiz"
    assert set(info) == KEYS


def test_a_wrong_answer_ends_the_episode_and_is_measured_by_overlap(files: tuple[Path, Path]) -> None:
    env = make(questions=files[0], corpus=files[1], success_reward=10)
    env.reset(options={"task_id": "train/quiz/000000"})
    _, reward, terminated, _, info = env.step("<answer>red</answer>")
    assert (reward, terminated, info["won"], info["em"]) == (0.0, True, False, 0.0)
    assert info["f1"] == pytest.approx(2 / 3)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step("<answer>crimson</answer>")
    env.reset(options={"task_id": "train/quiz/000000"})
    assert env.step("<answer>crimson</answer>")[1] == 10.0


def test_the_last_turn_makes_no_search_but_takes_an_answer() -> None:
    env = make(split="dev")
    for last, won in (("<search>x</search>", False), ("answer", True)):
        _, info = env.reset(seed=3)
        for _ in range(3):
            _, _, terminated, truncated, info = env.step("<search>town</search>")
            assert not terminated and not truncated
        assert info["searches"] == 3
        action = f"<answer>{env.question.golden[0]}</answer>" if last == "answer" else last
        observation, _, terminated, truncated, info = env.step(action)
        assert (terminated, truncated, info["won"]) == (won, not won, won)
        assert info["searches"] == 3
        assert "<information>" not in observation


def test_what_is_not_understood_is_an_invalid_turn() -> None:
    env = make()
    env.reset(seed=0)
    for action in ("", "go north", "<search> \n </search>"):
        observation, reward, terminated, _, info = env.step(action)
        assert "<search>" in observation
        assert (reward, terminated, info["action_valid"], info["searches"]) == (0.0, False, False, 0)
    env.reset(seed=0)
    observation, _, _, _, info = env.step("<search>town</search><search>river</search>")
    assert observation.startswith("<information>") and not info["action_valid"]


def test_an_empty_search_result_is_shown(files: tuple[Path, Path]) -> None:
    env = make(questions=files[0])
    env.reset(seed=0)
    assert env.step("<search>zeppelin</search>")[0] == '<information>{"result": "Nothing found."}</information>'


def test_gymnasium_checks_pass() -> None:
    check_env(make(), skip_render_check=True)


def test_the_seed_or_the_id_alone_decide_the_episode() -> None:
    first, second = make(), make()
    assert first.reset(seed=7) == second.reset(seed=7)
    assert first.reset() == second.reset()
    task_id = first.task_ids("test")[5]
    assert first.reset(seed=1, options={"task_id": task_id}) == second.reset(seed=2, options={"task_id": task_id})
    assert first.step("<search>river</search>") == second.step("<search>river</search>")
    assert {first.reset(options={"split": "test"})[1]["split"] for _ in range(5)} == {"test"}


def test_an_episode_pickles_small_and_goes_on_where_it_was() -> None:
    env = make(split="dev")
    env.reset(seed=1)
    env.step("<search>town</search>")
    content = pickle.dumps(env)
    assert len(content) < 10_000
    copy = pickle.loads(content)
    action = f"<search>{env.question.group.split(' | ')[0]}</search>"
    assert env.step(action) == copy.step(action)
    answer = f"<answer>{env.question.golden[0]}</answer>"
    assert env.step(answer) == copy.step(answer)
    assert copy.reset() == env.reset()


def test_environments_share_one_index(files: tuple[Path, Path]) -> None:
    found = []
    for _ in range(2):
        env = make(questions=files[0], corpus=files[1])
        env.reset(seed=0)
        env.step("<search>boat</search>")
        found.append(env._retriever)
    assert found[0] is found[1]
    # A replaced corpus is read again.
    files[1].write_text(json.dumps({"id": "new", "contents": "A blue boat."}) + "\n")
    env.reset(seed=0)
    assert env.step("<search>boat</search>")[0].count("Doc") == 2
    fresh = make(questions=files[0], corpus=files[1])
    fresh.reset(seed=0)
    assert "A blue boat." in fresh.step("<search>boat</search>")[0]


def test_vector_environments_play_in_their_processes() -> None:
    envs = gymnasium.make_vec(
        "sdar/SearchQA-v0", num_envs=2, vectorization_mode="async", vector_kwargs={"shared_memory": False}, split="dev"
    )
    observations, _ = envs.reset(seed=[1, 2])
    assert len(set(observations)) == 2
    observations, *_ = envs.step(["<search>town</search>", "<search>river</search>"])
    assert all(text.startswith("<information>") for text in observations)
    envs.close()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"split": "valid"}, TaskNotFoundError, "there are: train, dev, test"),
        (
            {"task_types": "nq"},
            TaskNotFoundError,
            r"no questions of the task type\(s\) \['nq'\].* it has comparison, one_hop, two_",
        ),
        ({"task_types": []}, TaskNotFoundError, "no questions of the task type"),
        ({"topk": 0}, ValueError, "topk .* at least 1"),
        ({"max_steps": 0}, ValueError, "max_steps"),
        ({"search": "elastic"}, ValueError, "Unknown search 'elastic'.*lucene"),
        ({"search_timeout": 0}, ValueError, "search_timeout"),
        ({"questions": "/no/such/file.jsonl"}, ValueError, "no questions at /no/such/file.jsonl"),
        ({"corpus": "/no/such/corpus.jsonl"}, MissingCorpusError, "no passages at /no/such/corpus.jsonl"),
        ({"holdout": 1.5, "questions": "QUIZ"}, ValueError, "holdout"),
    ],
)
def test_wrong_arguments_are_refused_with_a_reason(
    arguments: dict[str, Any], error: type[Exception], message: str, files: tuple[Path, Path]
) -> None:
    given = {name: files[0] if value == "QUIZ" else value for name, value in arguments.items()}
    with pytest.raises(error, match=message):
        make(**given)


def test_task_types_select_questions_of_every_split() -> None:
    env, everything = make(task_types=["one_hop", "two_hop"]), make()
    for split in env.splits:
        ids = env.task_ids(split)
        assert {env.task_type(task_id) for task_id in ids} == {"one_hop", "two_hop"}
        assert ids == tuple(each for each in everything.task_ids(split) if "comparison" not in each)
    assert make(task_types="two_hop").reset(seed=1)[1]["task_type"] == "two_hop"


def test_questions_without_passages_are_refused_unless_a_server_has_them(files: tuple[Path, Path]) -> None:
    files[1].unlink()
    with pytest.raises(MissingCorpusError, match="corpus=PATH"):
        make(questions=files[0])
    env = make(questions=files[0], search="http://127.0.0.1:9")
    assert env.reset(seed=0)[0]


def test_a_large_corpus_file_is_not_read_into_every_process(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_index, "MAX_CORPUS_BYTES", 10)
    with pytest.raises(ValueError, match="sdar-gym index"):
        make(questions=files[0], corpus=files[1])


def test_unknown_tasks_are_refused() -> None:
    env = make()
    for options in ({"task_id": "train/one_hop/999999"}, {"task_id": "x"}, {"split": "valid"}, {"task_id": 3}):
        with pytest.raises(TaskNotFoundError):
            env.reset(options=options)


def test_data_is_found_by_name_in_the_data_folder(
    tmp_path: Path, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data" / "searchqa"
    folder.mkdir(parents=True)
    for file in files:
        file.rename(folder / file.name)
    monkeypatch.setenv("SDAR_GYM_DATA", str(tmp_path / "data"))
    env = make(questions="quiz.jsonl", corpus="quiz_corpus.jsonl")
    env.reset(seed=0)
    assert "Doc 1" in env.step("<search>boat</search>")[0]


def test_closing_twice_is_fine() -> None:
    env = make()
    env.reset(seed=0)
    env.close()
    env.close()
    with pytest.raises(ValueError, match="reset"):
        _ = env.question


@pytest.mark.data
def test_real_hotpotqa_questions_are_answered_from_their_passages(data_dir: Callable[[str], Path]) -> None:
    env = make(questions=data_dir("searchqa") / "hotpotqa_train.json")
    expert = expert_of("sdar/SearchQA-v0")
    assert expert is not None
    won = 0
    for task_id in env.task_ids():
        observation, info = env.reset(options={"task_id": task_id})
        assert info["data_source"] == "hotpotqa"
        expert.begin(env, observation, info)
        ended = False
        while not ended:
            observation, _, terminated, truncated, info = env.step(expert.act(observation, info))
            ended = terminated or truncated
        won += info["won"]
    assert len(env.task_ids()) == 100
    # Pinned upper bound of the search; changes with the ranking.
    assert 55 <= won <= 65

"""Errors before an episode: bad corpora and servers, relative paths, invalid arguments."""

from __future__ import annotations

import copy
import json
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import sdar_gym  # noqa: F401  registers the environments
from sdar_gym.envs.searchqa.env import SearchQAEnv
from sdar_gym.envs.searchqa.local_index import local_index
from sdar_gym.envs.searchqa.search_contract import SearchSpec, check_address
from sdar_gym.skills.index.build import build_folder

PLAY = """
import pickle, sys, sdar_gym
env = pickle.load(sys.stdin.buffer)
env.reset()
print(env.step("<search>city</search>"))
"""
QUESTIONS = [{"question": f"Where is city number {n}?", "answer": f"x{n}"} for n in range(8)]


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """Eight questions."""
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    return path


def corpus(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def make(**arguments: Any) -> SearchQAEnv:
    env = gymnasium.make("sdar/SearchQA-v0", **arguments).unwrapped
    assert isinstance(env, SearchQAEnv)
    return env


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": 1, "document": "Paris is a city."}], "row 1 has neither `contents` nor `text`; it has: id, document"),
        ([], "holds no passages"),
        ([{"contents": 5}], "row 1: `contents` must be a text"),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_a_corpus_without_passages_is_refused_when_the_environment_is_made(
    questions: Path, rows: list[dict[str, Any]], message: str, named: bool
) -> None:
    place = corpus(questions.with_name("train_corpus.jsonl"), *rows)
    with pytest.raises(ValueError, match=message):
        make(questions=questions, **({"corpus": place} if named else {}))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"contents": " "}], "holds no passages with any text"),
        ([{"contents": "a"}, {"document": "b"}], "row 2 has neither"),
        ([{"id": 1, "contents": "a"}, {"id": "1", "contents": "b"}], "'1' occurs twice, in rows 1 and 2"),
    ],
)
def test_what_only_the_whole_corpus_shows_is_refused_before_the_first_episode(
    questions: Path, rows: list[dict[str, Any]], message: str
) -> None:
    env = make(questions=questions, corpus=corpus(questions.with_name("c.jsonl"), *rows))
    for check in (env.check_ready, lambda: env.reset(seed=0)):
        with pytest.raises(ValueError, match=message):
            check()


def test_a_damaged_folder_is_refused_when_the_environment_is_made(questions: Path, tmp_path: Path) -> None:
    place = corpus(tmp_path / "c.jsonl", {"contents": "a city"})
    build_folder(place, tmp_path / "index", "bm25s")
    make(questions=questions, corpus=tmp_path / "index").check_ready()
    (tmp_path / "index" / "bm25s" / "scores.bin").write_bytes(b"")
    os.utime(tmp_path / "index" / "index.json", ns=(1, 1))  # A new cache key, as of a folder that is not open yet.
    env = make(questions=questions, corpus=tmp_path / "index")
    for check in (env.check_ready, lambda: env.reset(seed=0)):
        with pytest.raises(ValueError, match="build the index again"):
            check()
    (tmp_path / "index" / "index.json").write_text("{")
    with pytest.raises(ValueError, match="build the index again"):
        make(questions=questions, corpus=tmp_path / "index")


def test_a_search_index_is_there_from_the_first_observation_on(questions: Path) -> None:
    env = make(questions=questions, corpus=corpus(questions.with_name("c.jsonl"), {"contents": "a city"}))
    env.check_ready()
    env.reset(seed=0)
    assert env._retriever is local_index(str(questions.with_name("c.jsonl")))
    assert "a city" in env.step("<search>city</search>")[0]


def test_check_ready_sends_one_query_and_raises_without_a_server(misbehaving: Callable[..., Any]) -> None:
    server = misbehaving("good")
    make(search=server.url, search_timeout=5).check_ready()
    assert len(server.bodies) == 1
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    env = make(search=f"http://user:secret@127.0.0.1:{port}", search_retries=0)
    env.reset(seed=0)  # Does not search yet.
    with pytest.raises(ValueError, match=rf"127\.0\.0\.1:{port}/retrieve failed in .*serve-search") as caught:
        env.check_ready()
    assert "secret" not in str(caught.value)
    for order, message in (("status 404", "status 404"), ("say {}", "does not follow the /retrieve contract")):
        env = make(search=misbehaving(order).url, search_retries=0)
        with pytest.raises(ValueError, match=message):
            env.check_ready()


def test_more_passages_than_a_server_gives_are_refused_by_the_check(served: str) -> None:
    make(search=served, topk=1000).check_ready()
    with pytest.raises(ValueError, match="from 1 to 1000, got 1001"):
        make(search=served, topk=1001).check_ready()


def test_without_ray_running_what_its_actor_would_open_is_checked(questions: Path, tmp_path: Path) -> None:
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        pytest.skip("another test left Ray running")
    pytest.importorskip("ray")
    good = corpus(tmp_path / "good.jsonl", {"contents": "a city"})
    make(questions=questions, corpus=good, search="ray").check_ready()
    bad = corpus(tmp_path / "bad.jsonl", {"contents": "a city"}, {"contents": 3})
    with pytest.raises(ValueError, match="row 2: `contents`"):
        make(questions=questions, corpus=bad, search="ray").check_ready()


def test_paths_stay_what_they_were(questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data" / "searchqa"
    data.mkdir(parents=True)
    questions.rename(data / "quiz.jsonl")
    corpus(tmp_path / "c.jsonl", {"contents": "a city"})
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SDAR_GYM_DATA", "data")
    env = gymnasium.make("sdar/SearchQA-v0", questions="quiz.jsonl", corpus="c.jsonl")
    assert env.spec is not None
    assert env.spec.kwargs["questions"] == str(data / "quiz.jsonl")
    assert env.spec.kwargs["corpus"] == str(tmp_path / "c.jsonl")
    content = pickle.dumps(env.unwrapped)
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("SDAR_GYM_DATA", str(tmp_path / "elsewhere"))
    for other in (pickle.loads(content), copy.deepcopy(env), gymnasium.make(env.spec)):
        other.reset(seed=1)
        assert "a city" in other.step("<search>city</search>")[0]
    found = subprocess.run([sys.executable, "-c", PLAY], input=content, capture_output=True, check=True)
    assert b"a city" in found.stdout


def test_what_was_not_given_is_not_in_the_spec() -> None:
    env = gymnasium.make("sdar/SearchQA-v0", questions="embedded", topk=2)
    assert env.spec is not None and env.spec.kwargs == {"questions": "embedded", "topk": 2}
    again = gymnasium.make(env.spec)
    assert again.unwrapped.task_ids() == env.unwrapped.task_ids()


NUMBERS = ("topk", "holdout", "success_reward", "search_timeout", "search_retries")
WRONG: list[tuple[str, Any]] = [(name, value) for name in NUMBERS for value in ("5", None, True, [], {}, float("nan"))]
WRONG += [(name, float("inf")) for name in NUMBERS]
WRONG += [("topk", 2.5), ("topk", 2.0), ("topk", -1), ("search_retries", 1.5), ("search_retries", -1)]
WRONG += [("holdout", -0.1), ("holdout", 1.0), ("holdout", 1), ("search_timeout", 0), ("search_timeout", 1e300)]
WRONG += [
    ("success_reward", "abc"),
    ("search", 5),
    ("search", None),
    ("search", True),
    ("search", ["auto"]),
    ("search", ""),
]
WRONG += [("split", ""), ("split", 5), ("split", ["train"]), ("questions", 5), ("questions", b"x"), ("questions", "")]
WRONG += [("corpus", 5), ("corpus", ""), ("corpus", "s3://bucket/c"), ("questions", "hf://x/y"), ("questions", "a\0")]


@pytest.mark.parametrize(("name", "value"), WRONG, ids=lambda value: repr(value)[:20])
def test_arguments_of_another_type_are_one_message_with_their_name(questions: Path, name: str, value: Any) -> None:
    place = corpus(questions.with_name("c.jsonl"), {"contents": "a city"})
    with pytest.raises(ValueError, match=rf"(?i)\b{name}\b") as caught:
        make(**{"questions": questions, "corpus": place, name: value})
    assert len(str(caught.value)) < 300


def test_numbers_of_any_kind_are_numbers(questions: Path) -> None:
    place = corpus(questions.with_name("c.jsonl"), *({"contents": f"city {n}"} for n in range(5)))
    env = make(
        **{"questions": questions, "corpus": place, "holdout": np.float32(0.5), "topk": np.int64(2)},
        **{"success_reward": np.float64(3), "search_timeout": np.int32(3), "search_retries": np.int8(0)},
    )
    env.reset(seed=0)
    assert env.step("<search>city</search>")[0].count("Doc ") == 2
    reward = env.step(f"<answer>{env.question.golden[0]}</answer>")[1]
    assert (reward, type(reward)) == (3.0, float)
    assert type(env._spec.timeout) is float and type(env._spec.retries) is int


def test_a_holdout_of_questions_that_have_a_test_split_is_refused() -> None:
    with pytest.raises(ValueError, match="test split already, so `holdout` must be 0"):
        make(holdout=0.2)


@pytest.mark.parametrize(
    "address",
    [
        *("http://", "http://:8000", "http://host:port", "http://host:99999", "http://[::1", "http://ho st"),
        *("http://user:secret@", "http://user:sec/ret@host:8000", "http://user:secret@host:99999"),
        *("http://user:secret@host:x", "http://ho\x1b[2Jst", "http://user:secret@ho\nst"),
    ],
)
def test_an_invalid_address_is_refused_without_its_password(address: str) -> None:
    for refuse in (lambda: check_address(address), lambda: make(search=address)):
        with pytest.raises(ValueError, match="not the address of a search server; write http://host:port") as caught:
            refuse()
        assert "sec" not in str(caught.value).replace("search", "") and "\x1b" not in str(caught.value)


def test_a_password_is_not_shown_by_what_holds_it() -> None:
    spec = SearchSpec(search="HTTP://user:secret@host:1/retrieve")
    assert spec.is_server and "secret" not in repr(spec)
    with pytest.raises(ValueError, match="Unknown search") as caught:
        SearchSpec(search="ftp://user:secret@host")
    assert "secret" not in str(caught.value)

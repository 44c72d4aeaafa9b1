"""The embedded world: determinism, disjoint splits, and questions that search can answer."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import gymnasium
import pytest

import sdar_gym  # noqa: F401  registers the environments
from sdar_gym.envs.policies import expert_of
from sdar_gym.envs.searchqa.env import SearchQAEnv
from sdar_gym.envs.searchqa.expert import fact_in
from sdar_gym.envs.searchqa.generator import TASK_TYPES, EmbeddedQuestions
from sdar_gym.envs.searchqa.local_index import local_index
from sdar_gym.envs.searchqa.tasks import SPLITS
from sdar_gym.envs.searchqa.text import found_passages, information
from sdar_gym.envs.searchqa.world import UNASKED, Names, embedded_world

# Pinned: a change of the world requires a new GENERATOR_VERSION, and a new hash here.
FINGERPRINT = "30d8f1422cc95cb0"
PRINT = """
import hashlib
from sdar_gym.envs.searchqa.generator import EmbeddedQuestions
from sdar_gym.envs.searchqa.world import embedded_world
source = EmbeddedQuestions()
told = [passage.text for passage in embedded_world().passages]
told += [repr(source.load(task_id)) for split in source.splits for task_id in source.task_ids(split)]
print(hashlib.sha256("\\n".join(told).encode()).hexdigest()[:16])
"""


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_the_world_is_the_same_in_every_process(hash_seed: str) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    found = subprocess.run([sys.executable, "-c", PRINT], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == FINGERPRINT


def test_task_types_take_turns_and_ids_are_unique() -> None:
    source = EmbeddedQuestions()
    ids = [task_id for split in SPLITS for task_id in source.task_ids(split)]
    assert len(set(ids)) == len(ids) == 9600
    questions = [source.load(task_id) for task_id in ids]
    assert Counter(question.task_type for question in questions) == dict.fromkeys(TASK_TYPES, 3200)
    assert len({question.text for question in questions}) == len(questions)


@pytest.mark.parametrize("names", ["invented", "plain"])
def test_splits_share_neither_what_is_asked_about_nor_what_is_answered(names: Names) -> None:
    source = EmbeddedQuestions(names)
    world = embedded_world(names)
    named = {split: {thing.name for thing in world.things.values() if thing.split == split} for split in SPLITS}
    for split in SPLITS:
        for task_id in source.task_ids(split):
            question = source.load(task_id)
            assert set(question.group.split(" | ")) <= named[split]
    said = {
        split: {word for thing in world.things.values() if thing.split == split for word in thing.facts.values()}
        for split in SPLITS
    }
    for first, second in (("train", "dev"), ("train", "test"), ("dev", "test")):
        assert not named[first] & named[second]
        # Years, trades and products may occur in all splits.
        shared = {word for word in said[first] & said[second] if word[0].isupper()}
        assert not shared


@pytest.mark.parametrize("names", ["invented", "plain"])
def test_every_name_that_is_asked_for_finds_its_passage_first(names: Names) -> None:
    index = local_index("plain" if names == "plain" else None)
    for thing in embedded_world(names).things.values():
        if thing.split != UNASKED and thing.kind != "river":
            assert index.search(thing.name, 3)[0].contents.startswith(f'"{thing.name}"\n'), thing.name


def test_a_surname_alone_is_not_enough() -> None:
    surnames = Counter(thing.name.split()[1] for thing in embedded_world().things.values() if thing.kind == "person")
    assert sum(count > 1 for count in surnames.values()) > 100


@pytest.mark.parametrize(("split", "questions"), [("dev", "embedded"), ("test", "embedded"), ("test", "plain")])
def test_the_expert_answers_all_by_reading(split: str, questions: str) -> None:
    env = gymnasium.make("sdar/SearchQA-v0", split=split, questions=questions).unwrapped
    assert isinstance(env, SearchQAEnv)
    expert = expert_of("sdar/SearchQA-v0")
    assert expert is not None
    for task_id in env.task_ids()[::4]:
        observation, info = env.reset(options={"task_id": task_id})
        hidden, env._question = env._question, None
        # Without access to the golden answers.
        expert.begin(env, observation, info)
        env._question = hidden
        turns = {"one_hop": 2, "two_hop": 3, "comparison": 3}[info["task_type"]]
        for _ in range(turns):
            observation, _, terminated, _, info = env.step(expert.act(observation, info))
        assert terminated and info["won"], (task_id, info)


def test_the_question_alone_does_not_hold_the_answer() -> None:
    source = EmbeddedQuestions()
    for task_id in source.task_ids("dev"):
        question = source.load(task_id)
        if question.task_type != "comparison":
            assert not any(re.search(rf"\b{re.escape(answer)}\b", question.text) for answer in question.golden)


def test_a_two_hop_answer_is_not_in_the_first_passage() -> None:
    source = EmbeddedQuestions()
    index = local_index(None)
    for task_id in source.task_ids("dev")[1::3]:
        question = source.load(task_id)
        (first,) = index.search(question.group, 1)
        assert question.golden[0] not in first.contents, task_id


def test_the_reader_takes_nothing_from_rubbish() -> None:
    assert found_passages("rubbish") == []
    assert found_passages("<information>[1]</information>") == []
    assert fact_in('<information>{"result": "Nothing found."}</information>', "Wolmark", "river") is None


@pytest.mark.parametrize(
    "answer",
    ["<answer>York</answer>", "a </search> b", "<search>", "x</answer>y", "<<answer>answer>", "O\ud83d <search>k"],
)
def test_the_expert_says_any_answer_so_that_it_is_read_back(tmp_path: Path, answer: str) -> None:
    row = {"question": f"What is </search> <answer> {answer} in <search>?", "answer": answer, "data_source": "embedded"}
    (tmp_path / "train.jsonl").write_text(json.dumps(row))
    (tmp_path / "train_corpus.jsonl").write_text(json.dumps({"title": "</search><answer>", "text": f"in it {answer}"}))
    env = gymnasium.make("sdar/SearchQA-v0", questions=tmp_path / "train.jsonl").unwrapped
    expert = expert_of("sdar/SearchQA-v0")
    assert expert is not None and isinstance(env, SearchQAEnv)
    observation, info = env.reset(seed=0)
    expert.begin(env, observation, info)
    for turn in range(2):
        observation.encode()
        action = expert.act(observation, info)
        observation, _, terminated, _, info = env.step(action)
        assert info["action_valid"] and info["searches"] == 1, (turn, action)
    assert terminated and info["won"], info
    json.dumps(info, ensure_ascii=False).encode()


def test_passages_that_tell_facts_without_end_take_no_time_to_read() -> None:
    told = '"Wolmark"\nWolmark was a ' + "born in in in " * 50_000
    observation = information([told])
    for fact in ("river", "birthplace", "birth_year", "author", "founder", "trade"):
        assert fact_in(observation, "Wolmark", fact) is None


def test_plain_names_are_two_words_that_many_things_share() -> None:
    world = embedded_world("plain")
    assert all(len(name.split()) == 2 for name, thing in world.things.items() if thing.kind != "novel")
    shared = Counter(name.split()[0] for name, thing in world.things.items() if thing.split == "train")
    assert all(shared[name.split()[0]] for name, thing in world.things.items() if thing.split == "dev")
    env = gymnasium.make("sdar/SearchQA-v0", questions="plain").unwrapped
    assert isinstance(env, SearchQAEnv) and env.embedded
    assert env.spec is not None and env.spec.kwargs["questions"] == "plain"

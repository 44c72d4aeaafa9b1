"""The demonstrator of the embedded Search-QA: procedures, their texts, and what they lead to."""

from __future__ import annotations

from random import Random

import pytest

from sdar_gym.configs.sections import SkillSettings
from sdar_gym.envs.searchqa.demonstrator import (
    Demonstrator,
    Procedure,
    random_procedure,
    skill_text,
    true_procedure,
)
from sdar_gym.envs.searchqa.env import SearchQAEnv
from sdar_gym.envs.searchqa.expert import asked_by
from sdar_gym.envs.searchqa.generator import TASK_TYPES
from sdar_gym.envs.searchqa.local_index import PLAIN
from sdar_gym.envs.searchqa.notes import Note, note_of
from sdar_gym.envs.searchqa.world import embedded_world
from sdar_gym.rollout.build import build_retriever
from sdar_gym.skills import SkillQuery

# What `skills.library=wrong` shows instead.
WRONG = {"one_hop": "two_hop", "two_hop": "comparison", "comparison": "two_hop"}


def won(env: SearchQAEnv, task_id: str, procedure: Procedure) -> bool:
    question, info = env.reset(options={"task_id": task_id})
    asked = asked_by(question)
    assert asked is not None
    player = Demonstrator(embedded_world("plain"), asked, procedure)
    notes: list[Note] = []
    ended = False
    while not ended:
        action = player.act(notes)
        observation, _, terminated, truncated, info = env.step(action)
        notes.append(note_of(action, observation))
        ended = terminated or truncated
    return info["won"]


@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_the_true_procedure_wins_and_that_of_another_type_does_not(task_type: str) -> None:
    env = SearchQAEnv(questions=PLAIN)
    ids = [task_id for task_id in env.task_ids("dev") if env.task_type(task_id) == task_type][:80]
    assert all(won(env, task_id, true_procedure(task_type)) for task_id in ids)
    assert sum(won(env, task_id, true_procedure(WRONG[task_type])) for task_id in ids) <= 4


@pytest.mark.parametrize("task_type", TASK_TYPES)
@pytest.mark.parametrize("library", [None, "wrong"])
def test_the_library_has_the_texts_that_the_policy_was_taught_to_read(task_type: str, library: str | None) -> None:
    retriever = build_retriever("sdar/SearchQA-v0", SkillSettings(library=library, k=1, include_general=False))
    found = retriever.retrieve(SkillQuery("searchqa", task_type, "Who?", "Who?"))
    shown = WRONG[task_type] if library else task_type
    assert found.text == skill_text(true_procedure(shown))


def test_every_random_procedure_ends_within_the_turns_and_has_a_text_of_its_own() -> None:
    env, rng = SearchQAEnv(questions=PLAIN), Random(0)
    procedures = {random_procedure(rng) for _ in range(400)}
    assert len({skill_text(procedure) for procedure in procedures}) == len(procedures) == 24
    wins = [won(env, task_id, random_procedure(rng)) for task_id in env.task_ids("dev")[:300]]
    assert 0.05 < sum(wins) / len(wins) < 0.35

"""Built-in libraries: task types, keywords and texts fit the built-in environments."""

from __future__ import annotations

import gymnasium
import pytest

import sdar_gym  # noqa: F401  registers the environments
from sdar_gym.envs.registry import EnvEntry, entries
from sdar_gym.envs.text_env import TextEnv
from sdar_gym.skills import SkillLibrary, SkillQuery, builtin_libraries, load_library, make_retriever
from sdar_gym.skills.lookup import skill_env_name

WITH_LIBRARY = [entry for entry in entries() if entry.entry_point.startswith("sdar_gym.") and entry.skills]
REAL_QUESTION_SETS = ("nq", "triviaqa", "popqa", "hotpotqa", "2wikimultihopqa", "musique", "bamboogle")


def task_types(entry: EnvEntry) -> set[str]:
    env = gymnasium.make(entry.id, disable_env_checker=True).unwrapped
    assert isinstance(env, TextEnv)
    found = {env.task_type(task) for split in env.splits for task in env.task_ids(split)[:1200]}
    env.close()
    return found


def test_the_three_benchmarks_have_a_library() -> None:
    named = {entry.id: entry.skills for entry in WITH_LIBRARY}
    assert named.items() >= {
        ("sdar/ALFWorld-v0", "alfworld"),
        ("sdar/WebShop-v0", "webshop"),
        ("sdar/SearchQA-v0", "searchqa"),
    }


@pytest.mark.parametrize("entry", WITH_LIBRARY, ids=lambda entry: entry.id)
def test_every_task_type_gets_a_skill_of_its_own(entry: EnvEntry) -> None:
    library = load_library(str(entry.skills))
    assert {skill.env for skill in library} == {skill_env_name(entry.id)}
    retriever = make_retriever("oracle_type", library, k=1, include_general=False)
    types = task_types(entry) | (set(REAL_QUESTION_SETS) if entry.skills == "searchqa" else set())
    assert len(types) >= 3
    for task_type in types:
        result = retriever.retrieve(SkillQuery(skill_env_name(entry.id), task_type, "any goal"))
        assert result.specific, task_type
        assert result.ids[0].endswith(".procedure"), task_type


@pytest.mark.parametrize("name", builtin_libraries())
def test_a_library_has_mistakes_and_says_nothing_twice(name: str) -> None:
    library = SkillLibrary.builtin(name)
    assert len(library.mistakes()) >= 5
    assert {skill.id for skill in library.mistakes()} == {s.id for s in library if s.id.startswith("mistake.")}
    assert len({skill.text for skill in library}) == len({skill.title for skill in library}) == len(library)
    assert all(len(skill.text) <= 300 for skill in library)


@pytest.mark.parametrize(
    ("entry", "least"), [("alfworld", 0.95), ("webshop", 0.99), ("searchqa", 0.95), ("code", 0.95)]
)
def test_keywords_find_the_kind_of_task_in_embedded_goals(entry: str, least: float) -> None:
    # Measured on all evaluation goals by benchmarks/skill_retrieval.py; here on every tenth of one split.
    (env_id,) = [known.id for known in WITH_LIBRARY if known.skills == entry]
    env = gymnasium.make(env_id, disable_env_checker=True).unwrapped
    assert isinstance(env, TextEnv)
    retriever = make_retriever("keywords", load_library(entry), k=1)
    right = []
    for task in env.task_ids(env.splits[1])[:: 1 if entry == "code" else 10]:
        _, info = env.reset(options={"task_id": task})
        right.append(retriever.retrieve(SkillQuery(entry, info["task_type"], info["goal"])).specific)
    env.close()
    assert sum(right) / len(right) >= least

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium
import pytest

from sdar_gym.envs.spaces import FreeText
from sdar_gym.envs.wrappers import SkillContext
from sdar_gym.skills import Retrieval, SkillCoverageWarning, SkillLibrary, SkillQuery, make_retriever
from sdar_gym.skills.warnings import _WARNED

LIBRARY = SkillLibrary.builtin("alfworld")
ENV_ID = "sdar-test/ALFWorld-v3"


class Kitchen(gymnasium.Env[str, str]):
    """Two turns of nothing; the task is chosen by option."""

    def __init__(self, info: dict[str, Any] | None = None) -> None:
        self.observation_space = FreeText()
        self.action_space = FreeText()
        self._info = {"goal": "put a hot egg in fridge.", "task_type": "pick_heat_then_place_in_recep"}
        self._info = self._info if info is None else info
        self._turn = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self._info = {**self._info, **(options or {})}
        self._turn = 0
        return "You are in a kitchen.", dict(self._info)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self._turn += 1
        return f"You did: {action}", 0.0, self._turn >= 2, False, {"turn": self._turn}


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    gymnasium.register(ENV_ID, entry_point=lambda **_: Kitchen(), disable_env_checker=True)
    yield
    del gymnasium.registry[ENV_ID]


def oracle(**settings: Any) -> Any:
    return make_retriever("oracle_type", LIBRARY, **settings)


def test_skills_ride_along_on_reset_and_every_step() -> None:
    env = SkillContext(gymnasium.make(ENV_ID), oracle(k=1, include_general=False))
    observation, info = env.reset(seed=1)
    assert observation == "You are in a kitchen."
    skills = info["skills"]
    assert isinstance(skills, Retrieval)
    assert skills.ids == ("heat.procedure",)
    observation, _, terminated, truncated, info = env.step("look")
    assert observation == "You did: look"
    assert info["skills"] is skills
    assert info["turn"] == 1
    assert not terminated
    assert not truncated
    assert (env.tasks, env.tasks_without_specific_skill) == (1, 0)


def test_the_query_tells_all_that_is_known() -> None:
    asked: list[SkillQuery] = []

    class Spy:
        name = "spy"

        def retrieve(self, query: SkillQuery) -> Retrieval:
            asked.append(query)
            return Retrieval("spy", "none", (), True, "")

    env = SkillContext(gymnasium.make(ENV_ID), Spy())
    env.reset()
    assert asked == [
        SkillQuery("alfworld", "pick_heat_then_place_in_recep", "put a hot egg in fridge.", "You are in a kitchen.")
    ]


def test_tasks_without_a_skill_are_counted_and_warned_about_once_a_type() -> None:
    _WARNED.clear()
    env = SkillContext(Kitchen(), oracle(), env_name="alfworld")
    with pytest.warns(SkillCoverageWarning, match="'oracle_type' found no skill written for the task type 'juggle'"):
        env.reset(options={"task_type": "juggle"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env.reset(options={"task_type": "juggle"})
        env.reset(options={"task_type": "look_at_obj_in_light"})
    with pytest.warns(SkillCoverageWarning, match="'dance'"):
        env.reset(options={"task_type": "dance"})
    assert (env.tasks, env.tasks_without_specific_skill) == (4, 3)


def test_no_warning_where_no_skills_are_meant() -> None:
    env = SkillContext(Kitchen(), make_retriever("none", None), env_name="alfworld")
    env.reset()
    assert (env.tasks, env.tasks_without_specific_skill) == (1, 1)


def test_what_the_environment_lacks_is_said() -> None:
    with pytest.raises(ValueError, match="say env_name="):
        SkillContext(Kitchen(), oracle())
    env = SkillContext(Kitchen({"goal": "dance"}), oracle(), env_name="kitchen")
    with pytest.raises(ValueError, match=r"info\['task_type'\] as text, and the environment 'kitchen' gives none"):
        env.reset()


def test_it_pickles_and_can_be_made_again_from_its_spec() -> None:
    retriever = make_retriever("bm25", LIBRARY)
    env = SkillContext(gymnasium.make(ENV_ID), retriever)
    _, info = env.reset()
    copy = pickle.loads(pickle.dumps(SkillContext(Kitchen(), retriever, env_name="alfworld")))
    assert copy.reset()[1]["skills"] == info["skills"]
    assert env.spec is not None
    again = gymnasium.make(env.spec)
    assert isinstance(again, SkillContext)
    assert again.reset()[1]["skills"] == info["skills"]


def test_it_works_in_a_vector_of_environments() -> None:
    envs = gymnasium.vector.SyncVectorEnv(
        [lambda: SkillContext(gymnasium.make(ENV_ID), oracle(k=1, include_general=False))] * 2
    )
    _, info = envs.reset()
    assert [retrieval.ids for retrieval in info["skills"]] == [("heat.procedure",)] * 2
    envs.close()


@pytest.mark.parametrize(
    ("retriever", "env_name", "says"),
    [
        (None, None, "retriever must be one as make_retriever"),
        ("bm25", None, "retriever must be one as make_retriever.* got 'bm25'"),
        (LIBRARY, 5, "env_name must be a text such as 'alfworld', got 5|retriever must be"),
    ],
)
def test_arguments_of_another_type_are_refused(retriever: Any, env_name: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        SkillContext(gymnasium.make(ENV_ID), retriever, env_name)
    with pytest.raises(ValueError, match="env_name must be a text such as 'alfworld', got ''"):
        SkillContext(gymnasium.make(ENV_ID), oracle(), "")

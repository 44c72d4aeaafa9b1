"""Skill lookup for an episode: the environment's name and the query."""

from __future__ import annotations

import pytest

from sdar_gym.skills import SkillQuery
from sdar_gym.skills.lookup import query_for, skill_env_name


@pytest.mark.parametrize(
    ("env_id", "name"),
    [
        ("sdar/ALFWorld-v0", "alfworld"),
        ("Maze-v12", "maze"),
        ("lab/Very-Vast-v1", "very-vast"),
        ("lab/Very-Vast", "very-vast"),
        ("package:lab/Maze-v0", "maze"),
    ],
)
def test_the_name_of_an_environment_is_its_id_without_namespace_and_version(env_id: str, name: str) -> None:
    assert skill_env_name(env_id) == name


def test_the_query_needs_goal_and_task_type() -> None:
    info = {"goal": "turn", "task_type": "left", "won": False}
    assert query_for("maze", info, "A wall.") == SkillQuery("maze", "left", "turn", "A wall.")
    with pytest.raises(
        ValueError, match=r"needs info\['goal'\] as text, and the environment 'maze' gives none; add it"
    ):
        query_for("maze", info | {"goal": None}, "A wall.")

"""Skill lookup for an episode: the query from the environment's `info`, retrieval, and the coverage warning."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sdar_gym.skills.retrieval import Retrieval, Retriever, SkillQuery
from sdar_gym.skills.warnings import warn_once

_VERSION = re.compile(r"-v\d+$")


def skill_env_name(env_id: str) -> str:
    """The environment's name in skill libraries, from its Gymnasium id: `sdar/ALFWorld-v0` is `alfworld`."""
    return _VERSION.sub("", env_id.rsplit("/", 1)[-1]).lower()


def query_for(env_name: str, info: Mapping[str, Any], observation: str) -> SkillQuery:
    """The skill query of an episode.

    Args:
        env_name: The environment's name in skill libraries.
        info: The `info` of `reset()`, with `goal` and `task_type`.
        observation: The first observation.

    Raises:
        ValueError: `info` lacks the goal or the task type.
    """
    for key in ("goal", "task_type"):
        if not isinstance(info.get(key), str):
            raise ValueError(
                f"Skill retrieval needs info[{key!r}] as text, and the environment {env_name!r} gives none; add it to "
                "the info of reset()."
            )
    return SkillQuery(env_name, info["task_type"], info["goal"], observation)


def retrieve_for(
    retriever: Retriever, env_name: str, info: Mapping[str, Any], observation: str, *, stacklevel: int = 2
) -> Retrieval:
    """The skills for an episode that has just begun; warns once per task type that gets none.

    Args:
        retriever: Finds the skills.
        env_name: The environment's name in skill libraries.
        info: The `info` of `reset()`, with `goal` and `task_type`.
        observation: The first observation.
        stacklevel: As in `warnings.warn`, seen from the caller.

    Raises:
        ValueError: `info` lacks the goal or the task type.
    """
    query = query_for(env_name, info, observation)
    found = retriever.retrieve(query)
    warn_once(retriever, query, found, stacklevel=stacklevel + 1)
    return found

"""Skill retrieval as a Gymnasium wrapper: `info["skills"]` holds the skills that a teacher reads."""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium.utils import RecordConstructorArgs

from sdar_gym.skills import Retrieval, Retriever
from sdar_gym.skills.lookup import retrieve_for, skill_env_name
from sdar_gym.text import shortened


class SkillContext(gymnasium.Wrapper[str, str, str, str], RecordConstructorArgs):
    """Adds `info["skills"]`, a `Retrieval`, to every reset and step. Observations are unchanged.

    Skills are retrieved once per episode, from the goal, the task type and the first observation, as in training. Tasks
    without a skill for their type are counted, and a `SkillCoverageWarning` names each such type once per process: a
    teacher without skills is the student itself, and training on it teaches nothing while all curves look normal.

    Args:
        env: An environment with `goal` and `task_type` in its `info`.
        retriever: Finds the skills.
        env_name: Name of the environment in queries; default from its id, `sdar/ALFWorld-v0` gives `alfworld`.

    Attributes:
        tasks: Episodes begun.
        tasks_without_specific_skill: Episodes without a skill for their task type.

    Raises:
        ValueError: The environment has no id and `env_name` is not given, or an argument has the wrong type.
    """

    def __init__(self, env: gymnasium.Env[str, str], retriever: Retriever, env_name: str | None = None):
        if not callable(getattr(retriever, "retrieve", None)):
            raise ValueError(f"retriever must be one as make_retriever() gives, got {shortened(retriever)}.")
        if env_name is not None and (not isinstance(env_name, str) or not env_name):
            raise ValueError(f"env_name must be a text such as 'alfworld', got {shortened(env_name)}.")
        # The retriever itself is recorded, not a copy: an environment made again shares its library and its cache.
        RecordConstructorArgs.__init__(self, retriever=retriever, env_name=env_name, _disable_deepcopy=True)
        gymnasium.Wrapper.__init__(self, env)
        if env_name is None:
            if env.spec is None:
                raise ValueError("The environment has no id to take its name from; say env_name='...'.")
            env_name = skill_env_name(env.spec.id)
        self.retriever = retriever
        self.env_name = env_name
        self.tasks = 0
        self.tasks_without_specific_skill = 0
        self._retrieval: Retrieval | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Begin an episode and retrieve its skills.

        Raises:
            ValueError: The environment's `info` lacks `goal` or `task_type`.
        """
        observation, info = super().reset(seed=seed, options=options)
        self._retrieval = retrieve_for(self.retriever, self.env_name, info, observation)
        self.tasks += 1
        self.tasks_without_specific_skill += not self._retrieval.specific
        return observation, {**info, "skills": self._retrieval}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Play one turn; `info["skills"]` is the episode's."""
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, float(reward), terminated, truncated, {**info, "skills": self._retrieval}

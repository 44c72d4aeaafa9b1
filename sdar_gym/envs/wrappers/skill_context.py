"""Puts retrieved skills beside each turn, for the teacher to read."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium
from gymnasium.envs.registration import parse_env_id
from gymnasium.utils import RecordConstructorArgs

from sdar_gym.skills import Retrieval, Retriever, SkillCoverageWarning, SkillQuery
from sdar_gym.skills.warnings import coverage_gap
from sdar_gym.text import shortened, terminal_safe

# The name by which this wrapper's users know it; training warns with the same one.
NoSpecificSkillWarning = SkillCoverageWarning


class SkillContext(gymnasium.Wrapper[str, str, str, str], RecordConstructorArgs):
    """Adds `info["skills"]`, a `Retrieval`, to every reset and step. Observations stay as they are.

    Skills are retrieved once an episode, from the goal, the task type and the first observation. A task that gets no
    skill of its own type is counted, and the first of each type is warned about: a teacher without skills is the
    student itself, and training on it teaches nothing while looking quite normal.

    Args:
        env: An environment whose `info` holds `goal` and `task_type`.
        retriever: Where the skills come from.
        env_name: Name of the environment in queries; default from its id, `sdar/ALFWorld-v0` gives `alfworld`.

    Attributes:
        tasks: Episodes begun.
        tasks_without_specific_skill: Episodes whose task got no skill of its own type.

    Raises:
        ValueError: The environment has no id and `env_name` is not given, or an argument is of another kind.
    """

    def __init__(self, env: gymnasium.Env[str, str], retriever: Retriever, env_name: str | None = None):
        if not callable(getattr(retriever, "retrieve", None)):
            raise ValueError(f"retriever must be one as make_retriever() gives, got {shortened(retriever)}.")
        if env_name is not None and (not isinstance(env_name, str) or not env_name):
            raise ValueError(f"env_name must be a text such as 'alfworld', got {shortened(env_name)}.")
        # The retriever itself is recorded, not a copy: an environment made again shares its library and its answers.
        RecordConstructorArgs.__init__(self, retriever=retriever, env_name=env_name, _disable_deepcopy=True)
        gymnasium.Wrapper.__init__(self, env)
        if env_name is None:
            if env.spec is None:
                raise ValueError("The environment has no id to take its name from; say env_name='...'.")
            env_name = parse_env_id(env.spec.id)[1].lower()
        self.retriever = retriever
        self.env_name = env_name
        self.tasks = 0
        self.tasks_without_specific_skill = 0
        self._warned: set[str] = set()
        self._retrieval: Retrieval | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Begin an episode and retrieve its skills.

        Raises:
            ValueError: The environment's `info` lacks `goal` or `task_type`.
        """
        observation, info = super().reset(seed=seed, options=options)
        missing = [key for key in ("goal", "task_type") if not isinstance(info.get(key), str)]
        if missing:
            raise ValueError(
                f"SkillContext needs info[{missing[0]!r}] as text, and {type(self.unwrapped).__name__} gives none; "
                "add it to the info of reset()."
            )
        task_type = info["task_type"]
        query = SkillQuery(self.env_name, task_type, info["goal"], observation)
        self._retrieval = self.retriever.retrieve(query)
        self.tasks += 1
        if not self._retrieval.specific:
            self.tasks_without_specific_skill += 1
            self._warn(query, self._retrieval)
        return observation, {**info, "skills": self._retrieval}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Play one turn; the skills are those of the episode."""
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, float(reward), terminated, truncated, {**info, "skills": self._retrieval}

    def _warn(self, query: SkillQuery, found: Retrieval) -> None:
        message = coverage_gap(self.retriever, query, found)
        if message is None or query.task_type in self._warned:
            return
        self._warned.add(query.task_type)
        warnings.warn(terminal_safe(message), SkillCoverageWarning, stacklevel=3)

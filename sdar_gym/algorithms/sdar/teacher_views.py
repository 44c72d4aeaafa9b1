"""Writes the prompts of a teacher that looks back, before the update scores them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sdar_gym.algorithms.sdar.config import SDARConfig
from sdar_gym.algorithms.teachers import View
from sdar_gym.rollout.build import build_context
from sdar_gym.rollout.episode import Episode
from sdar_gym.rollout.views import SolutionBook, attach_teacher_prompts
from sdar_gym.skills.lookup import skill_env_name


class TeacherViews:
    """The method's view of finished episodes; does nothing where skills or other weights teach.

    Args:
        config: The run's.
        tokenizer: The policy's.

    Raises:
        ValueError: The environment cannot offer what the view shows.
    """

    def __init__(self, config: SDARConfig, tokenizer: Any):
        teacher = config.get_objective().teacher
        self._teacher = teacher if teacher is not None and teacher.after_rollout else None
        if self._teacher is None:
            return
        env_id = str(config.env)
        self._env_name = skill_env_name(env_id)
        self._context = build_context(tokenizer, env_id, config.env_config, config.rollout_settings)
        solution = self._teacher.view is View.SOLUTION
        self._solutions = SolutionBook(env_id, config.env_config) if solution else None

    def write(self, episodes: Sequence[Episode]) -> dict[str, float]:
        """Fill in the teacher's prompts of all turns.

        Args:
            episodes: Whole groups.

        Returns:
            The share of turns that got one, as `view_coverage`; empty where nothing is written.
        """
        if self._teacher is None:
            return {}
        report = attach_teacher_prompts(
            episodes,
            str(self._teacher.view),
            self._context,
            env_name=self._env_name,
            solutions=self._solutions,
            control="blank" if self._teacher.blank_control else None,
        )
        return {"view_coverage": report.coverage}

"""The expert of problems: it answers with the reference solution."""

from __future__ import annotations

from typing import Any

from sdar_gym.envs.problems.env import ProblemEnv
from sdar_gym.envs.text_env import TextEnv


class ReferenceExpert:
    """Scripted policy that reads the problem's solution; the upper bound of what the verifier accepts."""

    def __init__(self) -> None:
        self._answer = ""

    def begin(self, env: TextEnv, observation: str, info: dict[str, Any]) -> None:
        """Read the solution of the episode's problem.

        Raises:
            TypeError: The environment has no problems with solutions.
        """
        if not isinstance(env, ProblemEnv):
            raise TypeError(f"This expert plays environments with problems, not {type(env).__name__}.")
        self._answer = env.reference_answer()

    def act(self, observation: str, info: dict[str, Any]) -> str:
        """The whole solution, in the form of an answer."""
        return self._answer

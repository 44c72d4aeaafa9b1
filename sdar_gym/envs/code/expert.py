"""The expert of programming tasks: it answers with the reference program."""

from __future__ import annotations

from sdar_gym.envs.problems.expert import ReferenceExpert


class Expert(ReferenceExpert):
    """Scripted policy that reads the task's reference program.

    `begin` raises `ValueError` for a task without one, such as those of LiveCodeBench.
    """

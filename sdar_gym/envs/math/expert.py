"""Math's expert: the worked solution, with the answer in a box."""

from __future__ import annotations

from sdar_gym.envs.problems.expert import ReferenceExpert


class Expert(ReferenceExpert):
    """Answers with the problem's own solution."""

"""Science's expert: it answers with the worked solution."""

from __future__ import annotations

from sdar_gym.envs.problems.expert import ReferenceExpert as Expert

__all__ = ["Expert"]

"""verifiers: the module that `vf-eval sdar_gym_env` loads. It exports one taskset and one environment."""

from sdar_gym.integrations.verifiers import GymEnv, GymTaskset

__all__ = ["GymEnv", "GymTaskset"]

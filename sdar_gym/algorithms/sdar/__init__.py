"""SDAR on RLlib: an ordinary `AlgorithmConfig` and an ordinary Tune trainable, registered as `SDAR`.

The only place in the gym that imports Ray.
"""

from ray import tune

from sdar_gym.algorithms.sdar.algorithm import SDAR
from sdar_gym.algorithms.sdar.config import SDARConfig

tune.register_trainable("SDAR", SDAR)

__all__ = ["SDAR", "SDARConfig"]

"""SDAR on RLlib: an ordinary `AlgorithmConfig` and an ordinary Tune trainable, registered as `SDAR`.

The only package of the gym that imports Ray, apart from `runs/train.py`, which starts it, and the optional retrieval
actor of Search-QA.
"""

from ray import tune

from sdar_gym.algorithms.sdar.algorithm import SDAR
from sdar_gym.algorithms.sdar.config import SDARConfig
from sdar_gym.algorithms.sdar.run_metrics import with_run_names

tune.register_trainable("SDAR", SDAR)

__all__ = ["SDAR", "SDARConfig", "with_run_names"]

"""SDAR Gym: text environments, skill retrieval and self-distilled agentic reinforcement learning.

Importing this package registers the environments; it needs gymnasium and numpy only, and takes under a second. Torch,
Ray and Java load where they are used.
"""

from sdar_gym.envs import load_plugins as _load_plugins
from sdar_gym.envs.builtin import register_builtin as _register_builtin

__version__ = "0.1.0"

_register_builtin()
_load_plugins()

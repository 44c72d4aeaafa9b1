"""SDAR Gym: text environments, skill retrieval and self-distilled agentic reinforcement learning.

Importing this package registers the environments; it needs only gymnasium and numpy, and takes under a second. Torch,
Ray and Java are imported when they are used.
"""

from sdar_gym import envs as _envs

__version__ = "0.1.0"

_envs.register_builtin()
_envs.load_plugins()

"""SDAR Gym: text environments, skill retrieval and self-distilled agentic reinforcement learning.

Importing this package registers the environments; it needs gymnasium and numpy only, and takes under a second. Torch,
Ray and Java load where they are used: `SDARConfig` and `SDAR` import Ray when they are first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import gymnasium as _gymnasium

from sdar_gym.envs import TextEnv, register

if TYPE_CHECKING:
    from sdar_gym.algorithms.sdar import SDAR, SDARConfig
    from sdar_gym.testing import check_text_env

__version__ = "0.1.0"
__all__ = ["SDAR", "SDARConfig", "TextEnv", "__version__", "check_text_env", "make", "register"]

# The names that are imported on first use, by the module that has them.
_LAZY = {
    "SDAR": "sdar_gym.algorithms.sdar",
    "SDARConfig": "sdar_gym.algorithms.sdar",
    "check_text_env": "sdar_gym.testing",
}


def make(id: str, **kwargs: Any) -> _gymnasium.Env[str, str]:
    """Make a registered environment: `gymnasium.make`, with the gym's environments and all plug-ins registered.

    Args:
        id: An id such as `sdar/ALFWorld-v0`; `sdar-gym envs` lists them.
        **kwargs: Arguments of the environment, and those of `gymnasium.make`.

    Raises:
        gymnasium.error.Error: There is no such environment.
        ValueError: An argument has a value that the environment does not take.
    """
    return _gymnasium.make(id, **kwargs)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _LAZY[name].startswith("sdar_gym.algorithms"):
        from sdar_gym.extras import MissingExtraError, require

        try:
            require("train", f"sdar_gym.{name}")
        except MissingExtraError as error:
            raise ImportError(str(error), name=__name__) from error
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _register_all() -> None:
    from sdar_gym.envs.builtin import register_builtin
    from sdar_gym.envs.registry import load_plugins

    register_builtin()
    load_plugins()


# Last, because a plug-in may import any of the names above.
_register_all()

"""Makes environments from an id and arguments; errors name the argument."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from typing import Any

import gymnasium

from sdar_gym.envs.registry import entry_of
from sdar_gym.envs.text_env import TextEnv
from sdar_gym.text import closest


def make_env(env_id: str, env_config: Mapping[str, Any]) -> TextEnv:
    """Makes an environment.

    Raises:
        ValueError: The id is not registered, or an argument is unknown or invalid.
    """
    module, _, name = entry_of(env_id).entry_point.partition(":")
    known = [key for key in signature(getattr(import_module(module), name)).parameters if key != "render_mode"]
    unknown = sorted(set(env_config) - set(known))
    if unknown:
        close = closest(unknown[0], known)
        hint = f" Did you mean env_config.{close}?" if close else ""
        raise ValueError(f"{env_id} has no argument {', '.join(unknown)}; it has {', '.join(known)}.{hint}")
    with warnings.catch_warnings():
        # Gymnasium recommends wrappers that are of no use for batches of conversations.
        warnings.simplefilter("ignore", UserWarning)
        try:
            env = gymnasium.make(env_id, **env_config).unwrapped
        except TypeError as error:
            raise ValueError(f"The arguments do not fit {env_id}: {error}.") from error
    if not isinstance(env, TextEnv):
        raise ValueError(f"{env_id} is not a TextEnv: {type(env).__name__}.")
    return env

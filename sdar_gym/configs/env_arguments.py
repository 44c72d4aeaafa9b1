"""Environment arguments: types that the constructor declares, values read from text, absolute paths."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, get_type_hints

from sdar_gym.configs.path_settings import absolute_path_setting
from sdar_gym.configs.typed import is_path, wants_text
from sdar_gym.envs.registry import entries
from sdar_gym.text import shortened

# Values of path arguments that are names, not paths.
_NAMES = frozenset({"generated", "embedded"})


def argument_types(env_id: str) -> dict[str, Any] | None:
    """The declared types of an environment's arguments by name; None if they cannot be determined.

    Nothing is raised: errors of an environment are reported where it is made.
    """
    entry = next((entry for entry in entries() if entry.id == env_id), None)
    if entry is None:
        return None
    module, _, name = entry.entry_point.partition(":")
    try:
        constructor = getattr(import_module(module), name).__init__
        parameters = inspect.signature(constructor).parameters.values()
    except Exception:  # A third party's module may raise anything on import.
        return None
    try:
        hints = get_type_hints(constructor)
    except Exception:
        hints = {}
    return {
        parameter.name: hints.get(parameter.name, Any)
        for parameter in list(parameters)[1:]
        if parameter.name != "render_mode" and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }


def with_absolute_paths(env_id: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with their paths made absolute, so that a saved record does not depend on the working directory.

    Raises:
        PathError: A path is an address, or cannot be a path.
    """
    hints = argument_types(env_id) or {}
    return {
        name: absolute_path_setting(f"env_config.{name}", value)
        if isinstance(value, str) and value not in _NAMES and is_path(hints.get(name, Any))
        else value
        for name, value in arguments.items()
    }


def arguments_of(env_id: str, pairs: Sequence[str]) -> dict[str, Any]:
    """`key=value` pairs as arguments of an environment: text where it declares text, else a number or word.

    Raises:
        ValueError: A pair is not `key=value`, or a path is invalid.
    """
    hints = argument_types(env_id) or {}
    result: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"{shortened(pair)} is not of the form key=value.")
        result[key.strip()] = value if wants_text(hints.get(key.strip(), Any)) else _looks_like(value)
    return with_absolute_paths(env_id, result)


def _looks_like(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False, "none": None}.get(text.lower(), text)

"""Loads a configuration by name or path and applies `key=value` changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, is_dataclass
from importlib.resources import files
from types import NoneType
from typing import Any, get_origin

import yaml

from sdar_gym.configs.env_arguments import argument_types
from sdar_gym.configs.reading import ConfigError, UnknownSettingError, child_hint, dotted, read
from sdar_gym.configs.schema import RunConfig, parse_run_config, special_types
from sdar_gym.configs.strict_yaml import MAX_CHARACTERS, MAX_DEPTH, Values, YamlError, compose
from sdar_gym.configs.typed import Free, takes_list, wants_text
from sdar_gym.envs.registry import load_modules
from sdar_gym.paths import first_line, local_path
from sdar_gym.settings import members
from sdar_gym.text import shortened, terminal_safe
from sdar_gym.validation import text_list

# The configuration for language models, with published lengths and prompts.
PUBLISHED = "published"


# Folder of the published settings by environment and model: `paper/alfworld-qwen2.5-3b`.
PAPER = "paper/"
# Configurations of the tiny policy: `quickstart` for ALFWorld, `quickstart-webshop`, ….
QUICKSTART = "quickstart"


def builtin_configs() -> list[str]:
    """Names of the configurations that ship with the gym."""
    place = files("sdar_gym.configs")
    return sorted(
        folder + entry.name.removesuffix(".yaml")
        for folder in ("", PAPER)
        for entry in place.joinpath(folder).iterdir()
        if entry.name.endswith(".yaml")
    )


def load_config(name: str, changes: Sequence[str] = ()) -> RunConfig:
    """Loads a configuration.

    Args:
        name: Name of a built-in configuration, or path of a YAML file.
        changes: `key=value` with dots for sections: `training.lr=1e-4`, `env_config.games=PATH`. Values are YAML;
            values of text settings are taken verbatim.

    Raises:
        ConfigError: The configuration does not exist, or has an unknown key or an invalid value.
    """
    root, origin = _read_tree(name)
    parsed = [_Change.parse(change) for change in changes]
    before = next((str(value.value) for key, value in root.value if key.value == "env"), "")
    env = next((change.value for change in reversed(parsed) if change.path == ("env",)), before)
    _with_origin(origin, lambda: _import(root, parsed))
    special = special_types(env)
    content = _with_origin(origin, lambda: read(root, RunConfig, "", Values(), special))
    if env != before:
        _change_environment(content, before, env, name if name in builtin_configs() else None, origin, parsed)
    for change in parsed:
        _with_origin(origin, lambda change=change: change.apply(content, special))
    return parse_run_config(content, origin, changes)


def _import(root: yaml.MappingNode, changes: Sequence[_Change]) -> None:
    """Imports the modules of `imports` before the rest is read: they may register the environment and its settings."""
    content: dict[str, Any] = {}
    for key, value in root.value:
        if key.value == "imports":
            content["imports"] = read(value, list[str], "imports", Values(), {})
    for change in changes:
        if change.path == ("imports",):
            change.apply(content, {})
    load_modules(text_list("imports", content.get("imports", [])))


@dataclass(frozen=True, slots=True)
class _Change:
    """One `key=value`."""

    text: str
    path: tuple[str, ...]
    value: str

    @classmethod
    def parse(cls, text: str) -> _Change:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"{shortened(text)} is not of the form key=value.")
        path = tuple(key.strip().split("."))
        if len(path) > MAX_DEPTH:
            raise ConfigError(f"{shortened(text)} leads more than {MAX_DEPTH} levels down.")
        return cls(text, path, value.strip())

    def apply(self, content: dict[str, Any], special: dict[str, Any]) -> None:
        """Writes the value into a configuration's content."""
        hint, where, place = RunConfig, "", content
        for key in self.path[:-1]:
            hint, where = child_hint(self._group(hint, where), key, where, special), dotted(where, key)
            inner: Any = place[key] if place.get(key) is not None else {}
            if isinstance(inner, str) and isinstance(hint, Free) and "name" in hint.known:
                inner = {"name": inner}  # A gate or shaper that is named alone.
            if not isinstance(inner, dict):
                raise ConfigError(f"{shortened(self.text)}: {where} is a value, not a section")
            place[key] = place = inner
        last = self.path[-1]
        place[last] = self._value(
            child_hint(self._group(hint, where), last, where, special), dotted(where, last), special
        )

    def _group(self, hint: Any, where: str) -> Any:
        """The type that has the keys of a section."""
        for kind in members(hint):
            if isinstance(kind, Free) or is_dataclass(kind) or get_origin(kind) is dict:
                return kind
        if all(kind in (str, int, float, bool, NoneType) or get_origin(kind) for kind in members(hint)):
            raise ConfigError(f"{shortened(self.text)}: {where} is a value, not a section")
        return Free({})

    def _value(self, hint: Any, where: str, special: dict[str, Any]) -> Any:
        is_list = self.value[:1] == "[" and takes_list(hint)
        if wants_text(hint) and not is_list and self.value[:1] not in ("'", '"'):
            empty = NoneType in members(hint) and self.value in ("", "~", "null")
            return None if empty else self.value
        try:
            node = compose(self.value)
            if node is None:
                node = yaml.ScalarNode("tag:yaml.org,2002:null", "")
            return read(node, hint, where, Values(scientific=True), special)
        except YamlError as error:
            raise ConfigError(f"The value of {shortened(self.text)} is not YAML: {error}") from error


def _read_tree(name: str) -> tuple[yaml.MappingNode, str]:
    """The YAML tree of a configuration, and its name for messages."""
    if name in builtin_configs():
        text, origin = files("sdar_gym.configs").joinpath(f"{name}.yaml").read_text(encoding="utf-8"), name
    else:
        path, origin = local_path("configuration", name), terminal_safe(name)
        try:
            if not path.is_file():
                raise FileNotFoundError
            with path.open(encoding="utf-8-sig") as file:
                text = file.read(MAX_CHARACTERS + 1)
        except FileNotFoundError:
            raise ConfigError(
                f"No configuration {shortened(name)}: neither a file nor a built-in one ({_listed(name)})."
            ) from None
        except (OSError, UnicodeError) as error:
            raise ConfigError(f"Cannot read {origin}: {first_line(error)}.") from error
    try:
        root = compose(text)
    except YamlError as error:
        raise ConfigError(f"{origin} is not valid YAML: {error}.") from error
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{origin} holds no settings; write lines such as env: sdar/ALFWorld-v0.")
    return root, origin


def _listed(name: str) -> str:
    """The built-in configurations for a message; those of the paper in full only where one of them was meant."""
    names = builtin_configs()
    if name.startswith(PAPER):
        return ", ".join(known for known in names if known.startswith(PAPER))
    return ", ".join(known for known in names if not known.startswith(PAPER)) + f", {PAPER}<environment>-<model>"


def _with_origin(origin: str, function: Any) -> Any:
    """Calls a function; its errors name the configuration."""
    try:
        return function()
    except UnknownSettingError as error:
        raise ConfigError(error.in_file(origin)) from error
    except YamlError as error:
        raise ConfigError(f"{origin} is not valid YAML: {error}.") from error
    except ValueError as error:
        raise ConfigError(f"{str(error).removesuffix('.')} (in {origin}).") from error


def _change_environment(
    content: dict[str, Any], before: str, env: str, builtin: str | None, origin: str, changes: Sequence[_Change]
) -> None:
    """Removes the settings of the configuration's environment when a change selects another environment.

    Settings of a built-in configuration are replaced: by those of the configuration of the same family for the other
    environment, whole for language models. Those of a user's file were chosen by the user, so arguments that do not fit
    are an error.
    """
    if builtin is None:
        known = argument_types(env)
        unknown = [key for key in content.get("env_config") or {} if known is not None and key not in known]
        if unknown and not any(change.path == ("env_config",) for change in changes):
            raise ConfigError(
                f"env={env} does not take env_config.{', env_config.'.join(unknown)}, which {origin} sets for "
                f"{before}. Put 'env_config={{}}' first, then arguments of {env}: {', '.join(known or ())}."
            )
        return
    home = next((other for other in _family(builtin) if _environment_of(other) == env), None)
    kept = read(_read_tree(home)[0], RunConfig, "", Values(), special_types(env)) if home else {}
    if home and builtin != PUBLISHED and not builtin.startswith(QUICKSTART):
        content.clear()
        content.update(kept)
        return
    content["env_config"] = {} if builtin == PUBLISHED else kept.get("env_config", {})
    for section, names in _ENVIRONMENT_SETTINGS.items():
        if builtin == PUBLISHED and section != "evaluation":
            continue  # Lengths and prompts for language models do not depend on the environment.
        settings = dict(content.get(section) or {})
        for key in names if not home or section == "evaluation" else list(settings):
            settings.pop(key, None)
        known = kept.get(section, {})
        content[section] = settings | {key: known[key] for key in known if section != "evaluation" or key in names}


def _family(builtin: str) -> list[str]:
    """The built-in configurations of the same kind for other environments: tiny policy, one GPU, or a paper's model."""
    names = builtin_configs()
    if builtin.startswith(PAPER):
        model = builtin.partition("-")[2]
        return [name for name in names if name.startswith(PAPER) and name.partition("-")[2] == model]
    if builtin.startswith(QUICKSTART):
        return [name for name in names if name.startswith(QUICKSTART)]
    return [name for name in names if not name.startswith((PAPER, QUICKSTART, PUBLISHED))]


# Settings, beside env_config, that are chosen for one environment. If the new environment has a configuration for the
# tiny policy, its sections `rollout` and `skills` are taken whole, since lengths of prompts and responses depend on it.
_ENVIRONMENT_SETTINGS = {"rollout": ("prompt",), "skills": ("library",), "evaluation": ("split", "panel")}


def _environment_of(builtin: str) -> str:
    """The environment of a built-in configuration."""
    return next(str(value.value) for key, value in _read_tree(builtin)[0].value if key.value == "env")

"""Finds a configuration by name or path and lays `key=value` changes over it."""

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
from sdar_gym.paths import first_line, local_path
from sdar_gym.settings import members
from sdar_gym.text import shortened, terminal_safe

# The configuration of language models: published lengths and prompts.
PUBLISHED = "published"


def builtin_configs() -> list[str]:
    """Names of the configurations that ship with the gym."""
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in files("sdar_gym.configs").iterdir()
        if entry.name.endswith(".yaml")
    )


def load_config(name: str, changes: Sequence[str] = ()) -> RunConfig:
    """Read a configuration.

    Args:
        name: A built-in one by name, or a YAML file.
        changes: `key=value`, dots for sections: `training.lr=1e-4`, `env_config.games=PATH`. Values are YAML, but for
            settings that are texts, whose values are taken as they are.

    Raises:
        ConfigError: There is no such configuration, or something in it is wrong.
    """
    root, origin = _read(name)
    asked = [_Change.parse(change) for change in changes]
    before = next((str(value.value) for key, value in root.value if key.value == "env"), "")
    env = next((change.value for change in reversed(asked) if change.path == ("env",)), before)
    special = special_types(env)
    content = _told(origin, lambda: read(root, RunConfig, "", Values(), special))
    if env != before:
        _fit(content, before, env, name if name in builtin_configs() else None, origin, asked)
    for change in asked:
        _told(origin, lambda change=change: change.apply(content, special))
    return parse_run_config(content, origin, changes)


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
        """Put the value where it belongs."""
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
        place[last] = self._read(
            child_hint(self._group(hint, where), last, where, special), dotted(where, last), special
        )

    def _group(self, hint: Any, where: str) -> Any:
        """What the keys within a setting are."""
        for kind in members(hint):
            if isinstance(kind, Free) or is_dataclass(kind) or get_origin(kind) is dict:
                return kind
        if all(kind in (str, int, float, bool, NoneType) or get_origin(kind) for kind in members(hint)):
            raise ConfigError(f"{shortened(self.text)}: {where} is a value, not a section")
        return Free({})

    def _read(self, hint: Any, where: str, special: dict[str, Any]) -> Any:
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


def _read(name: str) -> tuple[yaml.MappingNode, str]:
    """The tree of a configuration, and what to call it."""
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
            known = ", ".join(builtin_configs())
            raise ConfigError(
                f"No configuration {shortened(name)}: neither a file nor a built-in one ({known})."
            ) from None
        except (OSError, UnicodeError) as error:
            raise ConfigError(f"Cannot read {origin}: {first_line(error)}.") from error
    try:
        root = compose(text)
    except YamlError as error:
        raise ConfigError(f"{origin} is not valid YAML: {error}.") from error
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{origin} holds no settings.")
    return root, origin


def _told(origin: str, do: Any) -> Any:
    """Call, and say in errors where it was written."""
    try:
        return do()
    except UnknownSettingError as error:
        raise ConfigError(error.told(origin)) from error
    except YamlError as error:
        raise ConfigError(f"{origin} is not valid YAML: {error}.") from error
    except ConfigError as error:
        raise ConfigError(f"{error} (in {origin}).") from error


def _fit(
    content: dict[str, Any], before: str, env: str, builtin: str | None, origin: str, changes: Sequence[_Change]
) -> None:
    """Leave out what belongs to the environment that was changed for another one.

    Of a configuration that ships with the gym nobody has asked for those settings; what is in somebody's own file is
    for them to change.
    """
    if builtin is None:
        known = argument_types(env)
        strange = [key for key in content.get("env_config") or {} if known is not None and key not in known]
        if strange and not any(change.path == ("env_config",) for change in changes):
            raise ConfigError(
                f"env={env} was asked for, but env_config.{', env_config.'.join(strange)} in {origin} belong to "
                f"{before}. Say 'env_config={{}}' before what {env} is to have: {', '.join(known or ())}."
            )
        return
    others = [other for other in builtin_configs() if other != PUBLISHED]
    home = next((other for other in others if _environment(other) == env), None)
    kept = read(_read(home)[0], RunConfig, "", Values(), special_types(env)) if home else {}
    content["env_config"] = {} if builtin == PUBLISHED else kept.get("env_config", {})
    for section, names in _OF_THE_ENVIRONMENT.items():
        if builtin == PUBLISHED and section != "evaluation":
            continue  # Its lengths and prompts are those of language models, whatever the environment.
        settings = dict(content.get(section) or {})
        for key in names if not home or section == "evaluation" else list(settings):
            settings.pop(key, None)
        known = kept.get(section, {})
        content[section] = settings | {key: known[key] for key in known if section != "evaluation" or key in names}


# Beside env_config: what is chosen for one environment. Where a configuration for the new one ships, its sections
# `rollout` and `skills` are taken whole, as the lengths of prompts and answers are chosen for an environment too.
_OF_THE_ENVIRONMENT = {"rollout": ("prompt",), "skills": ("library",), "evaluation": ("split", "panel")}


def _environment(builtin: str) -> str:
    return next(str(value.value) for key, value in _read(builtin)[0].value if key.value == "env")

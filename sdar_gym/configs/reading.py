"""Reads YAML trees as settings: types decide how texts are read, and errors name the setting and its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from types import NoneType
from typing import Any, get_args, get_origin

import yaml

from sdar_gym.configs.strict_yaml import Values, as_number, as_truth, is_null, is_plain
from sdar_gym.configs.typed import Free, wants_text
from sdar_gym.settings import hints_of, members
from sdar_gym.text import closest, shortened

# Settings that had another name in earlier versions.
RENAMED = {
    "algorithm": "method",
    "training.objective_by_algorithm": "objective_by_method",
    "policy.teacher_residence": "offload_teacher",
}


class ConfigError(ValueError):
    """A configuration with an unknown key or a senseless value."""


def read(node: yaml.Node, hint: Any, where: str, values: Values, special: Mapping[str, Any], depth: int = 0) -> Any:
    """The value of a node for a setting; groups of settings come as dictionaries.

    Args:
        node: What was written.
        hint: Type of the setting.
        where: Name of the setting, for messages; empty at the top.
        values: Makes the values, and refuses too many.
        special: Types of settings by name that are narrower than what their data class says.
        depth: Levels above.

    Raises:
        ConfigError: A key is unknown, or a group of settings is none.
        YamlError: The tree is too large.
    """
    values.count(node, depth)
    hint = special.get(where, hint)
    kinds = members(hint)
    group = next(
        (kind for kind in kinds if isinstance(kind, Free) or is_dataclass(kind) or get_origin(kind) is dict), None
    )
    if group is not None:
        if is_null(node) and NoneType in kinds:
            return None
        if not isinstance(node, yaml.MappingNode):
            if isinstance(group, Free):  # Whoever checks it says what is wrong.
                if isinstance(node, yaml.ScalarNode):
                    return _scalar(node, members(group.scalar), group.scalar, values, depth)
                return values.plain(node, depth)
            raise ConfigError(f"{where or 'A configuration'} is a group of settings (key: value), got {_what(node)}")
        return {
            key: read(value, child_hint(group, key, where, special), dotted(where, key), values, special, depth + 1)
            for key, value in values.pairs(node, depth)
        }
    if isinstance(node, yaml.SequenceNode) and any(get_origin(kind) in (list, tuple, Sequence) for kind in kinds):
        kind = next(kind for kind in kinds if get_origin(kind) in (list, tuple, Sequence))
        return [read(one, (get_args(kind) or (Any,))[0], where, values, special, depth + 1) for one in node.value]
    if not isinstance(node, yaml.ScalarNode):
        if wants_text(hint) or not _anything(kinds):
            raise ConfigError(f"{where} is a single value, got {_what(node)}")
        return values.plain(node, depth)
    return _scalar(node, kinds, hint, values, depth)


def child_hint(group: Any, key: Any, where: str, special: Mapping[str, Any]) -> Any:
    """The type of a setting within a group.

    Raises:
        ConfigError: The group has no such setting.
    """
    name = dotted(where, str(key))
    if name in special:
        return special[name]
    if isinstance(group, Free):
        return group.known.get(key, Any)
    if not is_dataclass(group):
        return get_args(group)[1]
    hints = hints_of(group)  # pyright: ignore[reportArgumentType]
    if key not in hints:
        close = RENAMED.get(name) or closest(key, hints)
        prefix = f"{where}." if where else ""
        hint = f" Did you mean {prefix}{close}?" if close else f" Known here: {', '.join(hints)}."
        raise UnknownSettingError(f"{prefix}{_shown(key)}", hint)
    return hints[key]


class UnknownSettingError(ConfigError):
    """A key that no setting has; where it was written is still to be said."""

    def __init__(self, name: str, hint: str):
        super().__init__(f"Unknown setting {name}.{hint}")
        self._name, self._hint = name, hint

    def told(self, origin: str) -> str:
        """The message with where it was written."""
        return f"Unknown setting {self._name} (in {origin}).{self._hint}"


def dotted(where: str, key: str) -> str:
    """A setting's name within a group's."""
    return f"{where}.{key}" if where else key


def _scalar(node: yaml.ScalarNode, kinds: tuple[Any, ...], hint: Any, values: Values, depth: int) -> Any:
    if is_null(node) and NoneType in kinds:
        return None
    text = str(node.value)
    if wants_text(hint):
        return text
    if not is_plain(node):
        return values.plain(node, depth)
    if bool in kinds:
        return as_truth(text)
    if int in kinds or float in kinds:
        return None if is_null(node) else as_number(text)
    return values.plain(node, depth)


def _anything(kinds: tuple[Any, ...]) -> bool:
    """Whether a type says too little to refuse a list or a group."""
    return any(kind not in (str, int, float, bool, NoneType) for kind in kinds)


def _what(node: yaml.Node) -> str:
    place = f" (line {node.start_mark.line + 1})" if node.start_mark else ""
    if isinstance(node, yaml.ScalarNode):
        return f"{shortened(node.value) if node.value else 'nothing'}{place}"
    return f"a {'list' if isinstance(node, yaml.SequenceNode) else 'group'}{place}"


def _shown(key: Any) -> str:
    quoted = shortened(str(key))
    return quoted[1:-1] if quoted[1:-1] == str(key) else quoted

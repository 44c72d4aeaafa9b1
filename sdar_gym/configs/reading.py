"""Reads YAML trees as settings: types decide how text is read, and errors name the setting and the line."""

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
# Settings of the objective, which are often written one or two levels too high.
_OF_THE_OBJECTIVE = ("teacher", "distill", "shaping", "advantage", "policy_coeff", "kl_coeff", "entropy_coeff")


class ConfigError(ValueError):
    """An unknown key or an invalid value in a configuration."""


def read(node: yaml.Node, hint: Any, where: str, values: Values, special: Mapping[str, Any], depth: int = 0) -> Any:
    """The value of a setting from its YAML node; groups of settings become dictionaries.

    Args:
        node: The YAML node.
        hint: Type of the setting.
        where: Name of the setting, for messages; empty at the top.
        values: Converts nodes to values, and limits their number.
        special: Narrower types than the data classes declare, by name of the setting.
        depth: Nesting level of the node.

    Raises:
        ConfigError: A key is unknown, or a value stands where a group of settings is required, or the reverse.
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
            if isinstance(group, Free):  # Checked later, by the class of the group.
                if isinstance(node, yaml.ScalarNode):
                    return _scalar(node, members(group.scalar), group.scalar, values, depth)
                return values.plain(node, depth)
            raise ConfigError(
                f"{where or 'A configuration'} is a group of settings (key: value), got {_described(node)}"
            )
        return {
            key: read(value, child_hint(group, key, where, special), dotted(where, key), values, special, depth + 1)
            for key, value in values.pairs(node, depth)
        }
    if isinstance(node, yaml.SequenceNode) and any(get_origin(kind) in (list, tuple, Sequence) for kind in kinds):
        kind = next(kind for kind in kinds if get_origin(kind) in (list, tuple, Sequence))
        return [read(one, (get_args(kind) or (Any,))[0], where, values, special, depth + 1) for one in node.value]
    if not isinstance(node, yaml.ScalarNode):
        if wants_text(hint) or not _accepts_structures(kinds):
            raise ConfigError(f"{where} is a single value, got {_described(node)}")
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
        prefix = f"{where}." if where else ""
        if where in ("", "training") and key in _OF_THE_OBJECTIVE:
            raise UnknownSettingError(f"{prefix}{key}", f" Did you mean training.objective.{key}?")
        close = RENAMED.get(name) or closest(key, hints)
        hint = f" Did you mean {prefix}{close}?" if close else f" Known here: {', '.join(hints)}."
        raise UnknownSettingError(f"{prefix}{_key_text(key)}", hint)
    return hints[key]


class UnknownSettingError(ConfigError):
    """An unknown key; `in_file` adds the file to the message."""

    def __init__(self, name: str, hint: str):
        super().__init__(f"Unknown setting {name}.{hint}")
        self._name, self._hint = name, hint

    def in_file(self, origin: str) -> str:
        """The message with the name of the file or configuration."""
        return f"Unknown setting {self._name} (in {origin}).{self._hint}"


def dotted(where: str, key: str) -> str:
    """The full name of a setting in a group: `training.lr`."""
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


def _accepts_structures(kinds: tuple[Any, ...]) -> bool:
    """Whether a type is too general to refuse a list or a group."""
    return any(kind not in (str, int, float, bool, NoneType) for kind in kinds)


def _described(node: yaml.Node) -> str:
    place = f" (line {node.start_mark.line + 1})" if node.start_mark else ""
    if isinstance(node, yaml.ScalarNode):
        return f"{shortened(node.value) if node.value else 'nothing'}{place}"
    return f"a {'list' if isinstance(node, yaml.SequenceNode) else 'group'}{place}"


def _key_text(key: Any) -> str:
    """A key as it is shown in messages: quoted only if it is long or has special characters."""
    quoted = shortened(str(key))
    return quoted[1:-1] if quoted[1:-1] == str(key) else quoted

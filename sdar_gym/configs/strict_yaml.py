"""Strict YAML reader: no duplicate keys, bounded depth and size, types decided by the settings.

PyYAML takes the last of two equal keys, and reads `no` as false, `1:30` as ninety and `2024-01-01` as a date. Here a
text stays as it was written until the type of its setting decides its value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from sdar_gym.text import shortened, terminal_safe

MAX_CHARACTERS = 200_000
MAX_DEPTH = 32
# Bounds aliases: with them a short file can stand for any number of values.
MAX_VALUES = 20_000

_CORE = "tag:yaml.org,2002:"
_TEXT, _NULL, _BOOL, _INT, _FLOAT, _MERGE = (_CORE + name for name in ("str", "null", "bool", "int", "float", "merge"))
# Accepted tags. Dates and `=` of YAML 1.1 are read as text; other tags, such as `!!binary`, are refused.
_KNOWN = frozenset({_TEXT, _NULL, _BOOL, _INT, _FLOAT, _MERGE}) | {
    _CORE + name for name in ("timestamp", "value", "map", "seq")
}
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*(_[0-9]+)*)")
_DECIMAL = re.compile(r"[-+]?([0-9]+(_[0-9]+)*(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_LONGEST_NUMBER = 400


class YamlError(ValueError):
    """A text that is not YAML, or YAML that configurations do not allow."""


class _Composer(yaml.SafeLoader):
    """Composes nodes only; values are made when the type of their setting is known."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise YamlError(f"line {_line(self.peek_event())}: nested more than {MAX_DEPTH} levels deep")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        first: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise YamlError(f"line {_line(key)}: a key has to be a text")
            if key.value in first:
                raise YamlError(
                    f"{shortened(key.value)} occurs twice, in line {first[key.value]} and in line {_line(key)}; "
                    "join the two"
                )
            first[key.value] = _line(key)
        return node


def compose(text: str) -> yaml.Node | None:
    """Parses a YAML text to its tree of nodes; None for an empty text.

    Raises:
        YamlError: It is not valid YAML, has a duplicate key, or is too large or too deep.
    """
    if len(text) > MAX_CHARACTERS:
        raise YamlError(f"{len(text):,} characters; the limit is {MAX_CHARACTERS:,}")
    try:
        loader = _Composer(text)
        try:
            return loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise YamlError(f"{place}{terminal_safe(error.problem or error.context or 'it cannot be read')}") from error
    except yaml.YAMLError as error:
        raise YamlError(terminal_safe(" ".join(str(error).split()))) from error


class Values:
    """Converts nodes to values, and limits their number.

    Args:
        scientific: Whether `1e-4` is a number where no type is known. On a command line it is; in a file it is text by
            YAML's rules, so that saved values are read back unchanged.
    """

    def __init__(self, *, scientific: bool = False):
        self._scientific = scientific
        self._made = 0

    def count(self, node: yaml.Node, depth: int) -> None:
        """Counts one more value.

        Raises:
            YamlError: Too many values, a value that contains itself, or a tag that configurations do not allow.
        """
        if node.tag not in _KNOWN:
            raise YamlError(f"line {_line(node)}: the tag {shortened(node.tag)} is not for configurations")
        self._made += 1
        if self._made > MAX_VALUES:
            raise YamlError(f"its aliases stand for more than {MAX_VALUES:,} values")
        if depth > MAX_DEPTH:
            raise YamlError(f"nested more than {MAX_DEPTH} levels deep")

    def pairs(self, node: yaml.MappingNode, depth: int = 0) -> Iterator[tuple[str, yaml.Node]]:
        """Keys and values of a mapping; its own keys take precedence over those that `<<` merges."""
        found: dict[str, yaml.Node] = {}
        own = {key.value for key, _ in node.value}
        for key, value in node.value:
            if key.tag == _MERGE:
                for part in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    self.count(part, depth)
                    if not isinstance(part, yaml.MappingNode):
                        raise YamlError(f"line {_line(part)}: << merges groups of settings only")
                    for name, inner in self.pairs(part, depth + 1):
                        if name not in own:
                            found.setdefault(name, inner)
            else:
                found[key.value] = value
        yield from found.items()

    def plain(self, node: yaml.Node, depth: int = 0) -> Any:
        """The value of a node where no type is known.

        Raises:
            YamlError: See `count`.
        """
        self.count(node, depth)
        if isinstance(node, yaml.MappingNode):
            return {key: self.plain(value, depth + 1) for key, value in self.pairs(node, depth)}
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(value, depth + 1) for value in node.value]
        text = str(node.value)
        if node.tag == _NULL:
            return None
        if node.tag == _BOOL:
            return _TRUTH.get(text.lower(), text)
        if node.tag in (_INT, _FLOAT) or (self._scientific and is_plain(node)):
            return as_number(text)
        return text


def is_plain(node: yaml.Node) -> bool:
    """Whether a scalar was written without quotes and not as a block."""
    return isinstance(node, yaml.ScalarNode) and node.style is None


def is_null(node: yaml.Node) -> bool:
    """Whether a node is null: empty, `~` or `null`."""
    return node.tag == _NULL


def as_number(text: str) -> Any:
    """The number that a text stands for, else the text; `1:30`, `010`, `12e4567` and `nan` stay text."""
    if len(text) <= _LONGEST_NUMBER:
        if _WHOLE.fullmatch(text):
            return int(text.replace("_", ""))
        if _DECIMAL.fullmatch(text) and not re.match(r"[-+]?0[0-9_]", text):
            number = float(text.replace("_", ""))
            return text if number in (float("inf"), float("-inf")) else number
        special = {".nan": "nan", ".inf": "inf", "+.inf": "inf", "-.inf": "-inf"}.get(text.lower())
        if special is not None:
            return float(special)
    return text


def as_truth(text: str) -> Any:
    """The truth value that a text stands for (`yes`, `off`, `true`), else the text."""
    return _TRUTH.get(text.lower(), text)


def _line(place: Any) -> int:
    return place.start_mark.line + 1

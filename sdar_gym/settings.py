"""Declaring settings: one line gives a setting's type, default, allowed range and meaning.

The same declaration serves Python, YAML, the command line and the reference page, so adding a setting is one edit:

    lr: float = setting(1e-6, "Peak learning rate of AdamW.", above=0, high=1)
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from enum import StrEnum
from functools import cache
from typing import Any, ClassVar, Self, Union, get_args, get_origin, get_type_hints

from sdar_gym.text import closest, shortened
from sdar_gym.validation import choice, finite_number, flag, one_of, text_list, whole_number

# Larger whole numbers are slips that would fill the memory or never end.
LARGEST = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Rule:
    """What a setting means and which values it takes.

    Attributes:
        doc: Its meaning in plain sentences.
        low: Smallest value.
        high: Largest value.
        above: Exclusive lower bound.
        below: Exclusive upper bound.
        choices: Allowed texts.
    """

    doc: str
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()


def setting(
    default: Any = MISSING, doc: str = "", *, factory: Callable[[], Any] | None = None, choices: Any = (), **bounds: Any
) -> Any:
    """Declares a field of a `Settings` class.

    Args:
        default: Its default; without one (and without a factory) the setting is required.
        doc: Its meaning. Of an enum it is the class's docstring, unless `doc` says more.
        factory: Makes the default, for dictionaries, lists and groups.
        choices: Allowed texts.
        **bounds: `low`, `high`, `above`, `below` of a number.
    """
    metadata = {"rule": Rule(doc, choices=tuple(choices), **bounds)}
    if factory is not None:
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata)


class Settings:
    """Base of a group of settings; subclasses are frozen data classes whose fields are made by `setting`.

    Types and ranges are checked when an object is made. A subclass overrides `_check` for rules on several settings.

    Attributes:
        PREFIX: What precedes a setting's name where users write it, such as `training.`.
    """

    __slots__ = ()
    PREFIX: ClassVar[str] = ""

    def __post_init__(self) -> None:
        hints = hints_of(type(self))
        for each in fields(self):  # pyright: ignore[reportArgumentType]
            name = f"{self.PREFIX}{each.name}"
            object.__setattr__(self, each.name, _checked(name, getattr(self, each.name), hints[each.name], each))
        self._check()

    def _check(self) -> None:
        """Refuses combinations of settings that make no sense.

        Raises:
            ValueError: With the settings, their values and what to do.
        """

    def store(self, **values: Any) -> None:
        """Sets fields while the object is being made."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def parse(cls, name: str, value: Any, base: Any = None) -> Self:
        """The group that a configuration describes.

        Args:
            name: What the group is called where the user wrote it.
            value: An object of this class, or a mapping of some of its settings.
            base: A group whose other settings are kept.

        Raises:
            ValueError: It is neither, a setting is unknown, or the group refuses its settings.
        """
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise ValueError(f"{name} is a group of settings, got {shortened(value)} of type {type(value).__name__}.")
        return cls.build(name, value, base)

    @classmethod
    def build(cls, name: str, value: Mapping[str, Any], base: Any = None) -> Self:
        """The group with the settings of a mapping; see `parse`."""
        hints, given = hints_of(cls), {}
        for key, inner in value.items():
            if key not in hints:
                raise ValueError(f"{name or 'A run'} has no setting {shortened(key)}.{did_you_mean(key, hints)}")
            kept = getattr(base, key) if base is not None else None
            group = group_type(hints[key])
            if group is not None and kept is not None and isinstance(inner, Mapping):
                inner = group.parse(_dotted(name, key), inner, kept)
            given[key] = inner
        if base is not None:
            return replace(base, **given)
        missing = [
            each.name
            for each in fields(cls)  # pyright: ignore[reportArgumentType]
            if each.default is MISSING and each.default_factory is MISSING and each.name not in given
        ]
        if missing:
            raise ValueError(f"{', '.join(_dotted(name, key) for key in missing)} must be set.")
        return cls(**given)


def _dotted(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def without_effect(name: str, value: Any, reason: str) -> None:
    """Refuses a setting that has no effect, since whoever set it expects one.

    Raises:
        ValueError: If `value` is not None.
    """
    if value is not None:
        written = str(value) if isinstance(value, StrEnum) else value
        raise ValueError(f"{name}={shortened(written)} has no effect: {reason}. Leave it out.")


def did_you_mean(name: Any, known: Any) -> str:
    """The end of a message about an unknown name: the closest known one if there is one, then all of them."""
    near = closest(name, known)
    return f"{f' Did you mean {near!r}?' if near else ''} Known names: {sorted(known)}."


def rule_of(each: Field[Any]) -> Rule:
    """The rule of a field; an empty one where it was not made by `setting`."""
    return each.metadata.get("rule", Rule(""))


def enum_meaning(kind: type[StrEnum]) -> str:
    """The docstring of an enum with its members as configurations write them."""
    text = " ".join((inspect.getdoc(kind) or "").split())
    return re.sub(r"`([A-Z0-9_]+)`", lambda found: f"`{kind.__members__.get(found[1], found[1])}`", text)


@cache
def hints_of(kind: type) -> dict[str, Any]:
    """The types of a data class's fields."""
    hints = get_type_hints(kind)
    return {each.name: hints[each.name] for each in fields(kind)}  # pyright: ignore[reportArgumentType]


def members(hint: Any) -> tuple[Any, ...]:
    """The types of a union, or the one type."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def group_type(hint: Any) -> type[Settings] | None:
    """The group of settings that a type allows, or None."""
    return next((kind for kind in members(hint) if isinstance(kind, type) and issubclass(kind, Settings)), None)


def _checked(name: str, value: Any, hint: Any, each: Field[Any]) -> Any:
    """A value as the type of its setting, within its range."""
    rule, kinds = rule_of(each), members(hint)
    if value is None and types.NoneType in kinds:
        return None
    kind = next(one for one in kinds if one is not types.NoneType)
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if kind is Any:
        return value
    if kind is bool:
        return flag(name, value)
    if kind is int:
        low = None if rule.low is None else int(rule.low)
        return whole_number(name, value, low, LARGEST if rule.high is None else int(rule.high))
    if kind is float:
        return finite_number(name, value, rule.low, rule.high, above=rule.above, below=rule.below)
    if kind is str:
        return one_of(name, value, rule.choices) if rule.choices else _text(name, value)
    if origin is list:
        return list(text_list(name, value))
    if origin is tuple:
        if not isinstance(value, list | tuple) or len(value) != len(inner):
            raise ValueError(f"{name} must be a list of {len(inner)} numbers, got {shortened(value)}.")
        bounds = (rule.low, rule.high)
        return tuple(
            finite_number(f"{name}.{at}", one, *bounds, above=rule.above, below=rule.below)
            for at, one in enumerate(value)
        )
    if origin is dict:
        return _mapping(name, value, inner, rule)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return choice(kind, name, value)
    if hasattr(kind, "parse"):
        return kind.parse(name, value)
    if isinstance(kind, type) and not isinstance(value, kind):
        raise ValueError(f"{name} must be a {kind.__name__}; got {shortened(value)}.")
    return value


def _mapping(name: str, value: Any, inner: tuple[Any, ...], rule: Rule) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"{name} must be a group of settings (key: value), got {shortened(value)}.")
    if inner[1] is float:
        return {
            key: finite_number(f"{name}.{key}", one, rule.low, rule.high, above=rule.above, below=rule.below)
            for key, one in value.items()
        }
    if get_origin(inner[1]) is dict:
        return {key: _mapping(f"{name}.{key}", one, get_args(inner[1]), rule) for key, one in value.items()}
    return dict(value)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a text, got {shortened(value)}.")
    if not value or "\x00" in value:
        raise ValueError(f"{name} must be a text that is not empty, without zero bytes, got {shortened(value)}.")
    return str(value)

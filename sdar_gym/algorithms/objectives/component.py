"""Parts of the objective that are chosen by name and bring their own settings: gates and advantage shapers.

A part is a frozen data class with its settings and the function that computes it; a decorator registers it. A
configuration names it alone (`gate: sigmoid`) or with settings (`gate: {name: sigmoid, beta: 5.0}`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any, ClassVar, Self, TypeVar

from sdar_gym.settings import Settings, did_you_mean
from sdar_gym.text import shortened

Part = TypeVar("Part", bound="type[Component]")


class Component(Settings):
    """Base of a kind of part; each kind has its own registry.

    Attributes:
        KIND: What the kind is called in messages, such as `gate`.
        NAME: The name under which the part is registered.
        registry: The parts of this kind by name.
    """

    __slots__ = ()
    KIND: ClassVar[str] = ""
    NAME: ClassVar[str] = ""
    registry: ClassVar[dict[str, type[Component]]] = {}

    @classmethod
    def parse(cls, name: str, value: Any, base: Any = None) -> Self:
        """The part that a configuration names.

        Args:
            name: What the setting is called where the user wrote it.
            value: A part, its name, or a mapping of settings with its `name`; one without a name changes `base`.
            base: The part that is there already.

        Raises:
            ValueError: There is no such part, or a setting is unknown or out of range.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            return cls._named(name, value).build(name, {})
        if not isinstance(value, Mapping):
            raise ValueError(f"{name} must name one {cls.KIND}, alone or with its settings, got {shortened(value)}.")
        settings = dict(value)
        chosen = settings.pop("name", None)
        if chosen is None:
            if base is None:
                raise ValueError(f"{name} needs {name}.name, one of {', '.join(sorted(cls.registry))}.")
            return type(base).build(name, settings, base)
        part = cls._named(name, chosen)
        return part.build(name, settings, base if type(base) is part else None)

    @classmethod
    def _named(cls, name: str, chosen: Any) -> Any:
        if not isinstance(chosen, str) or chosen not in cls.registry:
            raise ValueError(
                f"{name}: unknown {cls.KIND} {shortened(chosen)}.{did_you_mean(chosen, cls.registry)} "
                "The setting `imports` names the module that registers one of your own."
            )
        return cls.registry[chosen]

    def plain(self) -> dict[str, Any]:
        """The part as a configuration writes it: its name and the settings that are not at their default."""
        changed = {
            each.name: getattr(self, each.name)
            for each in fields(self)  # pyright: ignore[reportArgumentType]
            if getattr(self, each.name) != each.default
        }
        return {"name": self.NAME, **changed}

    def changed(self, **settings: Any) -> Self:
        """The same part with some settings replaced."""
        return replace(self, **settings)  # pyright: ignore[reportArgumentType]


def register(kind: type[Component], name: str) -> Callable[[Part], Part]:
    """Decorator: registers a part of a kind under a name.

    Args:
        kind: `Gate` or `AdvantageShaper`.
        name: How configurations call it.

    Raises:
        ValueError: The name is taken by another part.
    """

    def add(part: Part) -> Part:
        taken = kind.registry.get(name)
        # The same class again, from a module that was loaded a second time, is no other part.
        if taken is not None and (taken.__module__, taken.__qualname__) != (part.__module__, part.__qualname__):
            raise ValueError(f"There is a {kind.KIND} {name!r} already ({taken.__module__}); choose another name.")
        part.NAME = name
        kind.registry[name] = part
        return part

    return add

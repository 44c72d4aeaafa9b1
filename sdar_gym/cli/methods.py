"""The commands `sdar-gym methods list` and `show`: settings of a method as YAML, sources and deviations."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdar_gym.algorithms.objectives.component import Component
from sdar_gym.algorithms.objectives.schedule import Schedule
from sdar_gym.cli.terminal import Terminal, table
from sdar_gym.settings import Settings

if TYPE_CHECKING:
    from sdar_gym.algorithms.methods import Method
    from sdar_gym.algorithms.objectives.objective import Objective

methods_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

# Shown even at their defaults, so that each line is complete.
_ALWAYS_SHOWN = frozenset({"view", "weights", "coeff", "divergence", "support"})


def setting_lines(objective: Objective) -> list[str]:
    """The settings that differ from `Objective()`, one line of YAML per setting or group.

    `Objective().changed(...)` with these settings gives the same objective again.

    Args:
        objective: The objective.
    """
    from sdar_gym.algorithms.objectives.objective import Objective

    plain, lines = Objective(), []
    for field in fields(objective):
        value, default = getattr(objective, field.name), getattr(plain, field.name)
        if value != default:
            content = _group(value, default) if isinstance(value, Settings) else _plain(value)
            lines.append(f"{field.name}: {_as_yaml(content)}")
    return lines


def describe(method: Method) -> str:
    """A method's settings, sources and deviations as text."""
    parts = [f"{method.name}\n{method.summary}"]
    if method.acts_with_skills:
        parts[0] += "\nThe acting policy reads the skills while it is trained."
    parts.append("settings, where they differ from a plain clipped policy gradient:")
    parts[-1] += "".join(f"\n  {line}" for line in setting_lines(method.objective)) or "\n  none"
    parts.append(f"source:\n  {method.source}")
    if method.deviations:
        parts.append("deviations:" + "".join(f"\n  - {text}" for text in method.deviations))
    return "\n\n".join(parts)


@methods_app.command("list")
def methods_list() -> None:
    """List the methods; `method=NAME` selects one."""
    from sdar_gym.algorithms.methods import CHAPTERS

    terminal = Terminal()
    for title, methods in CHAPTERS.items():
        rows = [(f"  {method.name}", method.summary) for method in methods]
        terminal.print(table(("", ""), rows, show_header=False, title=title, title_justify="left"))
        terminal.print()


@methods_app.command("show")
def methods_show(name: Annotated[str, typer.Argument(help="A method; `sdar-gym methods list` has them.")]) -> None:
    """Show a method's settings, sources and deviations."""
    from sdar_gym.algorithms.methods import get_method

    Terminal().tell(describe(get_method(name)))


def _group(value: Settings, base: Any) -> dict[str, Any]:
    """The settings of a group that differ from those of `base` or from their defaults, and a component's name."""
    content: dict[str, Any] = {"name": value.NAME} if isinstance(value, Component) else {}
    for field in fields(value):  # pyright: ignore[reportArgumentType]
        own = getattr(value, field.name)
        default = field.default if base is None else getattr(base, field.name)
        if default is MISSING or own != default or (base is None and field.name in _ALWAYS_SHOWN and own is not None):
            content[field.name] = _plain(own)
    return content


def _plain(value: Any) -> Any:
    """A setting as YAML writes it."""
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, Component):
        settings = {each.name: _plain(getattr(value, each.name)) for each in fields(value)}  # pyright: ignore
        return {"name": value.NAME, **settings} if settings else value.NAME
    return value.plain() if isinstance(value, Schedule) else value


def _as_yaml(value: Any) -> str:
    """A setting in YAML's flow style; written here, since PyYAML may not be installed."""
    if isinstance(value, list):
        return "[" + ", ".join(map(_as_yaml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_as_yaml(inner)}" for key, inner in value.items()) + "}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) and "." not in repr(value):
        return repr(value).replace("e", ".0e")  # YAML 1.1 takes 1e-05 for text.
    return str(value) if isinstance(value, int | float) or value.replace("_", "").isalnum() else json.dumps(value)

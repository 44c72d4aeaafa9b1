"""Writes docs/settings.md, the reference of all settings, from their declarations.

    python scripts/setting_pages.py [--check]

The page is never edited by hand: type, default, range and meaning stand in `setting(...)`, and a test compares the two.
"""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args, get_origin

from generated_pages import write_pages

from sdar_gym.algorithms.objectives.component import Component
from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.algorithms.objectives.schedule import Schedule
from sdar_gym.configs.reading import RENAMED, dotted
from sdar_gym.configs.schema import RunConfig
from sdar_gym.settings import Settings, enum_meaning, group_type, hints_of, members, rule_of

PAGE = Path(__file__).resolve().parents[1] / "docs" / "settings.md"
OBJECTIVE = "training.objective"
HEAD = "| setting | type | default | range | meaning |\n|---|---|---|---|---|"
TYPES = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Schedule: "schedule",
    Any: "anything",
}


def page() -> str:
    """The whole page."""
    parts = [
        "<!-- Made by scripts/setting_pages.py from the declarations; change them there. -->",
        "# Settings",
        "A run is described by these settings, in YAML, on the command line as `key=value` with dots "
        "(`training.lr=1e-4`), and in Python as keywords of the section (`SDARConfig().training(lr=1e-4)`). What is "
        "left out has its default. A setting that does not exist, has another type, is out of range, or has no effect "
        "beside the others is refused before Ray starts.",
        "A *schedule* is a number, or points `[[update, value], …]`: linear between them, constant outside; the first "
        "update runs at 0. *group* is a group of settings of its own, below.",
        *_tables(RunConfig, "", "The run"),
        f"## `{OBJECTIVE}`",
        f"{_first_line(Objective)} Each method is a preset of it ([methods.md](methods.md)): the defaults below are "
        f"those of `Objective()`, and `sdar-gym methods show NAME` prints what a method sets. `{OBJECTIVE}` changes "
        f"some of them: `{OBJECTIVE}.distill.coeff=0.03`; null removes a group.",
        *_tables(Objective, OBJECTIVE, None),
        "## Renamed",
        "Settings of earlier versions. They are refused, with the new name; so is `--resume` of a run that has them.",
        "| was | is |\n|---|---|\n" + "\n".join(f"| `{old}` | `{new}` |" for old, new in _renamed()),
    ]
    return "\n\n".join(parts) + "\n"


def rows(kind: type[Settings], prefix: str) -> Iterator[tuple[str, str, str, str, str]]:
    """Name, type, default, range and meaning of each setting of a class, in order.

    Args:
        kind: A class whose fields are made by `setting`.
        prefix: What precedes their names where users write them.
    """
    hints = hints_of(kind)
    for each in fields(kind):  # pyright: ignore[reportArgumentType]
        yield (
            f"`{dotted(prefix, each.name)}`",
            "one of" if rule_of(each).choices else type_of(hints[each.name]),
            default_of(each),
            range_of(each, hints[each.name]),
            rule_of(each).doc or enum_meaning(hints[each.name]),
        )


def type_of(hint: Any) -> str:
    """A type in words."""
    kind, *_ = (one for one in members(hint) if one is not types.NoneType)
    null = " or null" if types.NoneType in members(hint) else ""
    origin = get_origin(kind) or kind
    if origin is tuple:
        text = f"list of {len(get_args(kind))} numbers"
    elif origin is list:
        text = "list of texts"
    elif origin is dict:
        text = "group of numbers" if get_args(kind)[1] is float else "group"
    elif isinstance(kind, type) and issubclass(kind, StrEnum):
        text = "one of"
    elif isinstance(kind, type) and issubclass(kind, Component):
        text = f"{kind.KIND}: a name or a group"
    elif isinstance(kind, type) and issubclass(kind, Settings):
        text = "group"
    else:
        text = TYPES[kind]
    return text + null


def default_of(each: Field[Any]) -> str:
    """The default as a configuration writes it; empty for a group, which has its own table."""
    if each.default is MISSING and each.default_factory is MISSING:
        return "*required*"
    value = each.default if each.default_factory is MISSING else each.default_factory()
    return "" if isinstance(value, Settings) else f"`{_plain(value)}`"


def range_of(each: Field[Any], hint: Any) -> str:
    """The values that a setting takes, as far as one setting says it alone."""
    rule, kind = rule_of(each), next(one for one in members(hint) if one is not types.NoneType)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return ", ".join(f"`{member}`" for member in kind)
    if isinstance(kind, type) and issubclass(kind, Component):
        return ", ".join(f"`{name}`" for name in sorted(kind.registry))
    if rule.choices:
        return ", ".join(f"`{choice}`" for choice in rule.choices)
    bounds = (("≥", rule.low), (">", rule.above), ("≤", rule.high), ("<", rule.below))
    return ", ".join(f"{sign} {_number(bound)}" for sign, bound in bounds if bound is not None)


def _tables(kind: type[Settings], prefix: str, title: str | None) -> Iterator[str]:
    """The table of a class, then those of its groups, gates and shapers."""
    if title is not None:
        yield f"## {title}"
        yield _first_line(kind)
    yield _table(kind, prefix)
    for name, hint in hints_of(kind).items():
        group = group_type(hint)
        place = dotted(prefix, name)
        if group is None:
            continue
        if issubclass(group, Component):
            for part in sorted(group.registry):
                yield from _component(group.registry[part], place)
        else:
            yield from _tables(group, place, f"`{place}`")


def _component(part: type[Component], place: str) -> Iterator[str]:
    note = " Experimental." if ".experimental." in part.__module__ else ""
    yield f"### `{place}: {part.NAME}`"
    yield f"{_first_line(part)}{note}"
    if fields(part):  # pyright: ignore[reportArgumentType]
        yield _table(part, place)


def _table(kind: type[Settings], prefix: str) -> str:
    return "\n".join([HEAD, *(f"| {' | '.join(map(_cell, row))} |" for row in rows(kind, prefix))])


def _renamed() -> Iterator[tuple[str, str]]:
    for old, new in RENAMED.items():
        yield old, dotted(old.rpartition(".")[0], new)


def _first_line(kind: type) -> str:
    return (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ")


def _plain(value: Any) -> str:
    if isinstance(value, Schedule):
        return str(value.plain())
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_plain, value))}]"
    if isinstance(value, Mapping):
        return "{}"
    return "null" if value is None else str(value)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|") or " "


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or say whether it is out of date."""
    return write_pages(__doc__, {PAGE: page()}, arguments)


if __name__ == "__main__":
    sys.exit(main())

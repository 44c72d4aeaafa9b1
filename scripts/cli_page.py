"""Writes docs/cli.md, the reference of all commands, from their declarations.

    python scripts/cli_page.py [--check]

The page is never edited by hand: arguments, options, defaults and meaning stand in the functions of `sdar_gym/cli`, and
a test compares the two.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from generated_pages import write_pages
from typer.models import ArgumentInfo, OptionInfo

from sdar_gym.cli.app import app

PAGE = Path(__file__).resolve().parents[1] / "docs" / "cli.md"
HEAD = """<!-- Made by scripts/cli_page.py from sdar_gym/cli; change the text there. -->

# Commands

`sdar-gym COMMAND --help` prints the same. `python -m sdar_gym` is the same program. A change of the configuration is
`key=value`, with dots for sections: [settings](settings.md). An error is one message and exit status 2; messages and
what to do: [troubleshooting](troubleshooting.md)."""


@dataclass(frozen=True)
class Parameter:
    """An argument or option of a command.

    Args:
        name: Of the function's parameter.
        kind: Its type, without None.
        info: What typer declares of it.
        default: `inspect.Parameter.empty` where it is required.
    """

    name: str
    kind: Any
    info: ArgumentInfo | OptionInfo
    default: Any

    @property
    def required(self) -> bool:
        """Whether the command needs it."""
        return self.default is inspect.Parameter.empty

    @property
    def several(self) -> bool:
        """Whether it takes several values."""
        return getattr(self.kind, "__origin__", None) is list

    @property
    def is_option(self) -> bool:
        """Whether it is an option."""
        return isinstance(self.info, OptionInfo)


def page() -> str:
    """The whole page."""
    commands = list(_commands(app, "sdar-gym"))
    index = ["| command | what it does |", "|---|---|"]
    for name, command in commands:
        anchor = name.removeprefix("sdar-gym ").replace(" ", "-")
        index.append(f"| [`{name}`](#{anchor}) | {_cell(_help(command)[0])} |")
    parts = [HEAD, "\n".join(index)]
    for name, command in commands:
        found = list(parameters(command))
        parts += [f"## {name.removeprefix('sdar-gym ')}", *_help(command), f"```\n{_usage(name, found)}\n```"]
        parts += _tables(found)
    return "\n\n".join(parts) + "\n"


def parameters(command: Callable[..., Any]) -> Iterator[Parameter]:
    """Arguments and options of a command, in the order of their declarations."""
    hints = get_type_hints(command, include_extras=True)
    for name, each in inspect.signature(command).parameters.items():
        hint, info = get_args(hints[name])
        kinds = [kind for kind in get_args(hint) if kind is not type(None)] if type(None) in get_args(hint) else [hint]
        yield Parameter(name, kinds[0], info, each.default)


def _commands(group: Any, prefix: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Name and function of each command."""
    for each in group.registered_commands:
        if each.callback is not None and not each.hidden:
            yield f"{prefix} {each.name or each.callback.__name__.replace('_', '-')}", each.callback
    for each in group.registered_groups:
        yield from _commands(each.typer_instance, f"{prefix} {each.name}")


def _usage(name: str, found: Sequence[Parameter]) -> str:
    pieces = [name]
    for each in found:
        if not each.is_option:
            text = each.name.upper() + ("..." if each.several else "")
            pieces.append(text if each.required else f"[{text}]")
    if any(each.is_option for each in found):
        pieces.append("[OPTIONS]")
    return " ".join(pieces)


def _tables(found: Sequence[Parameter]) -> Iterator[str]:
    arguments = [each for each in found if not each.is_option]
    if arguments:
        rows = [f"| `{each.name.upper()}` | {_cell(each.info.help or '')} |" for each in arguments]
        yield "\n".join(["| argument | meaning |", "|---|---|", *rows])
    options = [each for each in found if each.is_option]
    if options:
        rows = [f"| {_names(each)} | {_default(each)} | {_cell(each.info.help or '')} |" for each in options]
        yield "\n".join(["| option | default | meaning |", "|---|---|---|", *rows])


def _names(option: Parameter) -> str:
    # `typer.Option("--json")` in an annotation: the first name stands where a default would.
    first = (option.info.default,) if isinstance(option.info.default, str) else ()
    declared = (*first, *(option.info.param_decls or ())) or (f"--{option.name.replace('_', '-')}",)
    names = ", ".join(f"`{name}`" for name in declared)
    if option.kind is bool:
        return names
    kind = {int: "number", float: "number", Path: "path"}.get(option.kind, "text")
    return f"{names} *{kind}*" + (", several times" if option.several else "")


def _default(option: Parameter) -> str:
    if option.required:
        return "*required*"
    return " " if option.default in (None, False) or option.default == () else f"`{option.default}`"


def _help(command: Callable[..., Any]) -> list[str]:
    """The docstring of a command: its paragraphs, each on one line."""
    return [" ".join(part.split()) for part in (inspect.getdoc(command) or "").split("\n\n")]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or say whether it is out of date."""
    return write_pages(__doc__, {PAGE: page()}, arguments)


if __name__ == "__main__":
    sys.exit(main())

"""Generates the documentation page of each built-in environment from its class docstring.

    python scripts/env_pages.py [--check]

Pages are never edited by hand; a test checks that they are up to date.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from generated_pages import write_pages

from sdar_gym.envs import EnvEntry, entries
from sdar_gym.envs.text_env import TextEnv

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "environments"
HEADINGS = (
    "Task",
    "Observation",
    "Action",
    "Reward",
    "Episode end",
    "Info",
    "Splits",
    "Arguments",
    "Differences from the reference",
    "Version history",
)
_ITEM = re.compile(r"(?P<name>[a-z_][a-z0-9_]*(?:, [a-z_][a-z0-9_]*)*|v\d+): (?P<text>.*)")


class PageError(ValueError):
    """A class docstring has missing, unknown, empty or misordered headings."""


def sections(name: str, docstring: str) -> tuple[str, dict[str, str]]:
    """Split a docstring into its introduction and the text of each heading.

    Args:
        name: Name of the class, for messages.
        docstring: Docstring as returned by `inspect.getdoc`.

    Raises:
        PageError: The headings are not `HEADINGS`, in that order, each with some text.
    """
    parts: list[tuple[str, list[str]]] = [("", [])]
    for line in docstring.splitlines():
        # Every line that looks like a heading counts as one, so that misspelled headings raise.
        heading = re.fullmatch(r"([A-Z][A-Za-z ]+):", line)
        if heading:
            parts.append((heading[1], []))
        else:
            parts[-1][1].append(line)
    found = tuple(heading for heading, _ in parts[1:])
    if found != HEADINGS:
        raise PageError(f"{name} has the headings {', '.join(found)}; they have to be {', '.join(HEADINGS)}.")
    texts = {heading: inspect.cleandoc("\n" + "\n".join(lines)).strip() for heading, lines in parts}
    empty = [heading for heading, text in texts.items() if not text]
    if empty:
        raise PageError(f"{name} says nothing under {empty[0] or 'the first line'!r}.")
    return texts.pop(""), texts


def page(entry: EnvEntry) -> str:
    """Markdown page of an environment.

    Raises:
        PageError: Its docstring does not have the required headings.
    """
    kind = env_class(entry)
    intro, texts = sections(kind.__name__, inspect.getdoc(kind) or "")
    skills = "none" if entry.skills is None else f"`{entry.skills}`"
    facts = [
        f"- class: `{entry.entry_point}`",
        f"- prompts: `{entry.prompt}`",
        f"- skills: {skills}",
        f"- expert: {f'`{entry.expert}`' if entry.expert else 'none'}",
    ]
    body = [f"## {heading}\n\n{_listed(text)}" for heading, text in texts.items()]
    made = f"<!-- Made by scripts/env_pages.py from {kind.__name__}; change the docstring there. -->"
    return "\n\n".join([made, f"# {entry.id}", intro, "\n".join(facts), *body]) + "\n"


def env_class(entry: EnvEntry) -> type[TextEnv]:
    """Class of an entry."""
    module, _, name = entry.entry_point.partition(":")
    return getattr(import_module(module), name)


def builtin() -> list[EnvEntry]:
    """Registry entries of the built-in environments."""
    return [entry for entry in entries() if entry.entry_point.startswith("sdar_gym.")]


def path_of(entry: EnvEntry) -> Path:
    """Path of a page, named after the folder of its environment."""
    return FOLDER / f"{entry.entry_point.split('.')[2]}.md"


def _listed(text: str) -> str:
    # `name: text` starts a list item, which indented lines continue.
    lines: list[str] = []
    for line in text.splitlines():
        item = _ITEM.fullmatch(line)
        lines.append(
            f"- `{item['name']}`: {item['text']}" if item else f"  {line.strip()}" if line[:1] == " " else line
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or say whether it is out of date."""
    return write_pages(__doc__, {path_of(entry): page(entry) for entry in builtin()}, arguments)


if __name__ == "__main__":
    sys.exit(main())

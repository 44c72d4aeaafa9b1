"""API reference of the site: one page for each module that docs/api.md lists, from the docstrings.

A hook of mkdocs. docs/api.md stays the one list of public names; a name without a docstring fails the build.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

LIST = "api.md"
ROW = re.compile(r"^\| `(\w+)` \| (.*) \|$")
PLAIN = ("__version__",)  # Names without a docstring.
OPTIONS = "    options:\n      heading_level: 2\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each module."""
    listed = files.get_file_from_path(LIST)
    assert listed is not None
    names = list(rows(listed.content_string))
    for module in dict.fromkeys(module for _, module, _, _ in names):
        files.append(File.generated(config, f"reference/{module}.md", content=module_page(module, names)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Link each name of the list to its entry."""
    if page.file.src_uri != LIST:
        return markdown
    names = list(rows(markdown))
    lines, module = [], ""
    for line in markdown.splitlines():
        if found := re.fullmatch(r"### `(.+)`", line):
            module = found[1]
        if (found := ROW.fullmatch(line)) and found[1] not in PLAIN:
            line = f"| [`{found[1]}`][{home(found[1], module, names)}.{found[1]}] | {found[2]} |"
        lines.append(line)
    return "\n".join(lines)


def rows(text: str) -> Iterator[tuple[str, str, str, str]]:
    """Level, module, name and meaning of each listed name."""
    level = module = ""
    for line in text.splitlines():
        if line.startswith("## "):
            level = line[3:].lower()
        elif found := re.fullmatch(r"### `(.+)`", line):
            module = found[1]
        elif found := ROW.fullmatch(line):
            yield level, module, found[1], found[2]


def home(name: str, module: str, names: list[tuple[str, str, str, str]]) -> str:
    """The module on whose page a name is: the deepest of those that it can be imported from."""
    return max((where for _, where, other, _ in names if other == name), key=len, default=module)


def module_page(module: str, names: list[tuple[str, str, str, str]]) -> str:
    """A page with every listed name of a module."""
    parts = [f"# `{module}`"]
    for level in ("stable", "provisional"):
        for name in sorted(name for its_level, where, name, _ in names if (its_level, where) == (level, module)):
            place = home(name, module, names)
            if name in PLAIN:
                continue
            if place == module:
                parts.append(f"::: {module}.{name}\n{OPTIONS}")
            else:
                parts.append(f"## `{name}`\n\nThe same as [`{place}.{name}`][{place}.{name}].")
    return "\n\n".join(parts) + "\n"

"""GitHub's Markdown for Python-Markdown: lists, comments and flowcharts as the site's parser needs them.

A hook of mkdocs. Python-Markdown wants a blank line before a list and four spaces inside one, reads no table right
below a comment, and needs no backslash before a bar in code. Flowcharts (`mermaid`), which the theme would draw with a
script from another host, become HTML. A picture for two color schemes follows the site's switch, not the system's.
"""

from __future__ import annotations

import html
import logging
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

LOG = logging.getLogger("mkdocs.hooks.markdown")
ITEM = re.compile(r"^(?P<indent> *)(?:[-*+]|\d+[.)]) +\S")
FENCE = re.compile(r"^ *(```|~~~)")
CODE = re.compile(r"`[^`]+`")
COMMENT = re.compile(r"^<!--.*-->$")
CHART = re.compile(r"```mermaid\n(.*?)```", flags=re.S)
PICTURE = re.compile(r"<picture>.*?</picture>", flags=re.S)
NODE = re.compile(r"\w+\[(?P<name>[^\]]+)\]")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The text of a page as Python-Markdown reads it."""
    if page.file.src_uri.startswith("source/"):
        return markdown
    markdown = PICTURE.sub(lambda found: both_schemes(found[0]), markdown)
    return blocks(CHART.sub(lambda found: flowchart(found[1], page.file.src_uri), markdown))


def blocks(text: str) -> str:
    """Blank lines around comments and before lists, and four spaces for each level of a list."""
    lines: list[str] = []
    fenced = in_list = False
    for line in text.splitlines():
        before = lines[-1] if lines else ""
        if FENCE.match(line):
            fenced = not fenced
        elif fenced:
            pass
        elif COMMENT.match(line):
            lines += ["", line, ""]
            continue
        elif (item := ITEM.match(line)) and (in_list or len(item["indent"]) < 4):
            if not in_list and before.strip():
                lines.append("")
            in_list = True
        elif line.strip() and not line.startswith(" "):
            in_list = in_list and bool(before.strip())
        if line.startswith("|"):
            # Python-Markdown splits no cell inside code, and shows the backslash that GitHub needs there.
            line = CODE.sub(lambda code: code[0].replace("\\|", "|"), line)
        lines.append(_deeper(line) if in_list else line)
    return "\n".join(lines)


def flowchart(source: str, place: str) -> str:
    """A chain of boxes, from a flowchart `A[x] --> B[y] -- label --> C[z]`."""
    _, _, chain = source.strip().partition("\n")
    steps = re.split(r"\s+--(?:\s+(.+?)\s+--)?>\s+", chain.strip())
    names, labels = steps[::2], ["", *(label or "" for label in steps[1::2])]
    found = [NODE.fullmatch(name) for name in names]
    if not source.startswith("flowchart LR") or not all(found):
        LOG.warning("%s has a flowchart that is no chain: %s", place, source)
        return ""
    items = (
        f'<li data-by="{html.escape(label)}"><code>{html.escape(one["name"])}</code></li>'
        for one, label in zip(found, labels, strict=True)
        if one
    )
    return f'<ol class="flow">{"".join(items)}</ol>'


def both_schemes(picture: str) -> str:
    """The two images of a `<picture>`, each shown in one color scheme by the theme."""
    dark, image = re.search(r'srcset="([^"]+)"', picture), re.search(r'<img src="([^"]+)"([^>]*)>', picture)
    if dark is None or image is None:
        return picture
    return f'<img src="{image[1]}#only-light"{image[2]}>\n<img src="{dark[1]}#only-dark"{image[2]}>'


def _deeper(line: str) -> str:
    """A line inside a list, with four spaces instead of two or three."""
    spaces = len(line) - len(line.lstrip(" "))
    return f"    {line.lstrip(' ')}" if 1 < spaces < 4 else line

"""Links to the repository on the site: source files become pages with line numbers, documents of the root become pages.

A hook of mkdocs. The documents are read in two places. In the repository, `[…](../sdar_gym/text.py#L12)` leads to the
file. The site holds only `docs/`, and no public address has the rest, so this hook publishes what is linked: a source
file as `source/<path>.html` with a line number to link to, a folder as the list of its files, data as it is. A link
that leads nowhere is a warning, which `mkdocs build --strict` turns into a failure.
"""

from __future__ import annotations

import logging
import os
import posixpath
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import File, Files
    from mkdocs.structure.pages import Page

LOG = logging.getLogger("mkdocs.hooks.sources")
LINK = re.compile(
    r"(?P<text>\[[^\]]*\])\((?P<target>[^)\s]+)\)"  # Markdown's
    r"|(?P<attribute>\b(?:src|srcset|href)=\")(?P<raw>[^\"]+)\""  # HTML's
)
FENCE = re.compile(r"^\s*(```|~~~)")
# Documents outside docs/ that are pages of the site, by their place in the repository.
PAGES = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "examples/maze_env/README.md": "maze-env.md",
}
HOME = {"README.md": "index.md"}
LEXERS = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".md": "markdown", ".json": "json"}
LISTED = (".py", ".yaml", ".md")  # What is published of a linked folder; the names of its other files are shown.
LARGEST_PAGE = 150_000  # Bytes; what is longer is published as it is.


class Published:
    """What the site has, by its place in the repository."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.place_of: dict[str, str] = {}
        self.origin_of: dict[str, str] = {}
        self.lines_of: dict[str, int] = {}

    def add(self, origin: str, place: str) -> None:
        """Note that a file of the repository is at a place of the site."""
        self.place_of[origin] = place
        self.origin_of[place] = origin

    def origin(self, page: File) -> str:
        """Place in the repository of a page's text."""
        return self.origin_of.get(page.src_uri, f"docs/{page.src_uri}")

    def place(self, origin: str) -> str | None:
        """Place on the site of a file of the repository, or None."""
        if origin in self.place_of or origin in HOME:
            return self.place_of.get(origin) or HOME[origin]
        return origin.removeprefix("docs/") if origin.startswith("docs/") else None


published = Published(Path())


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the linked files of the repository."""
    from mkdocs.structure.files import File

    global published
    published = Published(Path(config.config_file_path).resolve().parent)
    for origin, place in PAGES.items():
        published.add(origin, place)
        text = (published.root / origin).read_text(encoding="utf-8")
        files.append(File.generated(config, place, content=text))
    documents = {
        published.origin(file): file.content_string for file in files.documentation_pages() if file.src_uri != "404.md"
    }
    for origin, text in documents.items():
        for _, target in links(text):
            linked = resolve(origin, target.partition("#")[0])
            if linked is not None and published.place(linked) is None:
                _publish(linked, files, config)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite links that are right in the repository into those that are right on the site."""
    origin = published.origin(page.file)
    lines, fenced = [], False
    for line in markdown.splitlines():
        if FENCE.match(line):
            fenced = not fenced
        lines.append(line if fenced else LINK.sub(lambda found: _site_link(found, origin, page.file), line))
    return "\n".join(lines)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Tell mkdocs, which checks anchors, of the line numbers of a source page."""
    count = published.lines_of.get(page.file.src_uri, 0)
    if count and page.present_anchor_ids is not None:
        page.present_anchor_ids |= {line_anchor(number) for number in range(1, count + 1)}
    return html


def links(text: str) -> list[tuple[str, str]]:
    """Text and target of each link to a file, outside of code blocks."""
    found, fenced = [], False
    for line in text.splitlines():
        if FENCE.match(line):
            fenced = not fenced
        elif not fenced:
            found += [(each["text"] or "", each["target"] or each["raw"]) for each in LINK.finditer(line)]
    return [(name, target) for name, target in found if not re.match(r"[a-z]+:|#", target)]


def resolve(origin: str, target: str) -> str | None:
    """Place in the repository that a link of a document leads to; None if it leads out of the repository."""
    place = posixpath.normpath(posixpath.join(posixpath.dirname(origin), target))
    return None if place.startswith("..") else place


def definition(text: str, name: str) -> int | None:
    """Line, from 1, on which a module defines a name."""
    pattern = re.compile(rf"^\s*(?:async def|def|class) {name}\b|^{name}\b\s*[:=]")
    return next((number for number, line in enumerate(text.splitlines(), 1) if pattern.match(line)), None)


def line_anchor(number: int) -> str:
    """Anchor of a line, as pymdownx names it."""
    return f"__codelineno-0-{number}"


def _site_link(found: re.Match[str], origin: str, page: File) -> str:
    target = found["target"] or found["raw"]
    if re.match(r"[a-z]+:|#", target):
        return found[0]
    path, _, anchor = target.partition("#")
    linked = resolve(origin, path)
    place = published.place(linked) if linked is not None else None
    if linked is None or place is None:
        return found[0]  # mkdocs reports it.
    if place in published.lines_of:
        anchor = _source_anchor(linked, anchor, found["text"] or "", origin)
    elif (published.root / linked).is_dir() and linked.startswith("docs/"):
        place = f"{place}/README.md"
    relative = posixpath.relpath(place, posixpath.dirname(page.src_uri) or ".")
    relative += f"#{anchor}" if anchor else ""
    if found["attribute"]:
        return f'{found["attribute"]}{relative}"'
    return f"{found['text']}({relative})"


def _source_anchor(linked: str, anchor: str, text: str, origin: str) -> str:
    """Anchor on a source page: the given line, or that of the definition which the link's text names."""
    if line := re.fullmatch(r"L(\d+)(-L\d+)?", anchor):
        return line_anchor(int(line[1]))
    if anchor:
        LOG.warning("%s links to %s#%s: a line of a source file is #L12", origin, linked, anchor)
    name = re.fullmatch(r"\[`(\w+)`\]", text)
    number = definition((published.root / linked).read_text(encoding="utf-8"), name[1]) if name else None
    return line_anchor(number) if number else ""


def _publish(origin: str, files: Files, config: MkDocsConfig) -> None:
    path = published.root / origin
    if path.is_dir():
        _publish_folder(origin, path, files, config)
    elif not path.is_file():
        return  # mkdocs reports the link.
    elif path.suffix in LEXERS and path.stat().st_size <= LARGEST_PAGE:
        text = path.read_text(encoding="utf-8")
        place = f"source/{origin}.md"
        published.add(origin, place)
        published.lines_of[place] = text.count("\n")
        body = f'~~~~~~~~ {{ .{LEXERS[path.suffix]} linenums="1" }}\n{text}\n~~~~~~~~'
        _add_page(place, PurePosixPath(origin).name, f"# `{origin}`\n\n{body}\n", files, config)
    else:
        from mkdocs.structure.files import File

        place = f"source/{origin}"
        published.add(origin, place)
        files.append(File.generated(config, place, abs_src_path=str(path)))


def _publish_folder(origin: str, path: Path, files: Files, config: MkDocsConfig) -> None:
    place = f"source/{origin}/index.md"
    published.add(origin, place)
    rows = []
    for name in sorted(os.listdir(path)):
        inner = f"{origin}/{name}"
        if name.startswith((".", "__pycache__")):
            continue
        if not ((path / name).is_dir() or (path / name).suffix in LISTED):
            rows.append(f"- `{name}`")
            continue
        if published.place(inner) is None:
            _publish(inner, files, config)
        target = posixpath.relpath(str(published.place(inner)), posixpath.dirname(place))
        rows.append(f"- [`{name}`]({target})")
    _add_page(place, PurePosixPath(origin).name, f"# `{origin}/`\n\n" + "\n".join(rows) + "\n", files, config)


def _add_page(place: str, title: str, text: str, files: Files, config: MkDocsConfig) -> None:
    from mkdocs.structure.files import File, InclusionLevel

    head = f'---\ntitle: "{title}"\nsearch:\n  exclude: true\nhide: [navigation, toc]\n---\n\n'
    files.append(File.generated(config, place, content=head + text, inclusion=InclusionLevel.NOT_IN_NAV))

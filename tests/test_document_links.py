"""Links in the documents lead somewhere, and a name in front of a link to a module is defined in that module."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
)
LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
NAME = re.compile(r"`(?P<name>\w+)`")


def links(document: Path) -> list[tuple[str, str]]:
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.S)
    return [(found["text"], found["target"]) for found in LINK.finditer(text)]


def anchors(document: Path) -> set[str]:
    """Anchors of the headings, or of the lines of another file, as GitHub makes them."""
    if document.suffix != ".md":
        return {f"L{number}" for number in range(1, document.read_text(encoding="utf-8").count("\n") + 1)}
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    broken = []
    for _, target in links(document):
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        place, _, anchor = target.partition("#")
        file = (document.parent / place).resolve() if place else document
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_linked_name_is_defined_in_the_module(document: Path) -> None:
    missing = []
    for text, target in links(document):
        named, file = NAME.fullmatch(text), (document.parent / target.partition("#")[0]).resolve()
        if named is None or file.suffix != ".py" or not file.is_file():
            continue
        name = named["name"]
        if not re.search(rf"^\s*(class|def) {name}\b|^{name}\b", file.read_text(encoding="utf-8"), flags=re.M):
            missing.append((text, target))
    assert missing == []


def test_names_are_found_at_all() -> None:
    flow = links(ROOT / "docs" / "data-flow.md")
    assert sum(bool(NAME.fullmatch(text)) and target.endswith(".py") for text, target in flow) > 15

"""Markdown reader for skill libraries. It is strict, so that a typo never drops a skill silently.

A library is a folder with one file per task type. The file's name without `.md` is the task type; `general.md` holds
the skills for all types. `README.md` is not read, and `library.json` is optional. A file looks like this::

    # Any heading                              optional, for the reader
    Origin: where these skills come from       optional; without it, the library's name
    Types: one_hop, nq                         optional; instead of the file's name. `all` makes the skills general
    Keywords: two, pair of                     optional; words that tasks of this kind use
    Kind: mistake                              optional; for what to avoid. Default `advice`

    ## two.procedure: Do it twice
    When: the goal asks for two of something.
    Types: nq                                  optional, like the other three: for this skill alone

    Find one, take it, put it where it belongs, then do the same with the second one.

A skill begins with `## <id>: <title>`. The next line that is not blank is `When: ...`, and lines with other names may
follow it directly. Everything after that up to the next heading is the text, line breaks kept, blank lines at both ends
dropped. The text has no headings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from sdar_gym.paths import first_line
from sdar_gym.skills.formats.library_manifest import MANIFEST, in_order, read_manifest
from sdar_gym.skills.formats.text_files import SkillFormatError, decode_lines, line_error, read_bytes
from sdar_gym.skills.skill import ADVICE, KINDS, Skill
from sdar_gym.text import shortened, terminal_safe

GENERAL = "general"
ALL_TYPES = "all"
IGNORED = frozenset({"README.md"})
_TASK_TYPE = re.compile(r"[a-z0-9][a-z0-9_-]*")
_HEADING = re.compile(r"## +(?P<id>[^\s:]+) *: *(?P<title>\S.*)")
_ID = re.compile(r"[a-z0-9][a-z0-9._-]*")
_META = re.compile(r"(?:Origin|Types|Keywords|Kind):")
_EMPTY = {
    "Origin": "say where the skills come from",
    "Types": "name the task types",
    "Keywords": "name words, with commas between them,",
    "Kind": f"say {' or '.join(KINDS)}",
}


@dataclass(frozen=True, slots=True)
class MarkdownFolder:
    """The contents of a library folder: name, version and skills in order."""

    name: str
    version: int
    skills: tuple[Skill, ...]


def read_folder(folder: Path, *, env: str | None = None) -> MarkdownFolder:
    """Read a library from a folder of Markdown files and its manifest, if it has one.

    Args:
        folder: The folder; its name is the library's unless the manifest has one.
        env: Environment the skills are for; default the manifest's, or the folder's name.

    Raises:
        SkillFormatError: A file breaks the format.
    """
    contents = _contents(folder)
    where = f"{folder.name}/{MANIFEST}"
    manifest = read_manifest(contents.pop(MANIFEST, b"{}"), where)
    skills = parse_library(contents.items(), name=folder.name, env=env or manifest.get("env", folder.name))
    skills = in_order(skills, manifest.get("order", ()), where)
    return MarkdownFolder(manifest.get("name", folder.name), manifest.get("version", 1), skills)


def _contents(folder: Path) -> dict[str, bytes]:
    """The files of a library by name; other files of any size may lie beside them and are not read."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if entry.suffix == ".md" or entry.name == MANIFEST)
        return {entry.name: read_bytes(entry, f"{folder.name}/{entry.name}") for entry in entries if entry.is_file()}
    except OSError as error:
        raise SkillFormatError(
            f"{terminal_safe(str(folder))} cannot be read: {error.strerror or first_line(error)}."
        ) from error


def parse_library(files: Iterable[tuple[str, bytes]], *, name: str, env: str) -> tuple[Skill, ...]:
    """Parse a folder's files: the general skills first, then the task types in alphabetical order.

    Args:
        files: File names (without folders) and contents.
        name: The library's name, for messages and as the origin of skills without an origin.
        env: Environment the skills are for.

    Raises:
        SkillFormatError: A file breaks the format, two skills share an id, or there is no file.
    """
    contents = {file: data for file, data in files if file.endswith(".md") and file not in IGNORED}
    if not contents:
        raise SkillFormatError(
            f"Skill library {name!r} has no .md file; write one per task type, or {GENERAL}.md. "
            "A library in JSON is given by its file."
        )
    first_seen: dict[str, str] = {}
    skills: list[Skill] = []
    for file in sorted(contents, key=lambda file: (file != f"{GENERAL}.md", file)):
        where = f"{name}/{file}"
        for number, skill in parse_file(contents[file], where=where, stem=file[:-3], origin=name, env=env):
            if skill.id in first_seen:
                raise line_error(
                    where, number, f"the id {skill.id!r} is taken by {first_seen[skill.id]}; choose another."
                )
            first_seen[skill.id] = f"{where}, line {number}"
            skills.append(skill)
    return tuple(skills)


def parse_file(data: bytes, *, where: str, stem: str, origin: str, env: str) -> Iterator[tuple[int, Skill]]:
    """Yield the skills of one file with the line each begins at.

    Args:
        data: The file as it is on disk (UTF-8, any line ends).
        where: Its name in messages.
        stem: File name without its ending: the task type or `general`.
        origin: Origin of the skills unless the file states one.
        env: Environment the skills are for.

    Raises:
        SkillFormatError: The file breaks the format.
    """
    if not _TASK_TYPE.fullmatch(stem):
        raise line_error(
            where, 1, f"the file name {shortened(stem)} is no task type; use lower case, digits, '_' and '-'."
        )
    lines = decode_lines(data, where)
    starts = [number for number, line in enumerate(lines) if line.startswith("## ")]
    if not starts:
        raise line_error(where, 1, "there is no skill; begin one with '## <id>: <title>', or delete the file.")
    common = _Meta(origin, () if stem == GENERAL else (stem,), (), ADVICE)
    common = _read_head(lines[: starts[0]], where, common)
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        yield start + 1, _read_skill(lines[start:end], where, start + 1, env, common)


@dataclass(frozen=True, slots=True)
class _Meta:
    """Metadata of a skill, or the defaults that a file sets for all its skills."""

    origin: str
    task_types: tuple[str, ...]
    keywords: tuple[str, ...]
    kind: str

    def with_line(self, line: str, seen: set[str], where: str, number: int) -> _Meta:
        """The metadata changed by an `Origin:`, `Types:`, `Keywords:` or `Kind:` line."""
        name, _, value = line.partition(":")
        if name in seen:
            raise line_error(where, number, f"a second '{name}:' line; keep one.")
        seen.add(name)
        value = value.strip()
        if not value:
            raise line_error(where, number, f"'{name}:' is empty; {_EMPTY[name]} or delete the line.")
        if name == "Origin":
            return replace(self, origin=value)
        if name == "Kind":
            if value not in KINDS:
                raise line_error(where, number, f"{shortened(value)} is no kind of skill; say {' or '.join(KINDS)}.")
            return replace(self, kind=value)
        parts = tuple(dict.fromkeys(part.strip() for part in value.split(",")))
        if "" in parts:
            raise line_error(where, number, f"'{name}:' has two commas in a row, or one at an end; take it out.")
        if name == "Keywords":
            return replace(self, keywords=parts)
        for part in parts:
            if not _TASK_TYPE.fullmatch(part):
                raise line_error(
                    where, number, f"{shortened(part)} is no task type; use lower case, digits, '_' and '-'."
                )
        if ALL_TYPES in parts and len(parts) > 1:
            raise line_error(where, number, f"'{ALL_TYPES}' beside other task types; it stands alone or not at all.")
        return replace(self, task_types=() if parts == (ALL_TYPES,) else parts)


def _read_head(lines: list[str], where: str, common: _Meta) -> _Meta:
    seen: set[str] = set()
    for number, line in enumerate(lines, start=1):
        if not line.strip() or (number == 1 and line.startswith("# ")):
            continue
        if not _META.match(line):
            what = f"{shortened(line)} stands before the first skill; put '## <id>: <title>' above it."
            raise line_error(where, number, what)
        common = common.with_line(line, seen, where, number)
    return common


def _read_skill(lines: list[str], where: str, first: int, env: str, common: _Meta) -> Skill:
    heading = _HEADING.fullmatch(lines[0].rstrip())
    if not heading:
        raise line_error(where, first, f"{shortened(lines[0])} is not of the form '## <id>: <title>'.")
    skill_id = heading["id"]
    if not _ID.fullmatch(skill_id):
        what = f"the id {shortened(skill_id)} may hold lower-case letters, digits, '.', '_' and '-' only."
        raise line_error(where, first, what)
    body = [(first + offset, line) for offset, line in enumerate(lines) if offset and line.strip()]
    if not body or not body[0][1].startswith("When:"):
        number = body[0][0] if body else first
        raise line_error(where, number, f"skill {skill_id!r} lacks its 'When: ...' line right below the heading.")
    number, when_line = body[0]
    when_to_use = when_line.removeprefix("When:").strip()
    if not when_to_use:
        raise line_error(where, number, f"'When:' of skill {skill_id!r} is empty; say when the skill applies.")
    seen: set[str] = set()
    while number - first + 1 < len(lines) and _META.match(lines[number - first + 1]):
        number += 1
        common = common.with_line(lines[number - first], seen, where, number)
    for later, line in body[1:]:
        if line.startswith("#"):
            what = f"{shortened(line)} looks like a heading; a skill is '## <id>: <title>', text has none."
            raise line_error(where, later, what)
        if line.startswith("When:"):
            raise line_error(where, later, f"a second 'When:' line in skill {skill_id!r}; keep one.")
    text = "\n".join(line.rstrip() for line in lines[number - first + 1 :]).strip("\n")
    if not text:
        raise line_error(where, number, f"skill {skill_id!r} has no text; write it below the 'When:' line.")
    title, types, keywords = heading["title"], common.task_types, common.keywords
    return Skill(skill_id, title, text, when_to_use, env, types, common.origin, keywords, common.kind)

"""Markdown writer for skill libraries: complete or not at all, and checked by reading it back."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sdar_gym.paths import first_line
from sdar_gym.skills.formats.library_manifest import MANIFEST, manifest_text
from sdar_gym.skills.formats.markdown_reader import ALL_TYPES, GENERAL, read_folder
from sdar_gym.skills.formats.text_files import SkillFormatError
from sdar_gym.skills.skill import ADVICE, Skill
from sdar_gym.text import shortened


def save_library(name: str, version: int, skills: Sequence[Skill], folder: Path, *, overwrite: bool) -> None:
    """Write a library into a folder, complete or not at all; see `SkillLibrary.save`.

    Args:
        name: The library's name.
        version: Its version.
        skills: Its skills, in order.
        folder: Target folder.
        overwrite: Whether a folder that is not empty may be replaced.

    Raises:
        ValueError: See `SkillLibrary.save`.
    """
    envs = {skill.env for skill in skills}
    if len(envs) != 1:
        named = ", ".join(sorted(envs)) or "none"
        raise ValueError(f"A saved library is for one environment; {name!r} has skills for: {named}.")
    check_target(folder, overwrite=overwrite)
    files = to_markdown(name, skills)
    files[MANIFEST] = manifest_text(name, envs.pop(), version, skills)
    try:
        _replace_folder(folder, files, name, skills)
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise ValueError(f"{name!r} cannot be saved to {folder}: {reason}. What was there is unchanged.") from error


def check_target(folder: Path, *, overwrite: bool) -> None:
    """Fail fast on a folder that a library cannot be saved to, before the work that makes the library.

    Raises:
        ValueError: It is a file, not empty (unless it may be overwritten), or in a place that cannot be written to.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"{folder} is a file; name a folder for the library.")
        if not overwrite and folder.is_dir() and any(folder.iterdir()):
            raise ValueError(f"{folder} is not empty; choose a new folder, or allow overwriting the library in it.")
        above = next(place for place in folder.parents if place.exists())
    except OSError as error:
        raise ValueError(f"{folder} cannot be read: {error.strerror or first_line(error)}.") from error
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise ValueError(f"{folder} cannot be made: {above} is no folder that can be written to. Choose another one.")


def _replace_folder(folder: Path, files: dict[str, str], name: str, skills: Sequence[Skill]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Written beside the target and read back first: what cannot be read must not replace what can.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".saving-") as scratch:
        new, old = Path(scratch) / "new", Path(scratch) / "old"
        new.mkdir()
        for file, text in files.items():
            (new / file).write_text(text, encoding="utf-8", newline="\n")
        _check_reads_back(new, name, skills)
        for file in folder.iterdir() if folder.is_dir() else ():
            if file.is_dir() or file.name == "README.md" or (file.suffix != ".md" and file.name != MANIFEST):
                (shutil.copytree if file.is_dir() else shutil.copy2)(file, new / file.name)
        if folder.exists():
            folder.rename(old)
        try:
            new.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)  # Otherwise it is deleted with the scratch folder.
            raise


def to_markdown(name: str, skills: Sequence[Skill]) -> dict[str, str]:
    """A library's Markdown files by name: `general.md`, and one for each first task type."""
    by_file: dict[str, list[Skill]] = {}
    for skill in skills:
        by_file.setdefault(skill.task_types[0] if skill.task_types else GENERAL, []).append(skill)
    return {f"{stem}.md": _file(name, stem, listed) for stem, listed in sorted(by_file.items())}


def _file(name: str, stem: str, skills: list[Skill]) -> str:
    blocks = [f"# {' '.join(name.split())}: {stem}"]
    for skill in skills:
        implied = () if stem == GENERAL else (stem,)
        types = f"Types: {', '.join(skill.task_types) or ALL_TYPES}" if skill.task_types != implied else ""
        lines = (
            f"## {skill.id}: {skill.title}",
            f"When: {skill.when_to_use}",
            types,
            f"Keywords: {', '.join(skill.keywords)}" if skill.keywords else "",
            f"Kind: {skill.kind}" if skill.kind != ADVICE else "",
            f"Origin: {skill.origin}" if skill.origin else "",
        )
        blocks.append("\n".join(line for line in lines if line) + f"\n\n{skill.text}")
    return "\n\n".join(blocks) + "\n"


def _check_reads_back(folder: Path, name: str, skills: Sequence[Skill]) -> None:
    try:
        back = read_folder(folder).skills
    except SkillFormatError as error:
        raise ValueError(f"Library {name!r} cannot be written as Markdown: {error}") from error
    for wanted, found in zip(skills, back, strict=True):
        if wanted != found:
            part = next(
                field for field in Skill.__dataclass_fields__ if getattr(wanted, field) != getattr(found, field)
            )
            had, got = shortened(getattr(wanted, part)), shortened(getattr(found, part))
            raise ValueError(
                f"Skill {wanted.id!r} cannot be written as Markdown: its {part} {had} would be read as {got}. Take out "
                "what the format drops, such as spaces at line ends."
            )

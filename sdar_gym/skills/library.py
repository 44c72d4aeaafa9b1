"""Skill libraries: an ordered, append-only collection of skills with a fingerprint, and how one is loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from sdar_gym.paths import local_path
from sdar_gym.skills.formats.json_libraries import read_json_file
from sdar_gym.skills.formats.markdown_reader import parse_library, read_folder
from sdar_gym.skills.formats.markdown_writer import save_library
from sdar_gym.skills.formats.sdar_folder import MAPPING, read_sdar_folder
from sdar_gym.skills.formats.text_files import SkillFormatError
from sdar_gym.skills.growth.deduplicate import DUPLICATE_ABOVE, DuplicateSkillError, most_similar
from sdar_gym.skills.skill import ADVICE, MISTAKE, Skill
from sdar_gym.text import closest, terminal_safe, well_formed
from sdar_gym.validation import finite_number


class UnknownLibraryError(ValueError):
    """No built-in library has that name, and no folder or file of a library is there."""


def builtin_libraries() -> tuple[str, ...]:
    """Names of the libraries that come with the package, in alphabetical order."""
    data = files("sdar_gym.skills") / "data"
    return tuple(sorted(entry.name for entry in data.iterdir() if entry.is_dir() and not entry.name.startswith("_")))


@dataclass(slots=True)
class SkillLibrary:
    """Skills in a fixed order, found by id or by task type. Iteration gives the skills.

    Attributes:
        name: The library's name in reports.
        skills: The skills, in order; changed by `add` only.
        version: Starts at 1 and counts additions; retrievers detect by it that the library has grown.

    Raises:
        ValueError: Two skills have the same id.
    """

    name: str
    skills: tuple[Skill, ...]
    version: int = 1
    _by_id: dict[str, Skill] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.name = well_formed(self.name)
        self.skills = tuple(self.skills)
        by_id: dict[str, Skill] = {}
        for skill in self.skills:
            if skill.id in by_id:
                raise ValueError(f"Library {self.name!r} has two skills with the id {skill.id!r}; rename one of them.")
            by_id[skill.id] = skill
        self._by_id = by_id

    @classmethod
    def builtin(cls, name: str) -> SkillLibrary:
        """A library that comes with the package.

        Raises:
            UnknownLibraryError: None has that name.
        """
        known = builtin_libraries()
        if name not in known:
            close = closest(name, known)
            hint = f" Did you mean {close!r}?" if close else " A folder of your own is given by its path."
            raise UnknownLibraryError(f"No built-in skill library {name!r}; there are: {', '.join(known)}.{hint}")
        folder = files("sdar_gym.skills") / "data" / name
        contents = [(entry.name, entry.read_bytes()) for entry in folder.iterdir() if entry.is_file()]
        return cls(name, parse_library(contents, name=name, env=name))

    @classmethod
    def from_folder(cls, path: str | Path, *, env: str | None = None) -> SkillLibrary:
        """A library from a folder of Markdown (see `sdar_gym.skills.formats.markdown_reader`) or one of SDAR's folders.

        Args:
            path: The folder; its name becomes the library's.
            env: Environment the skills are for; default the folder's name.

        Raises:
            UnknownLibraryError: There is no such folder.
            SkillFormatError: A file breaks the format.
        """
        folder = local_path("The skill library", path).resolve()
        if not folder.is_dir():
            raise UnknownLibraryError(
                f"No skill folder at {terminal_safe(str(path))}; give a folder that holds one .md file per task type."
            )
        if (folder / MAPPING).is_file():
            return cls(folder.name, read_sdar_folder(folder, env or folder.name))
        read = read_folder(folder, env=env)
        return cls(read.name, read.skills, read.version)

    @classmethod
    def from_file(cls, path: str | Path, *, env: str | None = None) -> SkillLibrary:
        """A library from one JSON file: a skill bank or memories (see `sdar_gym.skills.formats.json_libraries`).

        Args:
            path: The file; its name without suffix becomes the library's.
            env: Environment the skills are for; default the name of the file's folder.

        Raises:
            UnknownLibraryError: There is no such file.
            SkillFormatError: It is not a skill library in JSON.
        """
        file = local_path("The skill library", path).resolve()
        if not file.is_file():
            raise UnknownLibraryError(
                f"No skill file at {terminal_safe(str(path))}; give a .json file, or a folder of .md files."
            )
        if file.suffix != ".json":
            raise SkillFormatError(f"{terminal_safe(str(path))} is no skill library; give its folder, or a .json file.")
        return cls(file.stem, read_json_file(file, env or file.parent.name))

    def add(self, skill: Skill, *, duplicate_above: float | None = DUPLICATE_ABOVE) -> None:
        """Add a skill at the end. Retrievers that hold this library find it from their next search on.

        Args:
            skill: The skill; it needs an origin.
            duplicate_above: Similarity from 0 to 1 (`sdar_gym.skills.growth.deduplicate`) above which it is refused;
                None skips the comparison.

        Raises:
            DuplicateSkillError: A skill of the library says the same.
            ValueError: The id is taken, the origin is empty, or `duplicate_above` is no number from 0 to 1.
        """
        if skill.id in self._by_id:
            raise ValueError(f"Library {self.name!r} has a skill with the id {skill.id!r} already; choose another id.")
        if not skill.origin.strip():
            raise ValueError(f"Skill {skill.id!r} has no origin; say where it comes from before it is added.")
        if duplicate_above is not None:
            duplicate_above = finite_number("duplicate_above", duplicate_above, 0, 1)
            for similar_id, similarity in most_similar(skill, self.skills):
                if similarity > duplicate_above:
                    message = f"Skill {skill.id!r} says what {similar_id!r} of library {self.name!r} says already"
                    hint = f"similarity {similarity:.2f}, allowed {duplicate_above:g}"
                    raise DuplicateSkillError(f"{message} ({hint}).", similar_id, similarity)
        self.skills = (*self.skills, skill)
        self._by_id[skill.id] = skill
        self.version += 1

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Save the library as a folder of Markdown; `load_library` reads an equal one back.

        The folder is written beside the target, read back, and only then renamed. `README.md` and files of other kinds
        stay; with `overwrite`, all other Markdown in it is replaced.

        Args:
            folder: Target folder.
            overwrite: Whether a folder that is not empty may be replaced.

        Raises:
            ValueError: The folder is not empty or cannot be written, the skills are for several environments, or a
                skill has what the format cannot hold, such as a line that begins with `#`.
        """
        target = local_path("The skill library", folder).resolve()
        save_library(self.name, self.version, self.skills, target, overwrite=overwrite)

    def get(self, skill_id: str) -> Skill:
        """The skill with an id.

        Raises:
            ValueError: No skill has it.
        """
        if skill_id not in self._by_id:
            close = closest(skill_id, self._by_id)
            hint = f" Did you mean {close!r}?" if close else ""
            raise ValueError(f"Library {self.name!r} has no skill {skill_id!r}.{hint}")
        return self._by_id[skill_id]

    def general(self) -> tuple[Skill, ...]:
        """The advice for every task type."""
        return tuple(skill for skill in self.skills if skill.is_general and skill.kind == ADVICE)

    def mistakes(self) -> tuple[Skill, ...]:
        """The mistakes for every task type."""
        return tuple(skill for skill in self.skills if skill.is_general and skill.kind == MISTAKE)

    def for_task_type(self, task_type: str) -> tuple[Skill, ...]:
        """The skills written for this task type; empty if it has none."""
        return tuple(skill for skill in self.skills if skill.applies_to(task_type))

    @property
    def task_types(self) -> tuple[str, ...]:
        """The task types that the library has skills for, in order of appearance."""
        return tuple(dict.fromkeys(name for skill in self.skills for name in skill.task_types))

    def fingerprint(self) -> str:
        """SHA-256 of everything that can change a retrieval or a prompt: the skills and their order.

        Names, origins and environments are left out, so a copy of a library in another folder has the same one.
        """
        content = [
            [s.id, s.title, s.text, s.when_to_use, list(s.task_types)]
            # Nothing is added for a plain skill, so that fingerprints in older results stay comparable.
            + ([list(s.keywords), s.kind] if s.keywords or s.kind != ADVICE else [])
            for s in self.skills
        ]
        return hashlib.sha256(json.dumps(content, ensure_ascii=True).encode()).hexdigest()

    def __iter__(self) -> Iterator[Skill]:
        return iter(self.skills)

    def __len__(self) -> int:
        return len(self.skills)

    def __contains__(self, skill_id: object) -> bool:
        return skill_id in self._by_id


def load_library(name_or_path: str | Path, *, env: str | None = None) -> SkillLibrary:
    """Load a built-in library by name, or one from a folder or a file in any supported format.

    Supported are a folder of Markdown, like the built-in libraries, a folder with SDAR's `skill_mapping.json`, and JSON
    files with a skill bank or with memories. A plain name is looked up among the built-in ones first; a folder of the
    same name is reached as `./name`.

    Args:
        name_or_path: A name, a folder or a file.
        env: Environment the skills are for; default the library's name, or for a file the name of its folder.

    Raises:
        UnknownLibraryError: No library has that name or path.
        PathError: The path is an address or no valid path.
        SkillFormatError: It breaks its format, or has no supported one.
    """
    if isinstance(name_or_path, Path) or name_or_path not in builtin_libraries():
        path = local_path("The skill library", name_or_path)
        if path.is_file() or path.suffix == ".json":
            return SkillLibrary.from_file(name_or_path, env=env)
        # A single word that is no folder was meant as a name: the error with the list of names helps more.
        looks_like_path = isinstance(name_or_path, Path) or "/" in name_or_path or "\\" in name_or_path
        if looks_like_path or path.is_dir():
            return SkillLibrary.from_folder(name_or_path, env=env)
    return SkillLibrary.builtin(str(name_or_path))

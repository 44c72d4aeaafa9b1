"""Scaffold of a new environment: a small package, copied from `scaffold_template/` with its names replaced."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path

from sdar_gym.envs.registry import entries
from sdar_gym.files import fresh_sibling
from sdar_gym.text import shortened

_TEMPLATE = Path(__file__).with_name("scaffold_template")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
# What the template calls its package and its class; both are replaced in the files and in their names.
_PACKAGE, _TITLE = "my_game", "MyGame"


@dataclass(frozen=True, slots=True)
class NewPackage:
    """A package that was written.

    Attributes:
        folder: Its folder.
        env_id: The id of its environment.
        files: What was written, relative to the folder.
    """

    folder: Path
    env_id: str
    files: tuple[Path, ...]


def write_env_package(name: str, parent: Path) -> NewPackage:
    """Write an installable package with one text environment, which works and passes its test as it is.

    Args:
        name: The package's name, such as `word_ladder`. The environment is then `word_ladder/WordLadder-v0`.
        parent: The folder to write the package's folder into; made if it is missing.

    Raises:
        ValueError: The name is no name for a package or is taken, or the folder exists. Nothing is written then.
    """
    _check_name(name)
    folder = parent / name
    if os.path.lexists(folder):
        raise ValueError(
            f"{shortened(str(folder))} exists already, and nothing is overwritten: choose another name or another "
            "--folder, or move it away."
        )
    _check_free(name)
    title = _title(name)

    def renamed(text: str) -> str:
        return (
            text.replace(_PACKAGE, name)
            .replace(_PACKAGE.replace("_", "-"), name.replace("_", "-"))
            .replace(_TITLE, title)
        )

    parent.mkdir(parents=True, exist_ok=True)
    written = []
    with fresh_sibling(folder) as fresh:
        for source in _template_files():
            relative = Path(renamed(source.relative_to(_TEMPLATE).as_posix()))
            target = fresh / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(renamed(source.read_text(encoding="utf-8")), encoding="utf-8")
            written.append(relative)
        fresh.rename(folder)
    return NewPackage(folder, f"{name}/{title}-v0", tuple(written))


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or iskeyword(name):
        proposed = re.sub(r"\W+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)).strip("_").lower()
        fits = _NAME.fullmatch(proposed) and not iskeyword(proposed)
        raise ValueError(
            f"{shortened(name)} cannot name a Python package. Use lower-case letters, digits and underscores (40 at "
            f"most, a letter first, no keyword), such as {proposed if fits else 'word_ladder'!r}."
        )


def _check_free(name: str) -> None:
    taken = next((entry.id for entry in entries() if entry.id.partition("/")[0] == name), None)
    if taken is not None:
        raise ValueError(f"{name!r} is reserved: {taken} is registered under it. Choose another name.")
    if name == "tests" or name in sys.stdlib_module_names or find_spec(name) is not None:
        raise ValueError(f"{name!r} is taken: Python has a module of that name. Choose another name.")


def _title(name: str) -> str:
    """`word_ladder` as `WordLadder`; without a last `Env`, which the class's name adds."""
    title = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
    return title.removesuffix("Env") or title


def _template_files() -> Iterator[Path]:
    for path in sorted(_TEMPLATE.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith("."):
            yield path

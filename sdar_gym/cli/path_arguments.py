"""Path arguments of the command line: local paths only, and output paths checked for writing before the work."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import typer

from sdar_gym.paths import PathError, is_uri, local_path
from sdar_gym.text import shortened


def local(value: str) -> Path:
    """Parse a path for typer, and refuse addresses, which `pathlib` would turn into a folder such as `s3:`."""
    try:
        path = local_path("path", value)
    except PathError as error:
        raise typer.BadParameter(str(error)) from error
    return path if is_uri(value) else Path(value).expanduser()


def run_place(value: str) -> Path | str:
    """Parse a run to resume for typer: a local folder, or the address of its mirror."""
    return value if is_uri(value) and not value.lower().startswith("file:") else local(value)


# Keyword arguments of `typer.Option` and `typer.Argument` for paths.
PATH_OPTION: dict[str, Any] = {"parser": local, "metavar": "PATH"}


def check_output_folder(name: str, folder: Path) -> None:
    """Check that an output folder is writable, before hours of work.

    Raises:
        ValueError: It is a file, is below a file, or is not writable.
    """
    if _exists(name, folder) and not folder.is_dir():
        raise ValueError(f"{name}={shortened(str(folder))} is a file; name a folder.")
    _check_above(name, folder)


def check_output_file(name: str, file: Path) -> None:
    """Check that an output file is writable, before the work.

    Raises:
        ValueError: It is a folder, is below a file, or is not writable.
    """
    if _exists(name, file) and file.is_dir():
        raise ValueError(f"{name}={shortened(str(file))} is a folder; name a file.")
    _check_above(name, file)


def _check_above(name: str, path: Path) -> None:
    path = Path(os.path.abspath(path))
    existing = next(place for place in (path, *path.parents) if _exists(name, place))
    if existing != path and not existing.is_dir():
        raise ValueError(f"{name}={shortened(str(path))} is below {shortened(str(existing))}, which is a file.")
    if not os.access(existing, os.W_OK):
        raise ValueError(f"{name}={shortened(str(path))} cannot be written: {shortened(str(existing))} is read-only.")


def _exists(name: str, path: Path) -> bool:
    try:
        return path.exists()
    except NotADirectoryError:
        return False
    except OSError as error:
        raise ValueError(f"{name}={shortened(str(path))}: {error.strerror}.") from error

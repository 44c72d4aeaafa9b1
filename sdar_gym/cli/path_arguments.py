"""Paths on the command line: local ones, and for outputs known to be writable before the work begins."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import typer

from sdar_gym.paths import PathError, is_uri, local_path
from sdar_gym.text import shortened


def local(value: str) -> Path:
    """Read a path for typer; `pathlib` would make a folder `s3:` of an address."""
    try:
        path = local_path("path", value)
    except PathError as error:
        raise typer.BadParameter(str(error)) from error
    return path if is_uri(value) else Path(value).expanduser()


# What every path of the command line is declared with.
PLACE: dict[str, Any] = {"parser": local, "metavar": "PATH"}


def check_output_folder(name: str, folder: Path) -> None:
    """Refuse a folder that cannot be written into, before hours of work are to be written there.

    Raises:
        ValueError: It is a file, is below one, or may not be written.
    """
    if _exists(name, folder) and not folder.is_dir():
        raise ValueError(f"{name}={shortened(str(folder))} is a file; name a folder.")
    _check_above(name, folder)


def check_output_file(name: str, file: Path) -> None:
    """Refuse a file that cannot be written, before the work.

    Raises:
        ValueError: It is a folder, is below a file, or may not be written.
    """
    if _exists(name, file) and file.is_dir():
        raise ValueError(f"{name}={shortened(str(file))} is a folder; name a file.")
    _check_above(name, file)


def _check_above(name: str, path: Path) -> None:
    path = Path(os.path.abspath(path))
    there = next(place for place in (path, *path.parents) if _exists(name, place))
    if there != path and not there.is_dir():
        raise ValueError(f"{name}={shortened(str(path))} is below {shortened(str(there))}, which is a file.")
    if not os.access(there, os.W_OK):
        raise ValueError(f"{name}={shortened(str(path))} cannot be written: {shortened(str(there))} is read-only.")


def _exists(name: str, path: Path) -> bool:
    try:
        return path.exists()
    except NotADirectoryError:
        return False
    except OSError as error:
        raise ValueError(f"{name}={shortened(str(path))}: {error.strerror}.") from error

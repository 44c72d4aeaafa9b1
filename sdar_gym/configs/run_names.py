"""Run names: one folder name that is valid on every operating system."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from sdar_gym.text import shortened

_ALLOWED = re.compile(r"[A-Za-z0-9._-]+")
_LONGEST = 128
# Names of devices on Windows, whatever follows the first dot.
_RESERVED = frozenset(
    ("con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)))
)


def check_run_name(name: Any, setting: str = "name") -> str:
    """Checks that a name can be the name of a folder, and returns it.

    Args:
        name: The name.
        setting: Name of the setting, for messages.

    Raises:
        ValueError: It is not text, empty, too long, has characters other than letters, digits, `.`, `_` and `-`, or is
            reserved on an operating system. The message proposes a valid name.
    """
    if not isinstance(name, str):
        raise ValueError(f"{setting} must be a text, got {shortened(name)}; write {setting}='\"…\"'.")
    if not _fits(name):
        proposal = _proposal(name)
        hint = f" {setting}={proposal} would do." if proposal else ""
        raise ValueError(
            f"{setting} must be one folder name of 1 to {_LONGEST} letters (A to Z), digits, '.', '_' and '-', got "
            f"{shortened(name)}.{hint} To choose the folder of all runs, set runs_dir."
        )
    return name


def _fits(name: str) -> bool:
    return (
        _ALLOWED.fullmatch(name) is not None
        and len(name) <= _LONGEST
        and name.strip(".") != ""
        # Windows drops a dot at the end, and programs take a dash at the beginning for an option.
        and not name.endswith(".")
        and not name.startswith("-")
        and name.split(".")[0].lower() not in _RESERVED
    )


def _proposal(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii")
    short = re.sub(r"[^A-Za-z0-9._-]+", "-", plain[: 4 * _LONGEST]).strip(".-")[:_LONGEST].strip(".-")
    if not _fits(short):
        short = f"run-{short}".strip(".-")[:_LONGEST]
    return short if _fits(short) and short != "run" else ""

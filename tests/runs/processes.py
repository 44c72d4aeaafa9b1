"""Processes of a training run by their part: found under the driver's process, and killed as a machine would."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

# What Ray calls the process of an actor of a class, whatever it is doing.
TITLES = {"runner": "ray::EpisodeRunner", "learner": "ray::_WrappedExecutable", "search": "ray::_Index"}


def below(root: int) -> list[int]:
    """All descendants of a process."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name in parentheses may hold spaces.
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, waiting = [], [root]
    while waiting:
        mine = children.get(waiting.pop(), [])
        found += mine
        waiting += mine
    return found


def of_part(driver: int, part: str) -> list[int]:
    """Processes of a part of a run, by id.

    Args:
        driver: The driver's process.
        part: A key of `TITLES`.
    """
    found = []
    for process in below(driver):
        try:
            title = Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if title.startswith(TITLES[part]):
            found.append(process)
    return sorted(found)


def kill(process: int) -> None:
    """SIGKILL; a process that has just ended is no error."""
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)

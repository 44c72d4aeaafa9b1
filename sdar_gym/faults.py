"""Faults: counts of what a process survived, such as a search that was sent again; a run logs them under `faults`."""

from __future__ import annotations

import threading
from collections import Counter

_COUNTS: Counter[str] = Counter()
_LOCK = threading.Lock()


def note_fault(name: str, count: int = 1) -> None:
    """Counts something that went wrong and was survived, in this process.

    Args:
        name: Its name in docs/metrics.md, without the section.
        count: How often.
    """
    with _LOCK:
        _COUNTS[name] += count


def take_faults() -> dict[str, int]:
    """What this process counted since the last call, by name."""
    with _LOCK:
        taken = dict(_COUNTS)
        _COUNTS.clear()
    return taken

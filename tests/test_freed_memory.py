"""Freed memory goes back to the system, if there is much of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdar_gym import freed_memory
from sdar_gym.freed_memory import return_freed_memory

_MB = 1_000_000


def resident() -> float:
    """Megabytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / _MB


@pytest.mark.skipif(freed_memory._glibc() is None, reason="the C library is not glibc 2.33 or newer")
def test_holes_below_what_is_in_use_are_given_back() -> None:
    blocks = [bytes([1]) * 100_000 for _ in range(3_000)]
    kept = blocks[-1]
    full = resident()
    blocks.clear()
    assert not return_freed_memory(least=1 << 50)
    held = resident()
    assert return_freed_memory(least=200 * _MB)
    assert full - resident() > 200 > full - held
    assert kept[0] == 1


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freed_memory, "_glibc", lambda: None)
    assert not return_freed_memory(least=0)

"""Limits of the kernel on a test's process (setrlimit)."""

from __future__ import annotations

import math
import resource
from typing import Any

FREE_DESCRIPTORS = 64
MEMORY_RESERVE = 16 * 1024 * 1024  # To say that the memory is used up.


def set_limits(limits: dict[str, Any], base_address_space: int, base_threads: int) -> None:
    """Sets all limits of the calling process for good.

    Args:
        limits: The limits of a test, as plain values.
        base_address_space: Bytes the interpreter has without a program.
        base_threads: What RLIMIT_NPROC counts beside the test's own processes.
    """
    memory = base_address_space + limits["memory_bytes"]
    seconds = math.ceil(limits["cpu_seconds"]) + 1  # The supervisor counts fractions.
    _set(resource.RLIMIT_AS, memory, memory + MEMORY_RESERVE)
    _set(resource.RLIMIT_CPU, seconds, seconds)
    _set(resource.RLIMIT_FSIZE, limits["file_bytes"], limits["file_bytes"])
    _set(resource.RLIMIT_NPROC, base_threads + limits["processes"], base_threads + limits["processes"])
    _set(resource.RLIMIT_NOFILE, FREE_DESCRIPTORS, FREE_DESCRIPTORS)
    for name in (resource.RLIMIT_CORE, resource.RLIMIT_MSGQUEUE, resource.RLIMIT_RTPRIO, resource.RLIMIT_MEMLOCK):
        _set(name, 0, 0)


def _set(name: int, soft: int, hard: int) -> None:
    _, allowed = resource.getrlimit(name)
    if allowed != resource.RLIM_INFINITY:
        hard, soft = min(hard, allowed), min(soft, allowed)
    resource.setrlimit(name, (soft, hard))

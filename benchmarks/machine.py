"""What a benchmark was measured on, for its result file, and the memory of its process."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def machine(*packages: str) -> dict[str, Any]:
    """Processor, load, system and versions.

    Args:
        packages: Distributions whose versions matter, beside sdar-gym itself.
    """
    model = platform.processor() or "unknown"
    information = Path("/proc/cpuinfo")
    if information.is_file():
        lines = information.read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in ("sdar-gym", *packages)},
    }


def machine_line(where: dict[str, Any]) -> str:
    """The same in a line."""
    load = "" if where["load_average"] is None else f", load average {where['load_average']:.1f}"
    return f"{where['cpu']}, {where['cores']} cores{load}, Python {where['python']}, {where['system']}"


def resident_mb() -> float | None:
    """Resident memory of this process in megabytes; None where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

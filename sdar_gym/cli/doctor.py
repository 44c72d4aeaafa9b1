"""Says what is installed, what is missing, and the command that mends it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sdar_gym.extras import EXTRAS, install_command, missing_modules

_PURPOSE = {
    "train": "training and evaluation of policies (Ray, torch, transformers)",
    "search": "the search server of Search-QA, questions and passages in parquet files",
    "pyserini": "Lucene index for skills and passages, with its own Java",
    "alfworld": "ALFWorld's own TextWorld stack, to compare with",
    "vllm": "vLLM rollouts on GPUs",
}
_FREE_GIGABYTES = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `mend` is empty if all is well, `required` if nothing works without it."""

    what: str
    state: str
    mend: str = ""
    required: bool = False


def findings() -> list[Finding]:
    """Everything that is worth knowing of this installation."""
    python_ok = (3, 11) <= sys.version_info < (3, 13)
    report = [
        Finding(
            "Python",
            platform.python_version(),
            "" if python_ok else "use Python 3.11 or 3.12",
            required=not python_ok,
        )
    ]
    for package in ("gymnasium", "numpy", "bm25s", "PyStemmer", "rapidfuzz"):
        found = _version(package)
        report.append(Finding(package, found or "missing", "" if found else "pip install sdar-gym", required=not found))
    for extra in EXTRAS:
        missing = missing_modules(extra)
        state = "installed" if not missing else f"not installed: {', '.join(missing)}"
        light = " (light: pip install --no-deps -r requirements-lucene.txt)" if extra == "pyserini" else ""
        report.append(
            Finding(f"[{extra}] {_PURPOSE[extra]}", state, (install_command(extra) + light) if missing else "")
        )
    report += [_ray_finding(), _gpu_finding(), _data_finding(), _disk_finding()]
    return [finding for finding in report if finding.what]


def doctor_command() -> None:
    """Print the report; exit 1 if something that everything needs is missing."""
    report = findings()
    table = Table(box=None, pad_edge=False)
    for column in ("", "what", "state", "to mend it"):
        table.add_column(column, overflow="fold")
    for finding in report:
        mark = "[red]✗[/]" if finding.required else "[yellow]·[/]" if finding.mend else "[green]✓[/]"
        table.add_row(mark, escape(finding.what), escape(finding.state), escape(finding.mend))
    Console().print(table)
    if any(finding.required for finding in report):
        sys.exit(1)


def _ray_finding() -> Finding:
    found = _version("ray")
    if found is None:
        return Finding("", "")
    ok = found.startswith("2.60.")
    return Finding("Ray's minor version", found, "" if ok else 'pip install "ray[rllib,default]==2.60.*"')


def _gpu_finding() -> Finding:
    if find_spec("torch") is None:
        return Finding("", "")
    import torch

    state = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none; the CPU does for the quick start"
    return Finding("GPU", state)


def _data_finding() -> Finding:
    place = os.environ.get("ALFWORLD_DATA")
    if not place:
        return Finding("ALFWORLD_DATA", "not set: ALFWorld plays generated games")
    ok = Path(place).is_dir()
    return Finding("ALFWORLD_DATA", place if ok else f"{place} is no folder", "" if ok else "unset it or correct it")


def _disk_finding() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    mend = "" if free >= _FREE_GIGABYTES else "runs and checkpoints need room: set runs_dir to another disk"
    return Finding("free disk here", f"{free:.0f} GB", mend)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

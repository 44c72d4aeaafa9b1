"""`sdar-gym data`: list the data sets, and fetch one with a progress bar."""

from __future__ import annotations

import os
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, TaskID, TransferSpeedColumn

from sdar_gym.cli.progress import LoggedProgress
from sdar_gym.cli.terminal import Column, Terminal, table
from sdar_gym.downloads.fetch import fetch
from sdar_gym.downloads.manifest import DATA_SETS, data_set
from sdar_gym.paths import local_path


def list_command() -> None:
    """List data sets and their files."""
    rows = []
    for data in DATA_SETS.values():
        for file in data.files:
            size = "?" if file.size is None else f"{file.size / 1e6:,.0f} MB"
            known = "known" if file.sha256 else "recorded when fetched"
            rows.append((data.name, file.name, size, known, file.note + (" (--full)" if file.extra else "")))
    Terminal().print(table(("data set", "file", "size", "hash", "what"), rows))


def fetch_command(name: str, output: Path | None, mirror: str | None, offline: Path | None, full: bool) -> None:
    """Print the license, fetch with a progress bar and a line for each address, and print how to use the data."""
    data = data_set(name)
    if output is None:
        named = os.environ.get("SDAR_GYM_DATA")
        output = local_path("SDAR_GYM_DATA", named) if named else Path("sdar_gym_data")
    terminal = Terminal()
    terminal.tell(f"{data.title}\nLicense: {data.license}")
    bars: dict[str, TaskID] = {}
    columns = (Column("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with LoggedProgress(*columns, console=terminal) as progress:

        def report(file: str, done: int, total: int | None) -> None:
            if file not in bars:
                bars[file] = progress.add_task(file, total=total)
            progress.update(bars[file], completed=done, total=total)

        result = fetch(data, output, mirror=mirror, offline=offline, full=full, report=report, tell=terminal.tell)
    terminal.tell(
        f"{len(result.fetched)} file(s) fetched, {len(result.present)} already there, {result.unpacked} unpacked; in "
        f"{result.folder}"
    )
    if result.unverified:
        terminal.tell(
            f"No hash is published for {', '.join(result.unverified)}: the hash of what was fetched is recorded in "
            "CHECKSUMS.json, and later fetches must match it."
        )
    terminal.tell(f"use it: {data.usage.format(folder=result.folder)}")
    skipped = [file.name for file in data.files if file.extra and not full]
    if skipped:
        terminal.tell(f"skipped: {', '.join(skipped)} (--full)")

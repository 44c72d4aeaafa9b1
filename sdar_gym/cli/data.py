"""What `sdar-gym data` shows while it fetches."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from sdar_gym.downloads.fetch import fetch
from sdar_gym.downloads.manifest import DATA_SETS, data_set
from sdar_gym.paths import local_path
from sdar_gym.text import terminal_safe


def list_command() -> None:
    """List data sets and their files."""
    table = Table(box=None, pad_edge=False)
    for column in ("data set", "file", "size", "hash", "what"):
        table.add_column(column, overflow="fold")
    for data in DATA_SETS.values():
        for file in data.files:
            size = "?" if file.size is None else f"{file.size / 1e6:,.0f} MB"
            known = "known" if file.sha256 else "recorded when fetched"
            table.add_row(data.name, file.name, size, known, file.note + (" (--full)" if file.extra else ""))
    Console().print(table)


def fetch_command(name: str, output: Path | None, mirror: str | None, offline: Path | None, full: bool) -> None:
    """Say the licence, fetch with a progress bar and a line for each address, and say how to use it."""
    data = data_set(name)
    if output is None:
        named = os.environ.get("SDAR_GYM_DATA")
        output = local_path("SDAR_GYM_DATA", named) if named else Path("sdar_gym_data")
    console = Console()

    def say(message: str) -> None:
        # As text: neither brackets nor `:names:` of paths and servers mean anything.
        console.print(Text(terminal_safe(message)), soft_wrap=True)

    say(f"{data.title}\nLicence: {data.licence}")
    bars: dict[str, TaskID] = {}
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console) as progress:

        def report(file: str, done: int, total: int | None) -> None:
            if file not in bars:
                bars[file] = progress.add_task(file, total=total)
            progress.update(bars[file], completed=done, total=total)

        result = fetch(data, output, mirror=mirror, offline=offline, full=full, report=report, tell=say)
    say(
        f"{len(result.fetched)} file(s) fetched, {len(result.present)} there already, {result.unpacked} unpacked; in "
        f"{result.folder}"
    )
    if result.unverified:
        say(
            f"No hash is published for {', '.join(result.unverified)}: what came is recorded in CHECKSUMS.json "
            "and has to be the same the next time."
        )
    say(f"use it: {data.usage.format(folder=result.folder)}")
    left = [file.name for file in data.files if file.extra and not full]
    if left:
        say(f"left out: {', '.join(left)} (--full)")

"""What `sdar-gym data` shows while it fetches."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn
from rich.table import Table

from sdar_gym.data.fetch import fetch
from sdar_gym.data.manifest import DATA_SETS, data_set


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
    """Say the licence, fetch with a progress bar, and say how to use it."""
    data = data_set(name)
    root = output or Path(os.environ.get("SDAR_GYM_DATA") or "sdar_gym_data")
    console = Console()
    console.print(f"[bold]{escape(data.title)}[/]\nLicence: {escape(data.licence)}", highlight=False)
    bars: dict[str, TaskID] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console) as progress:

        def report(file: str, done: int, total: int | None) -> None:
            if file not in bars:
                bars[file] = progress.add_task(escape(file), total=total)
            progress.update(bars[file], completed=done, total=total)

        result = fetch(data, root, mirror=mirror, offline=offline, full=full, report=report)
    console.print(
        f"{len(result.fetched)} file(s) fetched, {len(result.present)} there already, {result.unpacked} unpacked; in "
        f"{escape(str(result.folder))}",
        soft_wrap=True,
        highlight=False,
    )
    if result.unverified:
        console.print(
            f"No hash is published for {escape(', '.join(result.unverified))}: what came is recorded in CHECKSUMS.json "
            "and has to be the same the next time.",
            soft_wrap=True,
            highlight=False,
        )
    usage = data.usage.format(folder=result.folder)
    console.print(f"use it: {escape(usage)}", soft_wrap=True, highlight=False)
    left = [file.name for file in data.files if file.extra and not full]
    if left:
        console.print(f"left out: {escape(', '.join(left))} (--full)", soft_wrap=True, highlight=False)

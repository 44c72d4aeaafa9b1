"""The command `view`: writes the viewer's page of a run, and keeps it up to date while the run goes on."""

from __future__ import annotations

import time
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import typer

from sdar_gym.cli.terminal import Terminal
from sdar_gym.text import terminal_safe
from sdar_gym.viewer.page import write_page
from sdar_gym.viewer.page_data import PageData
from sdar_gym.viewer.recording import Recording

# Between two looks at a run that goes on, in seconds.
_INTERVAL = 5.0


def view_command(folders: Sequence[Path], output: Path | None, follow: bool, open_browser: bool) -> None:
    """Writes the page and says where it is; with `follow` again and again, until Ctrl-C or the end of the run."""
    if len(folders) > 2:
        raise typer.BadParameter(f"A page shows one run or compares two; {len(folders)} were given.")
    recordings = [Recording(folder) for folder in folders]
    console = Terminal()
    path, data = write_page(recordings, output, refresh=follow)
    _tell(console, path, data)
    if open_browser and not webbrowser.open(path.as_uri()):
        console.tell("No browser can be started here; open the page yourself.")
    if follow:
        console.tell("The page follows the run; Ctrl-C ends this.")
        with suppress(KeyboardInterrupt):
            _follow(recordings, output)
        write_page([Recording(folder) for folder in folders], output)


def _follow(recordings: Sequence[Recording], output: Path | None) -> None:
    """Writes the page again whenever a file of a recording has changed, until all of them are finished."""
    while not all(_is_finished(recording) for recording in recordings):
        before = _state(recordings)
        while _state(recordings) == before:
            time.sleep(_INTERVAL)
        recordings = [Recording(recording.path) for recording in recordings]
        write_page(recordings, output, refresh=True)


def _tell(console: Terminal, path: Path, data: PageData) -> None:
    for notice in data.notices:
        console.print(terminal_safe(notice), style="yellow")
    size = path.stat().st_size + sum(map(len, data.chunks)) * ("folder" in data.index)
    beside = f", with {data.index['folder']}/ beside it" if "folder" in data.index else ""
    console.tell(f"{len(data.index['rows'])} episodes, {size / 1e6:.1f} MB{beside}\n{path.as_uri()}")


def _is_finished(recording: Recording) -> bool:
    return (recording.path / "summary.json").is_file()


def _state(recordings: Sequence[Recording]) -> list[tuple[str, int, int]]:
    """Names, sizes and times of the files that a page is made of."""
    files = [
        file
        for recording in recordings
        for file in (
            recording.path / "metrics.jsonl",
            recording.path / "summary.json",
            *(batch.file for batch in recording.batches()),
        )
        if file.is_file()
    ]
    return [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]

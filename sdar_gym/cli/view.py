"""The command `view`: a run as a page that follows it, in the terminal, or as logs for another viewer."""

from __future__ import annotations

import shlex
import time
import webbrowser
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import typer

from sdar_gym.cli.terminal import Terminal
from sdar_gym.text import shortened, terminal_safe
from sdar_gym.viewer.page import write_page
from sdar_gym.viewer.page_data import PageData
from sdar_gym.viewer.recording import Recording

# Between two looks at a run that goes on, in seconds.
_INTERVAL = 5.0
# Of a list in the terminal, by default.
_ROWS = 20


def refuse_options_of_another_form(
    terminal: bool,
    export: str | None,
    of_terminal: Mapping[str, Any],
    of_page: Mapping[str, Any],
    of_export: Mapping[str, Any],
) -> None:
    """Refuses options that have no effect on the chosen form of the view.

    Args:
        terminal: Whether `--terminal` is given.
        export: The value of `--export`.
        of_terminal: Options of the terminal and their values; None is not given.
        of_page: Those of the page; an export has `--output` as well.
        of_export: Those of an export.

    Raises:
        BadParameter: Names the option and the form.
    """
    if terminal and export is not None:
        raise typer.BadParameter("--terminal and --export are two forms; give one of them.")
    chosen = "--terminal" if terminal else "--export" if export is not None else ""
    forms = (("--terminal", of_terminal), ("", of_page), ("--export", of_export))
    for name, form in ((name, form) for form, options in forms for name, value in options.items() if value is not None):
        if form != chosen and not (name == "--output" and chosen == "--export"):
            raise typer.BadParameter(f"{name} needs {form}." if form else f"{name} has no effect with {chosen}.")


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
    shown: list[tuple[str, int, int]] = []
    while not all(_is_finished(recording) for recording in recordings):
        # Taken before the files are read: what is written meanwhile is seen the next time.
        found = _state(recordings)
        if found == shown:
            time.sleep(_INTERVAL)
            continue
        shown = found
        recordings = [Recording(recording.path) for recording in recordings]
        write_page(recordings, output, refresh=True)


def terminal_command(
    folders: Sequence[Path], of_list: Mapping[str, Any], episode: str | None, color: str | None
) -> None:
    """Prints a run, some of its episodes or one of them; of two runs, their paired table.

    Args:
        folders: One or two.
        of_list: The options `--type`, `--outcome`, `--task`, `--update` and `--limit`; None is not given.
        episode: `BATCH/ID` of the episode to show.
        color: The measure that colors its tokens; None for the gap.
    """
    from sdar_gym.viewer import terminal
    from sdar_gym.viewer.terminal_comparison import show_comparison
    from sdar_gym.viewer.terminal_episode import show_episode

    if len(folders) > 2:
        raise typer.BadParameter(f"One run is shown or two are compared; {len(folders)} were given.")
    _refuse_without_effect(len(folders), of_list, episode, color)
    recordings = [Recording(folder) for folder in folders]
    console = terminal.view_terminal()
    limit = of_list["--limit"] or _ROWS
    if episode is not None:
        for recording in recordings:
            show_episode(console, recording, episode, color or "gap")
        return
    given = any(value is not None for value in of_list.values())
    for recording in recordings:
        if len(recordings) == 2 or not given:
            terminal.show_overview(console, recording)
            console.print()
    if len(recordings) == 2:
        show_comparison(console, recordings[0], recordings[1], of_list["--update"], limit)
        return
    wanted = terminal.EpisodeFilter(of_list["--type"], of_list["--outcome"], of_list["--update"], of_list["--task"])
    terminal.show_episodes(console, recordings[0], wanted, limit)


def _refuse_without_effect(runs: int, of_list: Mapping[str, Any], episode: str | None, color: str | None) -> None:
    from sdar_gym.viewer.terminal import OUTCOMES
    from sdar_gym.viewer.token_measures import MEASURES

    if color is not None and episode is None:
        raise typer.BadParameter("--color needs --episode: the tokens of one episode are colored.")
    if color not in (None, *MEASURES):
        raise typer.BadParameter(f"--color is one of {', '.join(MEASURES)}, got {shortened(color)}.")
    outcome = of_list["--outcome"]
    if outcome not in (None, *OUTCOMES):
        raise typer.BadParameter(f"--outcome is one of {', '.join(OUTCOMES)}, got {shortened(outcome)}.")
    for name, value in of_list.items():
        if value is not None and episode is not None:
            raise typer.BadParameter(f"{name} is for a list of episodes; --episode shows one.")
        if value is not None and runs == 2 and name not in ("--update", "--limit"):
            raise typer.BadParameter(f"{name} is for the episodes of one run; two are compared task by task.")


def export_command(folders: Sequence[Path], form: str, output: Path | None, batch: str | None) -> None:
    """Writes the episodes of a run as logs of another viewer, and says where they are and how to open them.

    Args:
        folders: One run.
        form: `inspect`.
        output: File or folder to write; None for a folder in the run's.
        batch: The batch to write; None for every evaluation.
    """
    if form != "inspect":
        raise typer.BadParameter(f"--export is inspect, got {shortened(form)}.")
    if len(folders) > 1:
        raise typer.BadParameter(f"--export writes the logs of one run; {len(folders)} were given.")
    from sdar_gym.viewer.inspect_log import write_inspect_logs

    console = Terminal()
    paths, notices = write_inspect_logs(Recording(folders[0]), output, batch)
    for notice in notices:
        console.print(notice, style="yellow")
    for path in paths:
        console.tell(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
    console.tell(f"Open with: inspect view --log-dir {shlex.quote(str(paths[0].parent))}")


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

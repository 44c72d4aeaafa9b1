"""Viewer page: one HTML file that needs no server and no network, or a folder of it and chunks for large runs."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from sdar_gym.files import replace_text
from sdar_gym.paths import first_line
from sdar_gym.viewer.page_data import PageData, page_data
from sdar_gym.viewer.recording import Recording, RecordingError

# Characters of chunks in one file; a browser reads this much in a fraction of a second.
LARGEST_FILE = 12_000_000
_SCRIPTS = ("vendor/htm-preact.js", "vendor/uPlot.js")
# In this order they are one script: a part uses the functions of those before it.
_PARTS = (
    "base.js", "store.js", "route.js", "scales.js", "charts.js", "overview.js", "episode_list.js", "tokens.js",
    "episode.js", "group.js", "compare.js", "settings.js", "app.js",
)  # fmt: skip
_STYLES = ("vendor/uPlot.css", "viewer.css")


def write_page(
    recordings: Sequence[Recording],
    output: Path | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
    *,
    refresh: bool = False,
) -> tuple[Path, PageData]:
    """Writes the page of one recording, or of two to compare.

    Args:
        recordings: One or two.
        output: The HTML file; default `view.html` in the first one's folder. A large run's chunks lie beside it in a
            folder of its name and `_files`.
        report: Called with the number of files read and of all files.
        refresh: Whether the page looks for a newer version of itself every few seconds.

    Returns:
        The HTML file, and what it shows.

    Raises:
        RecordingError: A recording cannot be read, or the page cannot be written.
    """
    path = recordings[0].path / "view.html" if output is None else output.absolute()
    beside = path.with_name(f"{path.stem}_files")
    data = page_data(recordings, report)
    data.index["notices"] = data.notices
    inline = sum(map(len, data.chunks)) <= LARGEST_FILE
    if not inline:
        data.index["folder"] = beside.name
    if refresh:
        version = hashlib.sha256(_script_json(data.index).encode()).hexdigest()[:16]
        data.index["refresh"] = {"script": f"{beside.name}/version.js", "version": version}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(beside, ignore_errors=True)
        if refresh or not inline:
            beside.mkdir()
        for number, chunk in enumerate(() if inline else data.chunks):
            (beside / f"chunk-{number:05d}.js").write_text(f'sdarChunk({number},"{chunk}")\n', encoding="ascii")
        replace_text(path, page_html(data, inline=inline))
        if refresh:  # After the page, which an open one loads again for it.
            replace_text(beside / "version.js", f'sdarVersion("{data.index["refresh"]["version"]}")\n')
    except OSError as error:
        raise RecordingError(f"The page {path} cannot be written: {error.strerror or first_line(error)}.") from error
    return path, data


def page_html(data: PageData, *, inline: bool) -> str:
    """The page as one text.

    Args:
        data: What it shows.
        inline: Whether the chunks are in it; else they are scripts beside it.
    """
    style = "\n".join(_asset(name) for name in _STYLES)
    parts = "\n".join(_asset(name) for name in _PARTS)
    scripts = [*(_asset(name) for name in _SCRIPTS), f'"use strict";\n(() => {{\n{parts}\n}})();\n']
    # Scripts with these hashes and beside the page run, nothing else does, and nothing is ever requested elsewhere.
    allowed = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts)
    policy = (
        f"default-src 'none'; script-src {allowed} 'self' file:; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    title = " and ".join(recording["name"] for recording in data.index["recordings"])
    chunks = enumerate(data.chunks) if inline else ()
    return "\n".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            f"<title>{escape(title)} · SDAR Gym</title>\n<style>{style}</style>\n</head>\n<body>",
            '<div id="app"><noscript>This page needs JavaScript; it makes no requests.</noscript></div>',
            f'<script type="application/json" id="index">{_script_json(data.index)}</script>',
            *(f'<script type="text/plain" id="chunk-{number}">{chunk}</script>' for number, chunk in chunks),
            *(f"<script>{script}</script>" for script in scripts),
            "</body>\n</html>\n",
        )
    )


def _asset(name: str) -> str:
    return files("sdar_gym.viewer").joinpath("page", *name.split("/")).read_text(encoding="utf-8")


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


def _script_json(content: Any) -> str:
    """JSON that cannot end its script element."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")

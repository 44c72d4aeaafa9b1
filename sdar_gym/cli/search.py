"""`sdar-gym index` and `sdar-gym serve-search`: build a search index and serve it over HTTP."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from rich.progress import BarColumn, TaskProgressColumn, TimeElapsedColumn, TimeRemainingColumn

from sdar_gym.cli.listening import listen
from sdar_gym.cli.progress import LoggedProgress
from sdar_gym.cli.terminal import Column, Terminal
from sdar_gym.extras import require

_STEPS = 1000


def index_command(corpus: Path, output: Path, backend: str, k1: float, b: float) -> None:
    """Index a corpus with a progress bar, and print a summary."""
    from sdar_gym.skills.index.build import build_folder

    columns = (
        Column("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        Column("{task.fields[passages]:,} passages"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    begun = time.monotonic()
    with LoggedProgress(*columns, console=Terminal(stderr=True), transient=True) as progress:
        # Shown with the first report, so that an error before the work is alone.
        bar = progress.add_task(f"indexing with {backend}", total=_STEPS, passages=0, visible=False)

        def report(documents: int, fraction: float) -> None:
            progress.update(bar, completed=fraction * _STEPS, passages=documents, visible=True)

        manifest = build_folder(corpus, output, backend, k1=k1, b=b, report=report)
    size = sum(file.stat().st_size for file in output.rglob("*") if file.is_file())
    Terminal().tell(
        f"{manifest.documents:,} passages of {manifest.corpus} in {output}: {manifest.backend}, k1 {manifest.k1:g}, "
        f"b {manifest.b:g}, {size / 1e6:,.1f} MB, {time.monotonic() - begun:.0f} s."
    )


def serve_command(index: Path, host: str, port: int, topk: int) -> None:
    """Serve an index folder until interrupted.

    Raises:
        MissingExtraError: fastapi or uvicorn is not installed.
        ValueError: There is no index, the port is in use, or `topk` is out of range.
    """
    require("search", "The search server")
    import uvicorn

    from sdar_gym.envs.searchqa.connections import TimedProtocol
    from sdar_gym.envs.searchqa.server import MAX_TOPK, create_app
    from sdar_gym.skills.index.passages import open_passages

    if not 1 <= topk <= MAX_TOPK:
        raise ValueError(f"topk must be from 1 to {MAX_TOPK}, got {topk}.")
    # Bind the port before opening the index, which can take a while.
    with ExitStack() as closing:
        listener = listen(host, port)
        closing.callback(listener.close)
        passages = open_passages(index)
        closing.callback(passages.close)
        passages.search("warm", 1)
        shown = f"[{host}]" if ":" in host else host
        Terminal().tell(
            f"{len(passages):,} passages at http://{shown}:{listener.getsockname()[1]}/retrieve; Ctrl-C ends it."
        )
        config = uvicorn.Config(create_app(passages, topk), http=TimedProtocol, ws="none", log_level="warning")
        uvicorn.Server(config).run(sockets=[listener])

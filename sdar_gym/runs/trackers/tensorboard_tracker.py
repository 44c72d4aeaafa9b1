"""TensorBoard: event files in the run folder, written by tensorboardX, which comes with RLlib."""

from __future__ import annotations

import json
from collections.abc import Mapping

from sdar_gym.runs.trackers.tracker import TrackedRun, Tracker


class TensorBoardTracker(Tracker):
    """Event files in `RUN/tensorboard`; a resumed run writes them anew from its metrics, so no later step stays.

    Args:
        run: The run.
    """

    begins_anew = True

    def __init__(self, run: TrackedRun):
        from tensorboardX import SummaryWriter

        folder = run.folder / "tensorboard"
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        # A TensorBoard that is open drops what it read of the old files.
        self._writer = SummaryWriter(str(folder), purge_step=0, flush_secs=10)
        about = {"run": run.id, "folder": str(run.folder), "settings": run.settings, "versions": run.versions}
        # Markdown: lines that are indented are shown as they are.
        text = json.dumps(about, indent=2, ensure_ascii=False, default=str)
        self._writer.add_text("run", "".join(f"    {line}\n" for line in text.splitlines()), 0)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Adds scalars."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def close(self, *, finished: bool) -> None:
        """Flushes and closes the file."""
        self._writer.close()

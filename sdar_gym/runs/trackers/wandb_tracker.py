"""W&B (Weights & Biases): a run of that service, offline unless its own variable `WANDB_MODE` says otherwise."""

from __future__ import annotations

import os
from collections.abc import Mapping

from sdar_gym.runs.trackers.tracker import TrackedRun, Tracker

_PROJECT = "sdar-gym"


class WandbTracker(Tracker):
    """A W&B run with the run's own id, which a resumed run continues; its files are in `RUN/wandb`.

    A process of W&B writes the files and keeps some tens of kilobytes in memory. What a kill may have lost is sent
    again at the resume; a run that is online ignores the steps that it has.

    Args:
        run: The run.
    """

    buffers = True

    def __init__(self, run: TrackedRun):
        # Reports of errors go to W&B's makers otherwise; a run sends nothing that nobody asked for.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb  # pyright: ignore[reportMissingImports]

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or _PROJECT,
            id=run.id,
            name=run.folder.name,
            dir=str(run.folder),
            mode=os.environ.get("WANDB_MODE") or "offline",
            resume="allow",
            reinit="create_new",
            config={**run.settings, "run_folder": str(run.folder), "versions": run.versions},
            # What the process prints belongs to the command line.
            settings=wandb.Settings(silent=True, console="off"),
        )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Adds a row, or adds to the row of the same step."""
        self._run.log(dict(metrics), step=step)

    def close(self, *, finished: bool) -> None:
        """Waits until all is written or sent."""
        self._run.finish(exit_code=0 if finished else 1)

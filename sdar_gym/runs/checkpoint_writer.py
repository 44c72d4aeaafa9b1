"""Checkpoint writer: writes a run's checkpoints beside the training, one after the other, in a thread."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from sdar_gym.configs.sections import CheckpointSettings
from sdar_gym.runs.checkpoint import Snapshot, snapshot_of, write_checkpoint
from sdar_gym.runs.folder import RunFolder


class _AbandonedError(Exception):
    """A checkpoint that is not wanted any more."""


class CheckpointWriter:
    """Writes checkpoints of one run.

    The state is copied at once, where it is the memory that training goes on with; hashing, writing and flushing are
    done beside the next rollouts. A process that is killed meanwhile leaves the last whole checkpoint: a new one gets
    its name when it is flushed.

    Args:
        folder: The run folder, which is locked.
        settings: Which checkpoints are kept.
    """

    def __init__(self, folder: RunFolder, settings: CheckpointSettings):
        self._folder = folder
        self._settings = settings
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._abandoned = False

    def write(self, state: Mapping[str, Any], *, best: bool, in_use: bool, run: str, settings: Any, panel: str) -> None:
        """Begins to write a checkpoint, when the one before is written.

        Args:
            state: Result of `SDAR.resumable_state`.
            best: Whether its evaluation is the best of the run so far.
            in_use: Whether the state is the memory of a learner in this process.
            run: The run's id.
            settings: The run's configuration, as plain data.
            panel: Hash of its evaluation panel.

        Raises:
            NonFiniteError: Some weights are not finite.
            RunFolderError: The one before could not be written.
        """
        self.wait()
        snapshot = snapshot_of(state, copy=in_use)
        about = {"run": run, "settings": settings, "panel": panel}
        self._thread = threading.Thread(
            target=self._write, args=(snapshot, best, about), name="checkpoint-writer", daemon=True
        )
        self._thread.start()

    def check(self) -> None:
        """Raises the error of a checkpoint that could not be written.

        Raises:
            RunFolderError: With the reason and the last good checkpoint.
        """
        error, self._error = self._error, None
        if error is not None:
            raise error

    def wait(self) -> None:
        """Waits for the checkpoint that is being written; raises its error like `check`."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def abandon(self) -> None:
        """Leaves a checkpoint that is being written unfinished: what is on disk stays as it is."""
        self._abandoned = True

    def _write(self, snapshot: Snapshot, best: bool, about: dict[str, Any]) -> None:
        try:
            with self._folder.fresh_checkpoint(self._settings.keep) as fresh:
                write_checkpoint(fresh, snapshot, **about)
                if self._abandoned:
                    raise _AbandonedError
            if best and self._settings.best:
                self._folder.keep_best()
        except _AbandonedError:
            return
        except BaseException as error:
            # Raised in the main thread, by the next call.
            self._error = error

"""Tracking: gives each line of `metrics.jsonl` to the trackers of a run, once, and never ends the run by an error."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sdar_gym.extras import MissingExtraError, install_command
from sdar_gym.files import replace_text
from sdar_gym.paths import DAMAGED, first_line
from sdar_gym.runs.trackers.mlflow_tracker import MlflowTracker
from sdar_gym.runs.trackers.tensorboard_tracker import TensorBoardTracker
from sdar_gym.runs.trackers.tracker import TrackedRun, Tracker
from sdar_gym.runs.trackers.wandb_tracker import WandbTracker
from sdar_gym.training.metric_names import flat_metrics

_FILE = "trackers.json"
# By name: the class, the module that it imports, and the extra that installs it.
TRACKERS: Mapping[str, tuple[Callable[[TrackedRun], Tracker], str, str]] = {
    "tensorboard": (TensorBoardTracker, "tensorboardX", "train"),
    "wandb": (WandbTracker, "wandb", "wandb"),
    "mlflow": (MlflowTracker, "mlflow", "mlflow"),
}


class TrackingWarning(UserWarning):
    """A tracker that failed; the run goes on without it."""


def check_trackers(names: Sequence[str]) -> None:
    """Checks that the trackers' packages are installed.

    Args:
        names: Keys of `TRACKERS`.

    Raises:
        MissingExtraError: Names the package and the command that installs it.
    """
    for name in names:
        _, module, extra = TRACKERS[name]
        if find_spec(module) is None:
            raise MissingExtraError(f"trackers={name} needs the package {module}. Install it: {install_command(extra)}")


class Tracking:
    """The trackers of a run.

    `trackers.json` in the run folder says which line each tracker has for certain. A resumed run computes the updates
    after its checkpoint again, with the same results, so those that a tracker has already are not sent again; and a
    tracker that failed, or was added at the resume, gets what it lacks.

    Args:
        names: Keys of `TRACKERS`.
        run: The run.
        records: The lines of `metrics.jsonl`.
    """

    def __init__(self, names: Sequence[str], run: TrackedRun, records: Iterable[Mapping[str, Any]] = ()):
        self._file = run.folder / _FILE
        self._certain = _read(self._file)
        self._given = dict(self._certain)
        self._trackers: dict[str, Tracker] = {}
        for name in names:
            self._guarded(name, lambda name=name: self._open(name, run))
        for record in records:
            self.log(record)

    def _open(self, name: str, run: TrackedRun) -> None:
        self._trackers[name] = tracker = TRACKERS[name][0](run)
        if tracker.begins_anew:
            self._given.pop(name, None)

    def log(self, record: Mapping[str, Any]) -> None:
        """Gives a line of `metrics.jsonl` to the trackers that have not had it.

        Args:
            record: The line.
        """
        place = _place(record)
        late = [name for name in self._trackers if place > self._given.get(name, -1)]
        if not late:
            return
        metrics = flat_metrics(record)
        for name in late:
            self._guarded(name, lambda name=name: self._trackers[name].log(record["update"], metrics))
            if name in self._trackers:
                self._given[name] = place
        self._note(name for name in late if name in self._trackers and not self._trackers[name].buffers)

    def _note(self, names: Iterable[str]) -> None:
        """Writes down that trackers have what they were given."""
        self._certain |= {name: self._given[name] for name in names if name in self._given}
        with suppress(OSError):  # A full disk ends the run at its own files.
            replace_text(self._file, json.dumps(self._certain) + "\n")

    def close(self, *, finished: bool) -> None:
        """Closes all trackers.

        Args:
            finished: Whether the run came to its end.
        """
        for name, tracker in list(self._trackers.items()):
            self._guarded(name, lambda tracker=tracker: tracker.close(finished=finished))
        self._note(self._trackers)
        self._trackers.clear()

    def _guarded(self, name: str, act: Callable[[], None]) -> None:
        """Runs a tracker's code; after an error the tracker is left out, with one warning."""
        try:
            act()
        except Exception as error:  # Anything that a service's client raises.
            self._trackers.pop(name, None)
            warnings.warn(
                f"{name} is not written any more: {type(error).__name__}: {first_line(error)} The run goes on; "
                "metrics.jsonl has everything, and a resume gives the tracker what it lacks.",
                TrackingWarning,
                stacklevel=2,
            )


def _place(record: Mapping[str, Any]) -> int:
    """The place of a line in `metrics.jsonl`: an evaluation follows its update."""
    return 2 * int(record["update"]) + ("evaluation" in record)


def _read(file: Path) -> dict[str, int]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return {str(name): int(place) for name, place in content.items()}
    except (*DAMAGED, ValueError, TypeError, AttributeError):
        return {}  # A new run, or a damaged file: the trackers are told of everything.

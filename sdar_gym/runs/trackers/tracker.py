"""Tracker contract: what an experiment tracker is told of a run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """A run as trackers show it.

    Attributes:
        id: The run's id, of `versions.json`.
        folder: Its folder.
        settings: Its settings, nested and without secrets.
        versions: Package versions, machine and command.
    """

    id: str
    folder: Path
    settings: Mapping[str, Any]
    versions: Mapping[str, Any]


class Tracker(ABC):
    """Writes the metrics of one run to one service; made from a `TrackedRun` when the run begins or is resumed.

    Attributes:
        begins_anew: Whether it holds nothing of the run yet, also at a resume, and so has to be told of all updates.
        buffers: Whether a killed process may lose what it was told, so that only `close` makes it certain.
    """

    begins_anew = False
    buffers = False

    @abstractmethod
    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Adds metrics.

        Args:
            step: Number of updates done.
            metrics: Values by name.
        """

    @abstractmethod
    def close(self, *, finished: bool) -> None:
        """Writes what is left.

        Args:
            finished: Whether the run came to its end.
        """

"""MLflow: a run in a database beside the run folders, or where MLflow's own `MLFLOW_TRACKING_URI` says."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sdar_gym.configs.record import flat_settings
from sdar_gym.runs.trackers.tracker import TrackedRun, Tracker
from sdar_gym.training.metric_names import tracker_name

_EXPERIMENT = "sdar-gym"
# Our run's id; MLflow gives its runs ids of its own.
_ID = "sdar_gym.run"
# Most metrics and parameters of a request, and most characters of a parameter.
_METRICS, _PARAMETERS, _CHARACTERS = 1_000, 100, 6_000


class MlflowTracker(Tracker):
    """A run in the experiment `sdar-gym`, found again by its id when it is resumed.

    Without `MLFLOW_TRACKING_URI` it is in `mlflow.db` beside the run folder, so that one page shows all runs of a
    folder. The client is used without MLflow's global state, so a user's own active run is left alone.

    Args:
        run: The run.
    """

    def __init__(self, run: TrackedRun):
        # Reports of use go to MLflow's makers otherwise; a run sends nothing that nobody asked for.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]

        # It tells of every table that it makes.
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
        self._client = MlflowClient(tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or database(run.folder.parent))
        experiment = _experiment(self._client)
        found = self._client.search_runs([experiment], f"tags.`{_ID}` = '{run.id}'", max_results=1)
        self.begins_anew = not found
        if found:
            self._id = found[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
        else:
            self._id = self._create(experiment, run)

    def _create(self, experiment: str, run: TrackedRun) -> str:
        from mlflow.entities import Param  # pyright: ignore[reportMissingImports]

        tags = {_ID: run.id, "sdar_gym.run_folder": str(run.folder)}
        tags |= {f"sdar_gym.{name}": str(value)[:_CHARACTERS] for name, value in run.versions.items()}
        name = self._client.create_run(experiment, tags=tags, run_name=run.folder.name).info.run_id
        settings = [
            Param(tracker_name(key), str(value)[:_CHARACTERS]) for key, value in flat_settings(run.settings).items()
        ]
        for part in _parts(settings, _PARAMETERS):
            self._client.log_batch(name, params=part)
        return name

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Adds metrics, in as few requests as MLflow allows."""
        from mlflow.entities import Metric  # pyright: ignore[reportMissingImports]

        now = int(1_000 * time.time())
        for part in _parts([Metric(name, value, now, step) for name, value in metrics.items()], _METRICS):
            self._client.log_batch(self._id, metrics=part)

    def close(self, *, finished: bool) -> None:
        """Sets the run's state."""
        self._client.set_terminated(self._id, "FINISHED" if finished else "KILLED")


def database(folder: Path) -> str:
    """Address of the database in a folder of runs."""
    return f"sqlite:///{folder / 'mlflow.db'}"


def _experiment(client: Any) -> str:
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or _EXPERIMENT
    found = client.get_experiment_by_name(name)
    return str(client.create_experiment(name) if found is None else found.experiment_id)


def _parts(whole: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(whole), size):
        yield whole[start : start + size]

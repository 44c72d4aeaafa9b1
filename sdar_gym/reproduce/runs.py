"""Runs of a study: played in parallel by Ray Tune, each finished one a line in a log, so that a study can go on."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sdar_gym.files import append_line
from sdar_gym.paths import DAMAGED, first_line
from sdar_gym.reproduce.study import Job
from sdar_gym.text import shortened

# Metrics of an update that are kept of every run, as means over the updates that have them.
_KEPT = {
    "train/success": "training_success",
    "train/all_fail_fraction": "all_fail_fraction",
    "learner/distill_gradient_share": "distill_gradient_share",
}


class StudyError(ValueError):
    """A log of a study that cannot be read, or a run that failed."""


def run_key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What identifies a run, as `Job.key` does.

    Args:
        row: Result of a run.

    Raises:
        KeyError: It is none.
    """
    return row["part"], row["arm"], row["value"], row["seed"], row["stage"]


def read_log(path: Path) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The finished runs of a study by the key of their job; an incomplete last line is left out.

    Args:
        path: The log; may not exist.

    Raises:
        StudyError: A line is no result of a run.
    """
    if not path.exists():
        return {}
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        for line in lines:
            if not line.endswith("\n"):
                break
            row = json.loads(line)
            rows[run_key(row)] = row
    except (*DAMAGED, ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{path} is no log of a study: {first_line(error)}. Move it away to begin again.") from error
    return rows


def play(job: Job) -> dict[str, Any]:
    """One run: train, and the panel at the evaluations.

    Args:
        job: What to play.

    Returns:
        The result as JSON types, with the job's key.
    """
    from sdar_gym.configs import load_config
    from sdar_gym.runs.train import train

    started, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        run, summary = train(load_config(job.config, [*job.changes, f"runs_dir={folder}"]))
        records = run.records()
    after = summary["after"]
    means: dict[str, float] = {}
    for path, name in _KEPT.items():
        section, metric = path.split("/")
        values = [record[section][metric] for record in records if record.get(section, {}).get(metric) is not None]
        if values:
            means[name] = statistics.fmean(values)
    return {
        "part": job.part,
        "arm": job.arm,
        "value": job.value,
        "seed": job.seed,
        "stage": job.stage,
        "success": after["success"],
        "by_type": {key.partition("/")[2]: value for key, value in after.items() if key.startswith("success/")},
        "curve": [[r["update"], r["evaluation"]["success"]] for r in records if "evaluation" in r],
        "panel": [after["panel"], after["panel_hash"], after["tasks"]],
        **means,
        "episodes": sum(record["train"]["episodes"] for record in records if "train" in record),
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu,
    }


def run_jobs(
    jobs: Sequence[Job], log: Path, concurrent: int, report: Callable[[int, int, Mapping[str, Any]], None]
) -> list[dict[str, Any]]:
    """Plays the jobs that the log does not have, and returns the results of all.

    Args:
        jobs: The runs.
        log: File of finished runs, appended to.
        concurrent: Runs at a time, one core each.
        report: Called with the number of runs that finished, of all that were left, and the last one's result.

    Raises:
        StudyError: A run failed; the others are in the log.
    """
    done = read_log(log)
    left = [job for job in jobs if job.key not in done]
    if left:
        log.parent.mkdir(parents=True, exist_ok=True)
        _tune(left, log, concurrent, report)
        done = read_log(log)
    missing = [job for job in jobs if job.key not in done]
    if missing:
        raise StudyError(
            f"{len(missing)} of {len(jobs)} runs failed, the first of them {shortened(missing[0].key)}; {log} has the "
            "others. The same command plays only what is missing."
        )
    return [done[job.key] for job in jobs]


def _tune(
    jobs: Sequence[Job], log: Path, concurrent: int, report: Callable[[int, int, Mapping[str, Any]], None]
) -> None:
    import logging

    import ray
    from ray import tune

    class Log(tune.Callback):
        """Writes each finished run to the log, in the driver."""

        def __init__(self) -> None:
            self.count = 0

        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
            row = result["row"]
            append_line(log, json.dumps(row))
            self.count += 1
            report(self.count, len(jobs), row)

        def __reduce__(self) -> Any:
            # Tune saves its callbacks to resume; this study resumes by its log.
            return tune.Callback, ()

    class Run(tune.Trainable):
        """A process that plays one run after another, since starting one takes as long as a third of a run."""

        def setup(self, config: dict[str, Any]) -> None:
            import torch

            from sdar_gym.cli.training import quiet

            quiet()
            torch.set_num_threads(1)
            self.job = jobs[config["job"]]

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.job = jobs[new_config["job"]]
            return True

        def step(self) -> dict[str, Any]:
            return {"row": play(self.job), "done": True}

        def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
            return {}  # A finished run is a line of the log.

        def load_checkpoint(self, checkpoint: Any) -> None:
            pass

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    # Paths in settings, as of a model, are relative to where the command was given.
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    started = not ray.is_initialized()
    if started:
        ray.init(
            address="local",
            num_cpus=concurrent,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    try:
        # A process of Ray sees only the GPUs that it asked for.
        gpus = min(1.0, ray.cluster_resources().get("GPU", 0.0) / concurrent)
        with tempfile.TemporaryDirectory() as storage:
            tuner = tune.Tuner(
                tune.with_resources(Run, {"cpu": 1, "gpu": gpus}),
                param_space={"job": tune.grid_search(list(range(len(jobs))))},
                tune_config=tune.TuneConfig(max_concurrent_trials=concurrent, reuse_actors=True),
                run_config=tune.RunConfig(storage_path=storage, callbacks=[Log()], verbose=0),
            )
            _fit(tuner, log)
    finally:
        if started:
            ray.shutdown()


def _fit(tuner: Any, log: Path) -> None:
    """Plays the trials.

    Raises:
        StudyError: Ray itself failed; Tune goes on after most failures of a trial, but not where memory is short.
    """
    from ray.exceptions import RayError

    try:
        tuner.fit()
    except (RuntimeError, RayError) as error:
        raise StudyError(
            f"Ray ended the study: {first_line(error.__cause__ or error)}. {log} has the runs that are finished, and "
            "the same command plays only what is missing; fewer --jobs need less memory."
        ) from error

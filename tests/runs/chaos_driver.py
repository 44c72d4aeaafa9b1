"""The driver of a run that is killed: `chaos_driver.py start RUNS_DIR key=value …` or `chaos_driver.py resume RUN`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import ray

from sdar_gym.configs import load_config
from sdar_gym.runs.resume import resumed_run
from sdar_gym.runs.train import train

# Ray's own limits are for machines that do nothing else.
PATIENCE = {
    "RAY_agent_register_timeout_ms": "600000",
    "RAY_worker_register_timeout_seconds": "600",
    "RAY_worker_niceness": "0",
    "RAY_health_check_timeout_ms": "60000",
    "RAY_health_check_failure_threshold": "20",
}


def start_ray() -> None:
    """Starts Ray, again and again on a machine that is too busy to start it within its 30 seconds."""
    os.environ.update(PATIENCE)
    for attempt in range(10):
        try:
            # More than this machine has: the processes are small.
            ray.init(address="local", num_cpus=8, include_dashboard=False, log_to_driver=False, logging_level="error")
            return
        except Exception as error:
            if attempt == 9 or "timed out" not in str(error):
                raise


def main() -> None:
    """Train to the end."""
    what, place, *changes = sys.argv[1:]
    start_ray()
    if what == "start":
        train(load_config("quickstart", [*changes, f"runs_dir={place}"]))
    else:
        train(resumed_run(Path(place))[0].run, Path(place))


if __name__ == "__main__":
    main()

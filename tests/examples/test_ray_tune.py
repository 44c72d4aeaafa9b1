"""The example of Ray Tune: ASHA, PBT whose new learning rate is used, and a search that is killed and goes on."""

from __future__ import annotations

import json
import logging
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(1200), pytest.mark.filterwarnings("ignore")]

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "ray_tune" / "search.py"
SMALL = [
    "training.tasks_per_iteration=2",
    "training.group_size=2",
    "training.num_minibatches=1",
    "env_config.max_steps=4",
    "evaluation.tasks=6",
    "evaluation.teacher_tasks=0",
]


@pytest.fixture
def search() -> Iterator[Any]:
    """The example's `main`, in a Ray of its own with two cores."""
    import ray

    ray.shutdown()  # One that tests of another file left for the next ones.
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield runpy.run_path(str(EXAMPLE))["main"]
    finally:
        ray.shutdown()


def lines(trial: Path) -> list[dict[str, Any]]:
    """The results of a trial."""
    return [json.loads(line) for line in (trial / "result.json").read_text().splitlines()]


def test_asha_judges_by_the_panel_between_evaluations_too(search: Any, tmp_path: Path) -> None:
    results = search([*SMALL, "--storage", str(tmp_path), "--samples", "2", "--updates", "4", "--interval", "2"])
    ends = sorted(result.metrics["training_iteration"] for result in results)
    assert ends[-1] == 4 and ends[0] in (2, 4)
    for result in results:
        seen = [(line["training_iteration"], line["panel"]["update"]) for line in lines(Path(result.path))]
        assert [update for _, update in seen[1:]] == [2.0, 2.0, 4.0][: len(seen) - 1] and seen[0][1] != seen[0][1]


def test_pbt_goes_on_from_the_better_one_with_another_learning_rate(search: Any, tmp_path: Path) -> None:
    results = search(
        [
            *SMALL,
            "--storage",
            str(tmp_path),
            "--samples",
            "2",
            "--updates",
            "6",
            "--interval",
            "1",
            "--scheduler",
            "pbt",
        ]
    )
    copied = [path for path in (tmp_path / "sdar-search").glob("pbt_policy_*.txt") if path.read_text()]
    assert copied, "One of two trials is behind and copies the other."
    for result in results:
        rates = [
            (line["config"]["lr"], line["learners"]["default_policy"]["default_optimizer_learning_rate"])
            for line in lines(Path(result.path))
        ]
        # What the optimizer used, after a restore from the other's checkpoint too.
        assert [used for _, used in rates] == pytest.approx([wanted for wanted, _ in rates])
    assert len({line["config"]["lr"] for result in results for line in lines(Path(result.path))}) > 2


def test_a_search_whose_driver_is_killed_goes_on(tmp_path: Path) -> None:
    arguments = [*SMALL, "--storage", str(tmp_path), "--samples", "1", "--updates", "6", "--interval", "1"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
    }
    command = [sys.executable, str(EXAMPLE), *arguments]
    with (tmp_path / "log").open("w") as log:
        driver = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        place = tmp_path / "sdar-search"
        deadline = time.monotonic() + 600
        while not list(place.glob("SDAR_*/checkpoint_*1")):
            assert time.monotonic() < deadline and driver.poll() is None, (tmp_path / "log").read_text()[-3000:]
            time.sleep(0.2)
        family = [driver.pid, *(child.pid for child in psutil.Process(driver.pid).children(recursive=True))]
        for pid in family:
            os.kill(pid, signal.SIGKILL)
        driver.wait()
        (trial,) = place.glob("SDAR_*/")
        before = lines(trial)
        assert before[-1]["training_iteration"] < 6
        done = subprocess.run([*command, "--restore"], env=environment, stdout=log, stderr=log, timeout=600)
    assert done.returncode == 0, (tmp_path / "log").read_text()[-3000:]
    after = lines(trial)
    assert [line["training_iteration"] for line in after][-1] == 6
    # An update that was done again is the same.
    by_update: dict[int, set[float]] = {}
    for line in after:
        by_update.setdefault(line["training_iteration"], set()).add(line["env_runners"]["response_tokens"])
    assert sorted(by_update) == [1, 2, 3, 4, 5, 6] and all(len(values) == 1 for values in by_update.values())

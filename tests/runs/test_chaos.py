"""Chaos: twenty kills of driver, runners, learners, checkpoint writer and search server change nothing in a run."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from processes import below, kill, of_part  # pyright: ignore[reportMissingImports]

from sdar_gym.runs.folder import RunFolder

HERE = Path(__file__).parent
KILLS = int(os.environ.get("SDAR_GYM_CHAOS_KILLS", "20"))
PARTS = ("driver", "runner", "learner", "writer", "search")
SETTINGS = (
    "imports=searching_env",
    "env=tests/Searching-v0",
    f"training.iterations={3 * KILLS + 4}",
    "training.group_size=2",
    "training.tasks_per_iteration=2",
    "training.num_minibatches=1",
    "env_config.max_steps=4",
    "evaluation.tasks=2",
    "evaluation.teacher_tasks=0",
    "evaluation.interval=16",
    "checkpoint_interval=1",
    "resources.num_env_runners=2",
    "resources.num_learners=2",
)
# Metrics that may differ between two runs of the same updates.
UNEQUAL = ("seconds", "speed", "faults")
WAIT_SECONDS = 3600.0


class Run:
    """A run in processes of its own, that can be killed.

    Args:
        place: Folder for the run folder and the log.
    """

    def __init__(self, place: Path):
        place.mkdir()
        self.place = place
        self.process = self._start()

    @property
    def folder(self) -> Path | None:
        """The run folder, once there is one."""
        return next(self.place.glob("*/"), None)

    def updates(self) -> int:
        """Updates done: lines of metrics that were written."""
        try:
            text = (self.folder / "metrics.jsonl").read_text() if self.folder else ""
        except OSError:
            return 0
        return max(
            (json.loads(line)["update"] for line in text.splitlines(keepends=True) if line.endswith("\n")), default=0
        )

    def update_seconds(self) -> float:
        """What an update took in the median."""
        assert self.folder is not None
        times = [sum(each["seconds"].values()) for each in RunFolder(self.folder).records() if "train" in each]
        return sorted(times)[len(times) // 2]

    def writes(self) -> bool:
        """Whether a checkpoint is being written at the moment."""
        return self.folder is not None and any(self.folder.glob("checkpoint.*"))

    def _start(self) -> subprocess.Popen[bytes]:
        folder = self.folder
        resumable = folder is not None and any(
            (folder / name).is_dir() for name in ("checkpoint", "previous_checkpoint")
        )
        assert folder is None or resumable
        arguments = ["resume", str(folder)] if resumable else ["start", str(self.place), *SETTINGS]
        paths = [str(HERE), os.environ.get("PYTHONPATH", "")]
        with (self.place / "log.txt").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, str(HERE / "chaos_driver.py"), *arguments],
                stdout=log,
                stderr=log,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
            )

    def kill(self, part: str, draws: random.Random) -> bool:
        """Kills a process of a part; False if there is none at the moment."""
        if part in ("driver", "writer"):
            left = below(self.process.pid)
            kill(self.process.pid)
            self.process.wait()
            # Ray's own processes notice it themselves, which a new driver need not wait for.
            for process in left:
                kill(process)
            self.process = self._start()
            return True
        found = of_part(self.process.pid, part)
        if found:
            kill(draws.choice(found))
        return bool(found)

    def log(self) -> str:
        """The end of what the driver printed."""
        return (self.place / "log.txt").read_text(errors="replace")[-3000:]


def result_of(folder: Path) -> dict[str, Any]:
    """The contents of a run folder that must be equal."""
    records = RunFolder(folder).records()
    files = sorted([*folder.glob("policy/*.safetensors"), *folder.glob("episodes/*.jsonl"), *folder.glob("tokens/*")])
    return {
        "metrics": [{name: value for name, value in each.items() if name not in UNEQUAL} for each in records],
        "files": {str(path.relative_to(folder)): path.read_bytes() for path in files},
    }


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(7200)
def test_a_run_that_is_killed_again_and_again_equals_a_calm_one(tmp_path: Path) -> None:
    """Kills come at random times of an update; the writer is killed in the middle of a checkpoint."""
    began = time.monotonic()
    calm = Run(tmp_path / "calm")
    assert calm.process.wait(WAIT_SECONDS) == 0, calm.log()
    calm_seconds, length = time.monotonic() - began, calm.update_seconds()
    draws = random.Random(int(os.environ.get("SDAR_GYM_CHAOS_SEED", "0")))
    victims = [PARTS[number % len(PARTS)] for number in range(KILLS)]
    draws.shuffle(victims)
    run, killed, seconds = Run(tmp_path / "killed"), Counter[str](), []
    for part in victims:
        before, asked = run.updates(), time.monotonic()
        deadline = asked + WAIT_SECONDS
        # Two updates since the last kill: a runner's death is noticed, and recorded, when the next one plays.
        while run.updates() <= before + 1 and run.process.poll() is None:
            assert time.monotonic() < deadline, run.log()
            time.sleep(0.05)
        seconds.append(time.monotonic() - asked)
        if part == "writer":
            while not run.writes() and run.process.poll() is None:
                time.sleep(0.001)
        else:
            time.sleep(draws.uniform(0.0, length))
        while run.process.poll() is None and not run.kill(part, draws):
            time.sleep(0.05)
        assert run.process.poll() is None, f"It ended after {killed}: {run.log()}"
        killed[part] += 1
        print(f"{sum(killed.values())} of {KILLS}: {part} at update {run.updates()}", flush=True)
    assert run.process.wait(WAIT_SECONDS) == 0, run.log()
    first, second = calm.folder, run.folder
    assert first is not None and second is not None
    expected, found = result_of(first), result_of(second)
    assert found["metrics"] == expected["metrics"]
    assert found["files"].keys() == expected["files"].keys()
    assert [name for name in expected["files"] if expected["files"][name] != found["files"][name]] == []
    # Nothing half written is left.
    assert not [path.name for path in second.iterdir() if path.name.startswith(("checkpoint.", "best_checkpoint."))]
    faults = Counter[str]()
    for record in RunFolder(second).records():
        faults.update(record.get("faults", {}))
    print(f"calm {calm_seconds:.0f} s, killed {time.monotonic() - began - calm_seconds:.0f} s, {dict(killed)}")
    print(f"faults {dict(faults)}; longest time to the next update after a kill {max(seconds):.0f} s")
    # A kill of the driver takes with it what the record of the update at work would have counted.
    assert faults["runner_deaths"] and faults["learner_restarts"], faults
    assert killed == Counter({part: victims.count(part) for part in PARTS})

"""Robustness test of resuming: kill a training run repeatedly, resume it, and compare with an uninterrupted run.

    python scripts/robustness/kills.py --kills 14

Half of the kills are at random times, the others while a checkpoint is being written. The results are equal if weights,
metrics (except times), episodes and tokens are equal byte for byte. Exit status 1 if anything differs.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SETTINGS = (
    "training.iterations=8",
    "training.tasks_per_iteration=2",
    "training.group_size=2",
    "training.num_minibatches=2",
    "env_config.max_steps=6",
    "evaluation.tasks=4",
    "evaluation.teacher_tasks=2",
    "evaluation.interval=2",
    "checkpoint_interval=1",
)
# Metrics that may differ between two runs of the same updates.
TIMES = ("seconds", "speed")


def start(arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Start the command line in a new process."""
    with log.open("ab") as file:
        return subprocess.Popen([sys.executable, "-m", "sdar_gym", *arguments], stdout=file, stderr=file)


def can_resume(folder: Path | None) -> bool:
    """Whether there is a complete checkpoint; an unfinished one has another name."""
    return folder is not None and any((folder / name).is_dir() for name in ("checkpoint", "previous_checkpoint"))


def being_written(runs: Path) -> bool:
    """Whether a checkpoint is being written at the moment."""
    return any(runs.glob("*/checkpoint.*"))


def result_of(folder: Path) -> dict[str, Any]:
    """The contents of a run folder that must be equal."""
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    files = sorted([*folder.glob("policy/*.safetensors"), *folder.glob("episodes/*.jsonl"), *folder.glob("tokens/*")])
    return {
        "metrics": [{name: value for name, value in record.items() if name not in TIMES} for record in records],
        "files": {str(path.relative_to(folder)): path.read_bytes() for path in files},
    }


def differences(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """The differences, a line each."""
    found = []
    if first["metrics"] != second["metrics"]:
        found.append(f"metrics: {len(first['metrics'])} and {len(second['metrics'])} lines")
    names = sorted({*first["files"], *second["files"]})
    return found + [name for name in names if first["files"].get(name) != second["files"].get(name)]


def main() -> None:
    """Kill, resume and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=14)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("changes", nargs="*", help="key=value, for both runs")
    options = parser.parse_args()
    draws = random.Random(options.seed)
    place = Path(tempfile.mkdtemp(prefix="sdar-gym-kills-"))
    log = place / "log.txt"
    common = [*SETTINGS, *options.changes]
    whole, killed = place / "whole", place / "killed"
    started = time.monotonic()
    if start(["train", "quickstart", *common, f"runs_dir={whole}"], log).wait() != 0:
        raise SystemExit(f"The uninterrupted run failed; see {log}")
    length = time.monotonic() - started
    survived, resumes = 0, 0
    while survived < options.kills:
        folder = next(killed.glob("*/"), None)
        resumed = can_resume(folder)
        if folder is not None and not resumed:
            shutil.rmtree(folder)  # Killed before its first checkpoint: there is nothing to resume.
        if resumed:
            arguments = ["train", "--resume", str(folder)]
            resumes += 1
        else:
            arguments = ["train", "quickstart", *common, f"runs_dir={killed}"]
        process = start(arguments, log)
        if survived % 2:
            # Leftovers of the previous kill remain until the new process has the lock.
            time.sleep(0.5 * length if resumed else 0)
            while process.poll() is None and not being_written(killed):
                time.sleep(0.002)
        else:
            deadline = time.monotonic() + draws.uniform(0.4, 1.1) * length
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        elif process.returncode != 0:
            raise SystemExit(f"A run could not be resumed after {survived} kills; see {log}")
        else:
            shutil.rmtree(next(killed.glob("*/")))  # It ended before the kill: start again.
            continue
        survived += 1
        print(f"killed {survived} of {options.kills}", flush=True)
    folder = next(killed.glob("*/"), None)
    if can_resume(folder):
        code = start(["train", "--resume", str(folder)], log).wait()
    else:
        shutil.rmtree(folder, ignore_errors=True) if folder else None
        code = start(["train", "quickstart", *common, f"runs_dir={killed}"], log).wait()
    if code != 0:
        raise SystemExit(f"The last resume failed; see {log}")
    (first,), (second,) = whole.glob("*/"), killed.glob("*/")
    wrong = differences(result_of(first), result_of(second))
    left = [path.name for path in second.glob("*checkpoint.*")]
    print(f"{survived} of {options.kills} kills survived, {resumes} resumes; differences: {wrong or 'none'}")
    print(f"half-written checkpoints left behind: {left or 'none'}")
    if wrong or left:
        raise SystemExit(1)
    shutil.rmtree(place)


if __name__ == "__main__":
    main()

"""Replay in a fresh process: makes the environment again and plays the recorded actions."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import gymnasium

from sdar_gym.envs.registry import EnvEntry, register
from sdar_gym.testing.assertions import broken
from sdar_gym.testing.episodes import replay

Recording = Sequence[tuple[str, list[str]]]


def replay_elsewhere(
    env: gymnasium.Env[Any, Any],
    entry: EnvEntry | None,
    make_kwargs: Mapping[str, Any],
    recordings: Recording,
    hash_seed: int,
    timeout_s: float,
) -> list[list[str]]:
    """Replay recorded episodes in a fresh process; returns their fingerprints.

    Args:
        env: A fresh environment, pickled for the process if there is no entry to make it from.
        entry: Its registration, so that the process does not need the plug-in.
        make_kwargs: Arguments of `gymnasium.make`.
        recordings: Task ids with their actions.
        hash_seed: `PYTHONHASHSEED` of the process, which changes the order of sets.
        timeout_s: Time limit, in seconds.

    Raises:
        EnvContractError: The process fails or takes too long.
    """
    registration = None if entry is None else asdict(entry)
    job = (registration, dict(make_kwargs), None if entry is not None else env, list(recordings))
    environ = os.environ | {"PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "sdar_gym.testing.fresh_process"],
            input=pickle.dumps(job),
            env=environ,
            capture_output=True,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        broken(env, "a fresh process", f"gave no result in {timeout_s:.0f} s.", "Make reset() faster.")
    if done.returncode:
        reason = done.stderr.decode("utf-8", "replace").strip()[-600:]
        broken(env, "a fresh process", f"failed: {reason}", "The class must be importable in another process.")
    return json.loads(done.stdout.decode("utf-8", "replace").splitlines()[-1])


def _main() -> None:
    # Keep what the environment prints, also at exit, out of the results.
    results, sys.stdout = sys.stdout, sys.stderr
    registration, make_kwargs, env, recordings = pickle.load(sys.stdin.buffer)
    import sdar_gym  # noqa: F401  registers the environments

    if registration is not None:
        register(**registration)
        env = gymnasium.make(registration["id"], **make_kwargs)
    print(json.dumps([replay(env, task_id, actions) for task_id, actions in recordings]), file=results, flush=True)


if __name__ == "__main__":
    _main()

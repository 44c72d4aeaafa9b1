"""Sends hostile actions to every registered environment: no exception, flat memory, the same text twice.

    python benchmarks/fuzz.py [ENV…] [--actions 100000] [--seed 0] [--memory-mb 50] [--json OUT]

A first, shorter round loads what environments share (games, catalogs, indices); then the stream is played twice on
fresh environments, the memory of the process is read before and after, and both have to show the same text. Exits with
1 if an environment fails.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
from machine import machine, machine_line, resident_mb
from rich.console import Console
from rich.table import Table

import sdar_gym  # noqa: F401  registers the environments
from sdar_gym.envs import TextEnv, entries
from sdar_gym.testing import ActionFuzzer, EnvContractError, fuzz

TASKS_PER_SPLIT = 20


def fuzz_env(env_id: str, actions: int, seed: int, memory_mb: float) -> dict[str, Any]:
    """One environment; `failure` is empty if all is well."""
    rounds, memory, seconds = [], [], []
    try:
        for length in (min(actions, max(2000, actions // 10)), actions, actions):
            env = gymnasium.make(env_id)
            inner = env.unwrapped
            assert isinstance(inner, TextEnv)
            tasks = [task_id for split in inner.splits for task_id in inner.task_ids(split)[:TASKS_PER_SPLIT]]
            started = time.perf_counter()
            rounds.append(fuzz(env, length, tasks, fuzzer=ActionFuzzer(seed, long_share=0.002)))
            seconds.append(time.perf_counter() - started)
            env.close()
            gc.collect()
            memory.append(resident_mb())
    except EnvContractError as error:
        return {"env": env_id, "failure": str(error)}
    grown = None if memory[0] is None or memory[-1] is None else memory[-1] - memory[0]
    same = rounds[1].digest == rounds[2].digest
    failure = "" if same else "the same actions gave another text"
    if grown is not None and grown > memory_mb:
        failure = f"memory grew by {grown:.0f} MB"
    return {
        "env": env_id,
        "failure": failure,
        "actions": actions,
        "episodes": rounds[1].episodes,
        "won": rounds[1].won,
        "invalid_share": rounds[1].invalid / actions,
        "digest": rounds[1].digest,
        "same_twice": same,
        "seconds": seconds[1:],
        "slowest_turn_s": max(report.slowest_s for report in rounds),
        "resident_mb": memory,
        "grown_mb": grown,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("envs", nargs="*", metavar="ENV", help="registered environments; default all")
    parser.add_argument("--actions", type=int, default=100_000, help="actions a round (default 100,000)")
    parser.add_argument("--seed", type=int, default=0, help="of the actions")
    parser.add_argument("--memory-mb", type=float, default=50.0, help="growth that is a failure (default 50)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="where to write the result")
    options = parser.parse_args(arguments)
    if options.actions < 1:
        parser.error("--actions must be at least 1")
    known = [entry.id for entry in entries()]
    unknown = sorted(set(options.envs) - set(known))
    if unknown:
        parser.error(f"no environment {unknown[0]!r}; there are {', '.join(known)}")
    results = [fuzz_env(env_id, options.actions, options.seed, options.memory_mb) for env_id in options.envs or known]
    table = Table(title=f"{options.actions:,} hostile actions, twice", box=None)
    for heading in ("environment", "episodes", "invalid", "slowest turn", "actions/s", "memory grew", "result"):
        table.add_column(heading, overflow="fold")
    for result in results:
        if "digest" not in result:
            table.add_row(result["env"], *[""] * 5, result["failure"])
            continue
        grown = "?" if result["grown_mb"] is None else f"{result['grown_mb']:+.1f} MB"
        table.add_row(
            result["env"],
            f"{result['episodes']:,}",
            f"{result['invalid_share']:.0%}",
            f"{1000 * result['slowest_turn_s']:.1f} ms",
            f"{options.actions / min(result['seconds']):,.0f}",
            grown,
            result["failure"] or f"fine, {result['digest']}",
        )
    where = machine("gymnasium", "numpy")
    console = Console()
    console.print(table)
    console.print(machine_line(where), soft_wrap=True)
    if options.json is not None:
        content = {"command": ["python", *sys.argv], "results": results, "machine": where}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return int(any(result["failure"] for result in results))


if __name__ == "__main__":
    sys.exit(main())

"""Measures `sdar/WebShop-v0`: opening shops of several sizes, steps, and what 256 open episodes cost.

    python benchmarks/webshop_speed.py [--data DATA] [--episodes N] [--sizes N,N] [--repeats N] [--against CHECKOUT]
        [--json OUT]

Generated shops are opened in processes of their own, in turn: made anew (with a cache folder that cannot be used), from
the cache, and with `--against` by another checkout of this repository. `open` is the environment with its first
`reset()`, `search` the first search after it, which builds the index where that has not been done. The steps are those
of the first episodes after it, in which products of a kept shop are looked at for the first time.

Steps are counted with resets and the policy's own time. The expert searches with a new query in every episode, so its
figure holds one BM25 search per four or five steps; in groups, the same task is played eight times, as in training.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

from rich.console import Console

from sdar_gym.envs.policies import RandomPolicy, ScriptedPolicy
from sdar_gym.envs.webshop.env import WebShopEnv
from sdar_gym.envs.webshop.expert import Expert

OPEN_EPISODES = 256
ROOT = Path(__file__).resolve().parents[1]


def steps_per_second(env: WebShopEnv, policy: ScriptedPolicy, episodes: int, group: int, first_seed: int) -> float:
    steps = 0
    start = time.process_time()
    for number in range(episodes):
        observation, info = env.reset(seed=first_seed + number // group)
        policy.begin(env, observation, info)
        done = False
        while not done:
            observation, _, terminated, truncated, info = env.step(policy.act(observation, info))
            done = terminated or truncated
            steps += 1
    return steps / (time.process_time() - start)


def megabytes_of_open_episodes(data: str | None) -> float:
    gc.collect()
    tracemalloc.start()
    envs = [WebShopEnv(data) for _ in range(OPEN_EPISODES)]
    for seed, env in enumerate(envs):
        expert = Expert()
        observation, info = env.reset(seed=seed)
        expert.begin(env, observation, info)
        for _ in range(3):
            observation, _, _, _, info = env.step(expert.act(observation, info))
    gc.collect()
    held = tracemalloc.get_traced_memory()[0] / 1e6
    tracemalloc.stop()
    return held


def one_opening(size: int, episodes: int) -> dict[str, float]:
    """What one process pays for a generated shop: CPU seconds, steps per CPU second, and memory at its highest."""
    start = time.process_time()
    env = WebShopEnv("generated", num_products=size)
    env.reset(seed=0)
    opened = time.process_time()
    env.step("search[red shoes]")
    searched = time.process_time()
    # Kilobytes on Linux.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    rate = steps_per_second(env, Expert(), episodes, 1, 10**6)
    return {"open": opened - start, "search": searched - opened, "expert_steps_per_cpu_s": rate, "peak_mb": peak}


def openings(sizes: list[int], repeats: int, episodes: int, against: Path | None) -> dict[str, Any]:
    """Minimum, median and maximum of `one_opening` by size and side; the sides take turns."""
    with tempfile.TemporaryDirectory() as folder:
        (unusable := Path(folder, "occupied")).write_text("a file where a folder should be")
        sides = {"made": (ROOT, unusable), "kept": (ROOT, Path(folder, "cache"))}
        if against is not None:
            sides["against"] = (against.resolve(), unusable)
        report: dict[str, Any] = {}
        for size in sizes:
            found: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
            _in_a_process(size, 0, *sides["kept"])
            for _ in range(repeats):
                for side, (checkout, cache) in sides.items():
                    found[side].append(_in_a_process(size, episodes, checkout, cache))
            report[str(size)] = {
                side: {name: _spread([run[name] for run in runs]) for name in runs[0]} for side, runs in found.items()
            }
    return report


def _in_a_process(size: int, episodes: int, checkout: Path, cache: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", str(size), "--episodes", str(episodes)]
    environment = {**os.environ, "PYTHONPATH": str(checkout), "XDG_CACHE_HOME": str(cache)}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(ran.stdout)


def _spread(values: list[float]) -> list[float]:
    ordered = sorted(values)
    return [float(f"{value:.3g}") for value in (ordered[0], ordered[len(ordered) // 2], ordered[-1])]


def _commit(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="as WebShopEnv's argument; default its default")
    parser.add_argument("--episodes", type=int, default=800)
    parser.add_argument("--sizes", default="1000,10000,40000", help="of generated shops that are opened")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--against", type=Path, help="another checkout, opened in turn with this one")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    n = arguments.episodes
    if arguments.one is not None:
        sys.stdout.write(json.dumps(one_opening(arguments.one, max(n, 1))))
        return
    env = WebShopEnv(arguments.data)
    env.reset(seed=0)
    env.step("search[shoes]")
    sizes = [int(size) for size in arguments.sizes.split(",")]
    report: dict[str, Any] = {
        "commit": _commit(ROOT),
        "against": None if arguments.against is None else _commit(arguments.against),
        "products": len(env._catalog.products),
        "steps_per_cpu_s": {
            "expert, every search new": round(steps_per_second(env, Expert(), n, 1, 10**6)),
            "expert, groups of 8": round(steps_per_second(env, Expert(), n, 8, 2 * 10**6)),
            "random": round(steps_per_second(env, RandomPolicy(0), n, 1, 3 * 10**6)),
        },
        "mb_of_256_open_episodes": round(megabytes_of_open_episodes(arguments.data), 1),
        "openings_min_median_max_cpu_s": openings(sizes, arguments.repeats, n // 4, arguments.against),
        "repeats": arguments.repeats,
        "machine": f"{platform.machine()} {platform.system()}, {os.cpu_count()} cores, load "
        f"{os.getloadavg()[0]:.1f}, Python {platform.python_version()}",
    }
    Console().print_json(data=report)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

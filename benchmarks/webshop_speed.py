"""Measures `sdar/WebShop-v0`: steps per CPU second of one process, and what 256 open episodes cost.

    python benchmarks/webshop_speed.py [--data DATA] [--episodes N] [--json OUT]

Steps are counted with resets and the policy's own time. The expert searches with a new query in every episode, so its
figure holds one BM25 search per four or five steps; in groups, the same task is played eight times, as in training.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import time
import tracemalloc
from pathlib import Path
from typing import Any

from rich.console import Console

from sdar_gym.envs.policies import RandomPolicy, ScriptedPolicy
from sdar_gym.envs.webshop.env import WebShopEnv
from sdar_gym.envs.webshop.expert import Expert

OPEN_EPISODES = 256


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="as WebShopEnv's argument; default its default")
    parser.add_argument("--episodes", type=int, default=800)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    start = time.process_time()
    env = WebShopEnv(arguments.data)
    env.reset(seed=0)
    env.step("search[shoes]")
    opened = time.process_time() - start
    n = arguments.episodes
    report: dict[str, Any] = {
        "products": len(env._catalogue.products),
        "open_and_index_cpu_s": round(opened, 2),
        "steps_per_cpu_s": {
            "expert, every search new": round(steps_per_second(env, Expert(), n, 1, 10**6)),
            "expert, groups of 8": round(steps_per_second(env, Expert(), n, 8, 2 * 10**6)),
            "random": round(steps_per_second(env, RandomPolicy(0), n, 1, 3 * 10**6)),
        },
        "mb_of_256_open_episodes": round(megabytes_of_open_episodes(arguments.data), 1),
        "machine": f"{platform.machine()} {platform.system()}, {os.cpu_count()} cores, load "
        f"{os.getloadavg()[0]:.1f}, Python {platform.python_version()}",
    }
    Console().print_json(data=report)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

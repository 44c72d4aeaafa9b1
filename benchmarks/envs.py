"""Measures steps a second, reset time and memory of every registered environment, against one that does nothing.

    python benchmarks/envs.py [ENV…] [--repeats 5] [--steps 2000] [--vectors 1,16,256] [--json OUT]

Single environments replay recorded episodes, the expert's and then random admissible ones, so that choosing actions
costs nothing. Vectors (synchronous, in this process) are stepped with random admissible actions, or, where there are
none, with recorded ones, and the time of `step` alone counts. The environment that does nothing shows what Gymnasium
and `TextEnv` themselves take; it is measured in the same run, in turns with the others. Medians, with the range over
the repeats.
"""

from __future__ import annotations

import argparse
import gc
import json
import pickle
import statistics
import sys
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import gymnasium
from machine import machine, machine_line, resident_mb
from rich.console import Console
from rich.table import Table

from sdar_gym.envs import Task, TextEnv, Turn, entries, register
from sdar_gym.envs.policies import RandomPolicy, ScriptedPolicy, expert_of

NOTHING = "benchmarks/Nothing-v0"
Stream = list[tuple[str, list[str]]]


class Nothing(TextEnv):
    """Says one word and never ends."""

    def __init__(self, render_mode: str | None = None):
        super().__init__(50, render_mode)
        self._turn_now = Turn("nothing", 0.0, False, True, ("wait", "look"), 0.0, False)

    @property
    def splits(self) -> tuple[str, ...]:
        return ("train",)

    def task_ids(self, split: str | None = None) -> tuple[str, ...]:
        return tuple(f"train/{number}" for number in range(100))

    def task_type(self, task_id: str) -> str:
        return "wait"

    def _load_task(self, task_id: str) -> Task:
        return Task(task_id, "wait", "train", "wait.")

    def _begin(self, task: Task) -> Turn:
        return self._turn_now

    def _act(self, action: str) -> Turn:
        return self._turn_now


def record(env_id: str, steps: int) -> Stream:
    """Episodes of the expert and of the random policy in turn, about so many steps."""
    env = gymnasium.make(env_id)
    inner = env.unwrapped
    assert isinstance(inner, TextEnv)
    policies: list[ScriptedPolicy] = [RandomPolicy(0)]
    expert = expert_of(env_id)
    if expert is not None:
        policies.insert(0, expert)
    stream: Stream = []
    total, number, ids = 0, 0, inner.task_ids()
    while total < steps:
        policy = policies[number % len(policies)]
        task_id = ids[(number * 7919) % len(ids)]
        observation, info = env.reset(options={"task_id": task_id})
        policy.begin(inner, observation, info)
        actions: list[str] = []
        over = False
        while not over:
            actions.append(policy.act(observation, info))
            observation, _, terminated, truncated, info = env.step(actions[-1])
            over = terminated or truncated
        stream.append((task_id, actions))
        total += len(actions)
        number += 1
    env.close()
    return stream


def single(env_id: str, stream: Stream) -> dict[str, float]:
    """Seconds of a reset and of a step, from one replay of the stream."""
    env = gymnasium.make(env_id)
    resets = steps = 0.0
    count = 0
    for task_id, actions in stream:
        started = time.perf_counter()
        env.reset(options={"task_id": task_id})
        begun = time.perf_counter()
        for action in actions:
            env.step(action)
        steps += time.perf_counter() - begun
        resets += begun - started
        count += len(actions)
    env.close()
    return {"reset_s": resets / len(stream), "step_s": steps / count}


def vector(env_id: str, size: int, steps: int, spoken: Sequence[str]) -> dict[str, float]:
    """Seconds of one environment's step in a vector, and of its reset."""
    envs = gymnasium.make_vec(env_id, num_envs=size, vectorization_mode="sync")
    started = time.perf_counter()
    _, info = envs.reset(seed=0)
    reset_s = (time.perf_counter() - started) / size
    rng = Random(0)
    spent, calls = 0.0, max(5, steps // size)
    for _ in range(calls):
        actions = tuple(rng.choice(listed or spoken) for listed in info["admissible_actions"])
        started = time.perf_counter()
        *_, info = envs.step(actions)
        spent += time.perf_counter() - started
    envs.close()
    return {"reset_s": reset_s, "step_s": spent / (calls * size)}


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median and range."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def first_contact(env_id: str, further_envs: int) -> dict[str, float]:
    """What the first environment of a process costs, what each further one in an episode, and one that is pickled."""
    gc.collect()
    before, started = resident_mb(), time.perf_counter()
    env = gymnasium.make(env_id)
    env.reset(seed=0)
    seconds, after = time.perf_counter() - started, resident_mb()
    size = len(pickle.dumps(env.unwrapped))
    env.close()
    tracemalloc.start()
    further = [gymnasium.make(env_id) for _ in range(further_envs)]
    for number, other in enumerate(further):
        other.reset(seed=number)
    gc.collect()
    allocated = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return {
        "seconds": seconds,
        "resident_mb": -1.0 if before is None or after is None else after - before,
        "further_kb_each": allocated / further_envs / 1000,
        "pickle_bytes": size,
    }


def measure(env_ids: Sequence[str], repeats: int, steps: int, sizes: Sequence[int]) -> dict[str, Any]:
    """All figures of all environments; the repeats take turns, so that a busy moment hits every side."""
    first = {env_id: first_contact(env_id, max(sizes)) for env_id in env_ids}
    streams = {env_id: record(env_id, steps) for env_id in env_ids}
    raw: dict[str, dict[str, dict[str, list[float]]]] = {env_id: {} for env_id in env_ids}
    for repeat in range(repeats + 1):
        for env_id in env_ids:
            spoken = [action for _, actions in streams[env_id] for action in actions]
            results = {"single": single(env_id, streams[env_id])}
            results |= {f"vector_{size}": vector(env_id, size, steps, spoken) for size in sizes}
            if repeat == 0:
                continue  # Warms caches; not counted.
            for what, figures in results.items():
                for figure, value in figures.items():
                    raw[env_id].setdefault(what, {}).setdefault(figure, []).append(value)
    result: dict[str, Any] = {}
    for env_id in env_ids:
        figures = {what: {name: summary(v) for name, v in named.items()} for what, named in raw[env_id].items()}
        for named in figures.values():
            named["steps_per_s"] = {"median": 1 / named["step_s"]["median"]}
        recorded = {"episodes": len(streams[env_id]), "steps": sum(len(actions) for _, actions in streams[env_id])}
        result[env_id] = {"first": first[env_id], "recorded": recorded, **figures}
    for figures in result.values():
        for what in ("single", *(f"vector_{size}" for size in sizes)):
            nothing = result[NOTHING][what]["step_s"]["median"]
            figures[what]["times_nothing"] = figures[what]["step_s"]["median"] / nothing
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("envs", nargs="*", metavar="ENV", help="registered environments; default all")
    parser.add_argument("--repeats", type=int, default=5, help="how often each is measured (default 5)")
    parser.add_argument("--steps", type=int, default=2000, help="steps a repeat (default 2000)")
    parser.add_argument("--vectors", default="1,16,256", help="sizes of the vectors (default 1,16,256)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="where to write the result")
    options = parser.parse_args(arguments)
    known = [entry.id for entry in entries()]
    unknown = sorted(set(options.envs) - set(known))
    if unknown:
        parser.error(f"no environment {unknown[0]!r}; there are {', '.join(known)}")
    if options.repeats < 1 or options.steps < 1 or not all(part.isdigit() for part in options.vectors.split(",")):
        parser.error("--repeats and --steps must be at least 1, --vectors a list such as 1,16,256")
    register(NOTHING, f"{__name__}:Nothing")
    sizes = [int(part) for part in options.vectors.split(",")]
    result = measure([NOTHING, *(options.envs or known)], options.repeats, options.steps, sizes)
    columns = ["single", *(f"vector_{size}" for size in sizes)]
    # One environment a column: its names are shorter than the rows' figures, and eighty characters have to do.
    table = Table(title=f"microseconds, median (range of {options.repeats} repeats)", box=None)
    for heading in ("", *(env_id.rpartition("/")[2] for env_id in result)):
        table.add_column(heading, justify="right" if heading else "left")
    parts = {"reset": ("single", "reset_s"), **{f"step, {column}": (column, "step_s") for column in columns}}
    for label, (column, what) in parts.items():
        cells = []
        for figures in result.values():
            low, middle, high = (1e6 * figures[column][what][key] for key in ("min", "median", "max"))
            cells.append(f"{middle:,.0f} ({low:,.0f}-{high:,.0f})")
        table.add_row(label.replace("_", " "), *cells)
    for label, key, unit in (("first one, MB", "resident_mb", ".0f"), ("further ones, kB", "further_kb_each", ".0f")):
        table.add_row(label, *(f"{figures['first'][key]:{unit}}" for figures in result.values()))
    where = machine("gymnasium", "numpy")
    console = Console()
    console.print(table)
    console.print(machine_line(where), soft_wrap=True)
    if options.json is not None:
        content = {
            "command": ["python", *sys.argv],
            "repeats": options.repeats,
            "results": result,
            "machine": where,
        }
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Scaling on one machine: env runners, learners, rollouts and evaluation beside learning, the driver's memory; a soak.

    python benchmarks/scaling.py --out benchmarks/results/scaling.json
    python benchmarks/scaling.py --soak 300 --out benchmarks/results/soak.json

The quick start's policy and batch. Each arm is measured beside its reference, in turns: a round is a block of updates
of the one, then of the other, and a ratio is of one round. The first update of a block is not timed, since episodes
that are played ahead are ready by then. Cores are few here and others may use them, so that CPU-seconds of all
processes are given beside seconds of the clock; and the part `waiting` adds a fixed time to every rollout and to every
update in which the process only waits, as it would for a GPU of its own: what is gained then is gained by doing both at
the same time, on any number of cores.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
from machine import machine, machine_line
from random_model import SHAPES, random_model

from sdar_gym.cli.training import quiet
from sdar_gym.configs import load_config
from sdar_gym.policy.load import load_tokenizer
from sdar_gym.rollout.engines.registry import EngineSpec
from sdar_gym.rollout.engines.transformers_engine import from_spec

BASE = ("evaluation.tasks=48", "evaluation.teacher_tasks=0", "evaluation.interval=1000", "training.iterations=10000")
RUNNERS, LEARNERS = "resources.num_env_runners={}", "resources.num_learners={}"
AHEAD, BESIDE = "training.max_staleness=1", "resources.num_evaluation_runners=1"
# Compared with everything in one process.
ARMS: dict[str, tuple[str, ...]] = {
    "1 runner": (RUNNERS.format(1),),
    "2 runners": (RUNNERS.format(2),),
    "4 runners": (RUNNERS.format(4),),
    "1 learner": (LEARNERS.format(1),),
    "2 learners": (LEARNERS.format(2),),
    "1 runner, ahead": (RUNNERS.format(1), AHEAD),
}
PARTS = ("waiting", "arms", "evaluation", "memory", "weights", "travels")
_WAIT = "SDAR_SCALING_WAIT"
_TICKS = os.sysconf("SC_CLK_TCK")


def built(*changes: str) -> Any:
    """An algorithm of the quick start with changes."""
    from sdar_gym.algorithms.sdar import SDARConfig

    config = SDARConfig.from_run(load_config("quickstart", [*BASE, *changes]))
    config.evaluation_interval = None
    # All fit on a small machine.
    config.env_runners(num_cpus_per_env_runner=0.1)
    config.learners(num_cpus_per_learner=0.1)
    return config.build_algo()


def waiting_engine(spec: EngineSpec) -> Any:
    """The `transformers` engine, on a device that takes some seconds more for each batch of episodes."""
    engine = from_spec(spec)
    converse, seconds = engine.converse, float(os.environ[_WAIT])

    def waits(*arguments: Any) -> None:
        time.sleep(seconds)
        converse(*arguments)

    engine.converse = waits
    return engine


def waiting(seconds: float, *changes: str) -> Any:
    """An algorithm whose rollouts and updates wait some seconds each, without using a core."""
    algorithm = built("rollout.engine=scaling:waiting_engine", *changes)
    update = algorithm._update_learners

    def waits(*arguments: Any) -> Any:
        time.sleep(seconds)
        return update(*arguments)

    algorithm._update_learners = waits
    return algorithm


def processes(algorithm: Any) -> list[int]:
    """Process ids of the driver, runners and learners."""
    found = {os.getpid()}
    for group in (algorithm.env_runner_group, algorithm.eval_env_runner_group):
        if group is not None:
            found.update(group.foreach_env_runner(lambda runner: os.getpid()))
    found.update(result.get() for result in algorithm.learner_group.foreach_learner(lambda learner: os.getpid()))
    return sorted(found)


def cpu_seconds(pids: Sequence[int]) -> float:
    """CPU time that processes have used."""
    total = 0.0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / _TICKS
    return total


def memory_mb(pid: int) -> float:
    """Memory of a process that is its own: without what it shares with others, such as the object store."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty"):
            return int(line.split()[1]) / 1e3
    return float("nan")


class Peak:
    """Context manager: the largest memory of this process within the block, by `memory_mb`."""

    def __enter__(self) -> Peak:
        self.before, self._ended = memory_mb(os.getpid()), threading.Event()
        self.mb = self.before
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._ended.wait(0.005):
            self.mb = max(self.mb, memory_mb(os.getpid()))

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def block(algorithm: Any, updates: int, evaluate: Callable[[], None] | None = None) -> dict[str, float]:
    """A block of updates, and the evaluation that begins before them if there is one: means per update."""
    algorithm.train()
    pids = processes(algorithm)
    results = []
    cpu, started = cpu_seconds(pids), time.perf_counter()
    if evaluate is not None:
        evaluate()
    for _ in range(updates):
        results.append(algorithm.train()["seconds"])
    if evaluate is not None and algorithm.evaluates_beside:
        algorithm.finish_evaluation()
    elapsed = time.perf_counter() - started
    # What was begun for the next update belongs to none of these; it must not run beside the other arm.
    algorithm._rollouts.pause()
    found = {"seconds": elapsed / updates, "cpu_seconds": (cpu_seconds(pids) - cpu) / updates}
    for name in ("rollout", "update", "rollout_wait"):
        if name in results[0]:
            found[name] = statistics.mean(each[name] for each in results)
    return found


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {
        "median": round(statistics.median(values), 4),
        "smallest": round(min(values), 4),
        "largest": round(max(values), 4),
    }


def pair(reference: Any, arm: Any, rounds: int, updates: int, *, evaluation: bool = False) -> dict[str, Any]:
    """An arm beside its reference, in turns."""

    def evaluate(algorithm: Any) -> Callable[[], None] | None:
        if not evaluation:
            return None
        return algorithm.begin_evaluation if algorithm.evaluates_beside else algorithm.evaluate

    found: dict[str, list[dict[str, float]]] = {"reference": [], "arm": []}
    for number in range(rounds):
        # The first one of a round alternates.
        order = [("reference", reference), ("arm", arm)]
        for name, algorithm in order if number % 2 == 0 else order[::-1]:
            found[name].append(block(algorithm, updates, evaluate(algorithm)))
    result: dict[str, Any] = {
        name: {key: spread([each[key] for each in rows]) for key in rows[0]} for name, rows in found.items()
    }
    for key in ("seconds", "cpu_seconds"):
        ratios = [arm[key] / base[key] for arm, base in zip(found["arm"], found["reference"], strict=True)]
        result[f"{key}_ratio"] = spread(ratios)
    return result


def sync_seconds(algorithm: Any, times: int = 5) -> dict[str, float]:
    """Time to send the weights to all runners."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        algorithm._dispatcher.sync_weights()
        found.append(time.perf_counter() - started)
    return spread(found)


def travels(method: str) -> dict[str, Any]:
    """Bytes that pass through the driver in one update of a method, by what they are, and per sampled token."""
    sizes: dict[str, int] = {}
    algorithm = built(f"method={method}")
    try:
        score, update = algorithm._score, algorithm._update_learners

        def noted_score(columns: Any, names: Any) -> Any:
            scores = score(columns, names)
            sizes["scores"] = sizes.get("scores", 0) + sum(
                each.numel() * each.element_size() for each in scores.values()
            )
            return scores

        def noted_update(columns: Any, *arguments: Any) -> Any:
            sizes["columns"] = sum(np.asarray(each).nbytes for each in columns.values())
            return update(columns, *arguments)

        algorithm.pipeline._score, algorithm._update_learners = noted_score, noted_update
        result = algorithm.train()
        sizes["episodes"] = len(pickle.dumps(algorithm.last_episodes))
        tokens = result["env_runners"]["response_tokens"]
    finally:
        algorithm.stop()
    return {"response_tokens": tokens, "bytes": sizes, "bytes_a_token": {k: v / tokens for k, v in sizes.items()}}


def driver_memory(tasks: int) -> dict[str, Any]:
    """Memory of a driver that neither plays nor learns, for a batch."""
    algorithm = built(RUNNERS.format(1), LEARNERS.format(1), f"training.tasks_per_iteration={tasks}")
    try:
        before = memory_mb(os.getpid())
        peaks, tokens = [], 0
        for _ in range(2):
            with Peak() as peak:
                result = algorithm.train()
            peaks.append(peak.mb)
            tokens = int(result["env_runners"]["response_tokens"])
        return {
            "episodes": 4 * tasks,
            "turns": int(result["env_runners"]["turns"]),
            "response_tokens": tokens,
            "before_mb": round(before, 1),
            "peak_mb": round(max(peaks), 1),
            "grown_mb": round(max(peaks) - before, 1),
        }
    finally:
        algorithm.stop()


def weights_way(vocabulary: int, times: int = 3) -> dict[str, Any]:
    """Sending weights from a remote learner to a remote runner: past the driver, and RLlib's way through it."""
    with tempfile.TemporaryDirectory() as folder:
        random_model(SHAPES["small"]._replace(vocabulary=vocabulary), positions=2048).save_pretrained(folder)
        load_tokenizer("builtin:tiny").save_pretrained(folder)
        megabytes = sum(file.stat().st_size for file in Path(folder).glob("*.safetensors")) / 1e6
        algorithm = built(RUNNERS.format(1), LEARNERS.format(1), f"policy.model={folder}")
        ways: dict[str, Callable[[], None]] = {
            "past the driver": algorithm._dispatcher.sync_weights,
            "through the driver": lambda: algorithm.env_runner_group.sync_weights(
                from_worker_or_learner_group=algorithm.learner_group, inference_only=True, timeout_seconds=None
            ),
        }
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        try:
            for _ in range(times):
                for name, send in ways.items():
                    started = time.perf_counter()
                    with Peak() as peak:
                        send()
                    found[name].append((time.perf_counter() - started, peak.mb - peak.before))
        finally:
            algorithm.stop()
    return {"vocabulary": vocabulary, "weights_mb": round(megabytes, 1)} | {
        name: {"seconds": spread([row[0] for row in rows]), "driver_grows_mb": spread([row[1] for row in rows])}
        for name, rows in found.items()
    }


def soak(updates: int, minutes: float) -> dict[str, Any]:
    """Many updates with everything that runs beside others, and the memory of each process."""
    algorithm = built(
        RUNNERS.format(1),
        AHEAD,
        BESIDE,
        "training.group_size=2",
        "training.tasks_per_iteration=2",
        "training.num_minibatches=1",
        "env_config.max_steps=4",
        "evaluation.tasks=8",
    )
    names = {os.getpid(): "driver and learner"}
    try:
        for group, name in (
            (algorithm.env_runner_group, "env runner"),
            (algorithm.eval_env_runner_group, "evaluation"),
        ):
            names.update(dict.fromkeys(group.foreach_env_runner(lambda runner: os.getpid()), name))
        rows: dict[str, list[float]] = {name: [] for name in names.values()}
        started, cpu = time.perf_counter(), cpu_seconds([*names])
        for update in range(updates):
            if update % 25 == 0:
                algorithm.begin_evaluation()
            algorithm.train()
            if update % 25 == 24:
                algorithm.finish_evaluation()
                algorithm.resumable_state()
            for pid, name in names.items():
                rows[name].append(memory_mb(pid))
            if time.perf_counter() - started > 60 * minutes:
                updates = update + 1
                break
        seconds, used = time.perf_counter() - started, cpu_seconds([*names]) - cpu
    finally:
        algorithm.stop()
    settled = min(100, updates // 3)
    memory = {}
    for name, values in rows.items():
        late = values[settled:]
        slope = float(np.polyfit(np.arange(len(late)), late, 1)[0]) if len(late) > 2 else float("nan")
        memory[name] = {
            "at_the_end_mb": round(values[-1], 1),
            "smallest_mb": round(min(late), 1),
            "largest_mb": round(max(late), 1),
            "mb_per_100_updates": round(100 * slope, 3),
            "every_10th_update_mb": [round(value, 1) for value in values[::10]],
        }
    return {
        "updates": updates,
        "after_update": settled,
        "seconds_an_update": round(seconds / updates, 3),
        "cpu_seconds": round(used, 1),
        "private_memory": memory,
    }


def measure(options: argparse.Namespace) -> None:
    """All parts, saved one by one."""
    found: dict[str, Any] = {}
    build_seconds: dict[str, float] = {}

    def make(name: str, maker: Callable[..., Any], *arguments: Any) -> Any:
        started = time.perf_counter()
        algorithm = maker(*arguments)
        build_seconds[name] = round(time.perf_counter() - started, 1)
        return algorithm

    rounds, updates = options.rounds, options.updates
    if "travels" in options.parts:
        found["travels"] = {method: travels(method) for method in ("grpo", "sdar", "frozen_ce")}
        save(options, found)
    if "waiting" in options.parts:
        runner = RUNNERS.format(1)
        between = make("waiting, 1 runner", waiting, options.wait, runner)
        ahead = make("waiting, 1 runner, ahead", waiting, options.wait, runner, AHEAD)
        found["waiting"] = {"seconds": options.wait, "ahead": pair(between, ahead, rounds, updates)}
        ahead.stop()
        save(options, found)
        beside = make("waiting, 1 runner, evaluation beside", waiting, options.wait, runner, BESIDE)
        found["waiting"]["evaluation_beside"] = pair(between, beside, rounds, updates, evaluation=True)
        for algorithm in (between, beside):
            algorithm.stop()
        save(options, found)
    if {"arms", "evaluation"} & set(options.parts):
        local = make("local", built)
        sync = {"local": sync_seconds(local)}
        found |= {"arms": {}, "weight_sync_seconds": sync, "build_seconds": build_seconds}
        for name in options.arms if "arms" in options.parts else ():
            arm = make(name, built, *ARMS[name])
            sync[name] = sync_seconds(arm)
            found["arms"][name] = pair(local, arm, rounds, updates)
            arm.stop()
            save(options, found)
        if "evaluation" in options.parts:
            beside = make("evaluation beside", built, BESIDE)
            found["evaluation_beside"] = pair(local, beside, rounds, updates, evaluation=True)
            beside.stop()
            save(options, found)
        local.stop()
    if "memory" in options.parts:
        found["driver_memory"] = [driver_memory(tasks) for tasks in options.batches]
        save(options, found)
    if "weights" in options.parts:
        found["weights_way"] = [weights_way(vocabulary) for vocabulary in options.vocabularies]
        save(options, found)


def save(options: argparse.Namespace, found: dict[str, Any]) -> None:
    where = machine("ray", "torch", "transformers")
    print(machine_line(where), flush=True)
    before = json.loads(options.out.read_text(encoding="utf-8")) if options.out and options.out.is_file() else {}
    # Parts that were measured before stay, with the command of the last ones.
    content = before | {"machine": where, "command": {k: v for k, v in vars(options).items() if k != "out"}, **found}
    print(json.dumps(content, indent=1), flush=True)
    if options.out:
        options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=3, help="timed updates of a block")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=[*ARMS])
    parser.add_argument("--wait", type=float, default=5.0, help="seconds of the part `waiting`")
    parser.add_argument(
        "--batches", nargs="+", type=int, default=[4, 16, 64], help="tasks of an update, for the memory"
    )
    parser.add_argument(
        "--vocabularies", nargs="+", type=int, default=[16_384, 65_536], help="of the weights that are sent"
    )
    parser.add_argument("--soak", type=int, default=0, help="only a soak of so many updates")
    parser.add_argument("--minutes", type=float, default=60.0, help="a soak ends then, whatever it has done")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    quiet()
    # Before RLlib's warnings of the import.
    import sdar_gym.algorithms.sdar  # noqa: F401

    # What the engine that waits needs in the processes of Ray.
    needs = {"PYTHONPATH": str(Path(__file__).parent), _WAIT: str(options.wait)}
    os.environ[_WAIT] = needs[_WAIT]
    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        runtime_env={"env_vars": needs},
    )
    if options.soak:
        save(options, {"soak": soak(options.soak, options.minutes)})
    else:
        measure(options)
    ray.shutdown()


if __name__ == "__main__":
    main()

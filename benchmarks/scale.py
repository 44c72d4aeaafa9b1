"""Runs on many machines: a simulation of their time, and how far it is from what can be measured on this machine.

    python benchmarks/scale.py measure     # runs with 0, 1 and 2 env runners against the simulation; minutes
    python benchmarks/scale.py plan        # 8 and 64 GPUs, up to 100,000 environments; from results/plan.json

Both write `benchmarks/results/scale.json`, each its part.
"""

from __future__ import annotations

import argparse
import json
import pickle
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from machine import machine

from sdar_gym.plan.gpus import Efficiency, gpu_of
from sdar_gym.plan.simulate import Cluster, EngineModel, Turn, parts_of, play, simulate
from sdar_gym.plan.timing import STEP_SECONDS

HERE = Path(__file__).parent / "results"
RESULTS = HERE / "scale.json"
SIZES = (
    "training.tasks_per_iteration=8",
    "training.group_size=4",
    "training.num_minibatches=1",
    "evaluation.tasks=2",
    "evaluation.teacher_tasks=0",
    "evaluation.interval=0",
)
# Sizes of the updates from which the engine's times are fitted, in tasks.
FITTED = (2, 4, 8)
UPDATES = 4

# What a plan assumes beside `sdar-gym plan`: bytes a second between the GPUs of a node and between nodes, mean hours
# between two failures of a node, seconds until it is replaced.
NVLINK, NETWORK, NODE_HOURS, RESTART = 300e9, 40e9, 720.0, 300.0
# Seconds of an ALFWorld turn on a core, prompts and environment, in which the engine of the process waits: 920 turns in
# 0.98 s, of results/prompts.json. Bytes of one environment more: results/envs.json.
TURN, ENVIRONMENT = 0.0011, 192e3
RESPONSE, SPREAD = 150, 0.5
# Parts of a rollout that are simulated; the others take as long as these, in turn.
PARTS = 3


def turns_of(episode: Any) -> list[Turn]:
    """The turns of a recorded episode."""
    spans = [(sequence, span) for sequence in episode.sequences for span in sequence.spans]
    return [Turn(span.start, span.stop - span.start) for _, span in spans]


def groups_of(episodes: Sequence[Any]) -> list[list[list[Turn]]]:
    """Groups of recorded episodes."""
    found: dict[int, list[list[Turn]]] = {}
    for episode in episodes:
        found.setdefault(episode.group_id, []).append(turns_of(episode))
    return [found[key] for key in sorted(found)]


def features(part: Sequence[Sequence[Turn]]) -> list[float]:
    """How often a part pays each time of an engine: steps, episodes in steps, prompt tokens, turns."""
    return [
        play(part, EngineModel(step=1.0)),
        play(part, EngineModel(step=0.0, step_each=1.0)),
        play(part, EngineModel(step=0.0, read=1.0)),
        play(part, EngineModel(step=0.0, turn_blocks=1.0)),
    ]


def fitted(rows: Sequence[Sequence[float]], seconds: Sequence[float]) -> list[float]:
    """Non-negative least squares, by relative error."""
    import numpy as np
    from scipy.optimize import nnls

    weights = 1 / np.asarray(seconds)
    return [float(value) for value in nnls(np.asarray(rows) * weights[:, None], np.ones(len(seconds)))[0]]


def measured_updates(runners: int, tasks: int, updates: int) -> list[dict[str, Any]]:
    """Updates of a run: episodes, seconds of rollout and of the rest.

    Seconds are those of a core (`time.process_time`), of the slowest runner and of the driver: what an idle machine
    with a core for each process would take by the clock. The clock of a busy one says more about its other work.
    """
    from sdar_gym.algorithms.sdar import SDARConfig
    from sdar_gym.configs import load_config

    run = load_config(
        "quickstart", [*SIZES, f"training.tasks_per_iteration={tasks}", f"resources.num_env_runners={runners}"]
    )
    config = SDARConfig.from_run(run)
    config.evaluation_interval = None
    config.env_runners(num_cpus_per_env_runner=0.5)
    algorithm: Any = config.build_algo()
    found: list[dict[str, Any]] = []
    dispatcher, group = algorithm._dispatcher, algorithm.env_runner_group
    collect, spent = dispatcher.collect_training, [0.0]

    def timed(*arguments: Any, **keywords: Any) -> Any:
        began = time.process_time()
        try:
            return collect(*arguments, **keywords)
        finally:
            spent[0] = time.process_time() - began

    def of_runners() -> list[float]:
        return group.foreach_env_runner(lambda _: time.process_time(), local_env_runner=False) if runners else []

    dispatcher.collect_training = timed
    try:
        for number in range(updates + 1):
            began, runners_began = time.process_time(), of_runners()
            algorithm.train()
            driver = time.process_time() - began
            played = [end - start for end, start in zip(of_runners(), runners_began, strict=True)]
            episodes = algorithm.last_episodes
            if number:  # The first one warms up.
                found.append(
                    {
                        "groups": groups_of(episodes),
                        "rollout": max(played) if runners else spent[0],
                        "update": driver - spent[0],
                        "tokens": sum(len(sequence.ids) for episode in episodes for sequence in episode.sequences),
                        "sent": len(pickle.dumps(episodes)),
                    }
                )
    finally:
        algorithm.stop()
    return found


def measure() -> dict[str, Any]:
    """Fits the engine's times to runs in one process, and predicts runs with runners of their own."""
    import logging

    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    local = [update for tasks in FITTED for update in measured_updates(0, tasks, UPDATES)]
    times = fitted(
        [features([episode for group in each["groups"] for episode in group]) for each in local],
        [each["rollout"] for each in local],
    )
    engine = EngineModel(step=times[0], step_each=times[1], read=times[2], turn_blocks=times[3])
    learner = fitted([[1.0, each["tokens"]] for each in local], [each["update"] for each in local])

    def compared(updates: Sequence[dict[str, Any]], runners: int) -> dict[str, Any]:
        rows = []
        for each in updates:
            rollout = max(play(part, engine) for part in parts_of(each["groups"], max(1, runners)))
            rows.append((each["rollout"], rollout, each["update"], learner[0] + learner[1] * each["tokens"]))
        sums = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
        return {
            "updates": len(rows),
            "rollout": {"measured": sums[0], "predicted": sums[1], "error": sums[1] / sums[0] - 1},
            "update": {"measured": sums[2], "predicted": sums[3], "error": sums[3] / sums[2] - 1},
            "all": {
                "measured": sums[0] + sums[2],
                "predicted": sums[1] + sums[3],
                "error": (sums[1] + sums[3]) / (sums[0] + sums[2]) - 1,
            },
            "median_error_of_one_rollout": statistics.median(abs(row[1] / row[0] - 1) for row in rows),
        }

    result: dict[str, Any] = {
        "command": "python benchmarks/scale.py measure",
        "settings": ["quickstart", *SIZES],
        "fitted": {"tasks": FITTED, "engine": dict(zip(("step", "each", "read", "turn"), times, strict=True))}
        | {"learner": {"update": learner[0], "token": learner[1]}},
        "runs": {"0 runners, fitted": compared(local, 0)},
    }
    for runners in (1, 2):
        result["runs"][f"{runners} runner(s)"] = compared(measured_updates(runners, 8, UPDATES), runners)
    ray.shutdown()
    lengths = [len(episode) for each in local for group in each["groups"] for episode in group]
    tokens = sum(each["tokens"] for each in local)
    result["turns"] = {"most": 20, "episodes": lengths}
    result["sent_bytes_a_token"] = sum(each["sent"] for each in local) / tokens
    result["machine"] = machine("ray", "torch")
    return result


def drawn_groups(
    rng: random.Random, groups: int, members: int, lengths: Sequence[float], prompt: int, most: int
) -> list[list[list[Turn]]]:
    """Groups of episodes whose turns are shares of the limit as recorded, with responses of uneven length."""

    def response() -> int:
        return max(1, min(512, round(RESPONSE * rng.lognormvariate(-SPREAD * SPREAD / 2, SPREAD))))

    return [
        [[Turn(prompt, response()) for _ in range(max(1, round(most * rng.choice(lengths))))] for _ in range(members)]
        for _ in range(groups)
    ]


def planned(model: dict[str, Any], shape: dict[str, int], lengths: Sequence[float], sent: float) -> dict[str, Any]:
    """Tokens, seconds, memory and network of an update on a cluster.

    Args:
        model: Its plan in results/plan.json.
        shape: Of the cluster.
        lengths: Recorded turns of episodes, as shares of the limit.
        sent: Bytes that a runner sends for each token of its episodes.
    """
    gpu, efficiency = gpu_of("H100"), Efficiency()
    window = model["contexts"]["window"]["random"]
    parameters, memory = model["parameters"], model["memory"]
    prompt, context = round(window["prompt"]), window["decode"]["context"]
    rate, bandwidth = gpu.flops * efficiency.mfu, gpu.bandwidth * efficiency.bandwidth
    weights = memory["gpu"]["weights of the engine"]
    colocated = shape["learners"] == shape["runners"] == shape["gpus"]
    room = memory["kv_room"] if colocated else 0.9 * gpu.memory - weights
    engine = EngineModel(
        step=STEP_SECONDS + weights / bandwidth,
        # A step waits for the memory or the matrix products.
        step_each=max(memory["kv_token"] * context / bandwidth, 2 * parameters / rate),
        read=window["flops"]["prefill"] / window["tokens"]["prefill"] / rate,
        turn_blocks=TURN,
        slots=max(4, int(room / (memory["kv_token"] * context))),
    )
    rng = random.Random(0)
    members, most = 8, 50
    simulated = min(PARTS, shape["runners"])
    scale = shape["runners"] / simulated
    drawn = round(shape["episodes"] / members / scale)
    groups = drawn_groups(rng, drawn, members, lengths, prompt, most)
    turns = scale * sum(len(episode) for group in groups for episode in group)
    trained = scale * sum(turn.read + turn.sampled for group in groups for episode in group for turn in episode)
    sampled = scale * sum(turn.sampled for group in groups for episode in group for turn in episode)
    parts = [play(part, engine) for part in parts_of(groups, simulated)]
    learning = ("student scores", "reference scores", "teacher scores", "gradient")
    a_token = sum(window["flops"][name] for name in learning) / window["tokens"]["gradient"]
    gradients = 4 * (parameters if not memory["gpu"].get("adapters") else memory["gpu"]["adapters"] / 4)
    nodes = shape["gpus"] // 8
    link = NVLINK if nodes == 1 else NETWORK
    update = a_token * trained / (rate * shape["learners"]) + 2 * gradients / link
    # Learner -> driver -> each node that plays, one after the other's copy: what the code does.
    sync = gradients / NVLINK if nodes == 1 else 2 * gradients / NETWORK

    def run(staleness: int, hours: float) -> dict[str, float]:
        cluster = Cluster(
            runners=shape["runners"], engine=engine, update=update, sync=sync, staleness=staleness, node_hours=hours,
            runners_per_node=min(8, shape["runners"]), learner_nodes=max(1, shape["learners"] // 8), restart=RESTART,
        )  # fmt: skip
        found = simulate([], cluster, 100, times=[[parts[number % simulated] for number in range(shape["runners"])]])
        return {
            "update_seconds": found.update_seconds,
            "rollout_seconds": statistics.mean(found.rollouts),
            "runner_busy": found.runner_busy,
            "learner_busy": found.learner_busy,
            "stale": found.stale,
            "lost_parts": found.lost_parts,
            "lost_updates": found.lost_updates,
        }

    runs = {"synchronous": run(0, float("inf")), "synchronous, failures": run(0, NODE_HOURS)}
    if not colocated:
        runs |= {"staleness 1": run(1, float("inf")), "staleness 1, failures": run(1, NODE_HOURS)}
    seconds = runs["synchronous"]["update_seconds"]
    return {
        **shape,
        "turns": turns,
        "sampled_tokens": sampled,
        "trained_tokens": trained,
        "slots": engine.slots,
        "rollout_of_parts": {"shortest": min(parts), "longest": max(parts)},
        "learner_seconds": update,
        "sync_seconds": sync,
        "runs": runs,
        "environment_share": TURN * turns / shape["runners"] / runs["synchronous"]["rollout_seconds"],
        "environment_gigabytes": ENVIRONMENT * shape["episodes"] / 1e9,
        "gpu_gigabytes": memory["total"] / 1e9,
        "weights_gigabytes_a_sync": gradients / 1e9,
        "sent_gigabytes": sent * trained / 1e9,
        "tokens_a_second": trained / seconds,
    }


def plan(measured: dict[str, Any]) -> dict[str, Any]:
    """The table of models and clusters."""
    turns, sent = measured["turns"], measured["sent_bytes_a_token"]
    lengths = [turn / turns["most"] for turn in turns["episodes"]]
    plans = json.loads((HERE / "plan.json").read_text(encoding="utf-8"))["plans"]
    shapes = {
        "8 GPUs, 1,024 environments": {"gpus": 8, "runners": 8, "learners": 8, "episodes": 1024},
        "64 GPUs, 8,192 environments": {"gpus": 64, "runners": 40, "learners": 24, "episodes": 8192},
        "64 GPUs, 100,000 environments": {"gpus": 64, "runners": 40, "learners": 24, "episodes": 100_000},
    }
    result: dict[str, Any] = {
        "command": "python benchmarks/scale.py plan",
        "simulated_parts": PARTS,
        "assumed": {
            "mfu": 0.3, "bandwidth": 0.6, "nvlink": NVLINK, "network": NETWORK, "turn_seconds": TURN,
            "environment_bytes": ENVIRONMENT,
            "node_hours": NODE_HOURS, "restart": RESTART, "response": RESPONSE, "response_spread": SPREAD,
        },
        "clusters": {},
    }  # fmt: skip
    for name in ("Qwen2.5-1.5B-Instruct", "Qwen2.5-3B-Instruct", "Qwen2.5-7B-Instruct, LoRA"):
        for label, shape in shapes.items():
            result["clusters"][f"{name}, {label}"] = found = planned(plans[name], shape, lengths, sent)
            print(f"{name}, {label}: {found['runs']['synchronous']['update_seconds']:.0f} s an update", flush=True)
    return result


def main() -> None:
    """Reads the command line and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["measure", "plan"])
    part = parser.parse_args().part
    content = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    content[part] = measure() if part == "measure" else plan(content["measure"])
    RESULTS.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

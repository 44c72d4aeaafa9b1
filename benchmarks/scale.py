"""Runs on many machines: a simulation of their time, and how far it is from what can be measured on this machine.

    python benchmarks/scale.py measure     # rollouts divided over 1, 2 and 4 runners, against the simulation
    python benchmarks/scale.py plan        # 8 and 64 GPUs, up to 100,000 environments; from results/plan.json

Seconds that are measured are those of a core (`time.process_time`): what a machine with a core for each runner would
take by the clock; the clock of a busy machine says more about its other work. Parts are played one after another.
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

HERE = Path(__file__).parent / "results"
RESULTS = HERE / "scale.json"
GROUP = 4
# Sizes of the rollouts to which the engine's times are fitted, and of those that are predicted, in groups.
FITTED, PLAYED = (1, 2, 4, 8), 8
RUNNERS = (1, 2, 4)
ROLLOUTS = 2

# What a plan assumes beside `sdar-gym plan`: bytes a second between the GPUs of a node and between nodes, mean hours
# between two failures of a node, seconds until it is replaced.
NVLINK, NETWORK, NODE_HOURS, RESTART = 300e9, 40e9, 720.0, 300.0
# Seconds of an ALFWorld turn on a core, prompts and environment, in which the engine of the process waits: 920 turns in
# 0.98 s, of results/prompts.json. Bytes of one environment more: results/envs.json.
TURN, ENVIRONMENT = 0.0011, 192e3
RESPONSE, SPREAD = 150, 0.5
# Parts of a rollout that are simulated; the others take as long as these, in turn.
PARTS = 2


def turns_of(episode: Any) -> list[Turn]:
    """The turns of a recorded episode."""
    spans = [(sequence, span) for sequence in episode.sequences for span in sequence.spans]
    return [Turn(span.start, span.stop - span.start) for _, span in spans]


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


class Runner:
    """What an env runner plays with, without Ray: an engine and a collector in this process."""

    def __init__(self) -> None:
        import torch

        from sdar_gym.configs import load_config
        from sdar_gym.policy.device import choose_device
        from sdar_gym.policy.load import load_tokenizer
        from sdar_gym.rollout.build import build_collector, build_retriever
        from sdar_gym.rollout.engines.base import SamplingParams
        from sdar_gym.rollout.engines.registry import EngineSpec, build_engine
        from sdar_gym.rollout.environments import make_env
        from sdar_gym.rollout.sampler import TaskSampler

        torch.set_num_threads(1)
        run = load_config("quickstart")
        tokenizer = load_tokenizer(run.policy.model)
        spec = EngineSpec(run.policy, run.rollout, choose_device("cpu"), tokenizer, processes=1, gpu_share=1.0)
        self._engine = build_engine(spec)
        self._collector = build_collector(
            self._engine, tokenizer, run.env, run.env_config, run.rollout, build_retriever(run.env, run.skills),
            teacher_prompts=True, skills_in_prompt=False,
        )  # fmt: skip
        env = make_env(run.env, run.env_config)
        self._sampler = TaskSampler(env.task_ids(), 0)
        env.close()
        self._params = SamplingParams(run.rollout.max_response_tokens, run.rollout.temperature)

    def requests(self, step: int, groups: int) -> list[Any]:
        """The episodes of an update."""
        from sdar_gym.rollout.collector import EpisodeRequest

        tasks = self._sampler.take(step, groups)
        return [
            EpisodeRequest(task, group, member, step) for group, task in enumerate(tasks) for member in range(GROUP)
        ]

    def played(self, requests: Sequence[Any]) -> tuple[list[Any], float]:
        """The episodes, and the seconds of a core that they took."""
        began = time.process_time()
        episodes = self._collector.collect(requests, self._params)
        return episodes, time.process_time() - began


def measure() -> dict[str, Any]:
    """Fits the times of the engine to whole rollouts, and predicts those of runners that divide others."""
    runner = Runner()
    runner.played(runner.requests(99, 1))  # Warms up.
    episodes, rows, seconds = [], [], []
    for number, groups in enumerate(FITTED * ROLLOUTS):
        found, spent = runner.played(runner.requests(number, groups))
        rows.append(features([turns_of(episode) for episode in found]))
        seconds.append(spent)
        episodes += found
        print(f"{groups} groups: {spent:.2f} s", flush=True)
    times = fitted(rows, seconds)
    engine = EngineModel(step=times[0], step_each=times[1], read=times[2], turn_blocks=times[3])
    again = [sum(a * b for a, b in zip(times, row, strict=True)) for row in rows]
    fit = [one / spent - 1 for one, spent in zip(again, seconds, strict=True)]
    runs: dict[str, Any] = {}
    for runners in RUNNERS:
        slowest, parts = [], []
        for step in range(100, 100 + ROLLOUTS):
            requests = runner.requests(step, PLAYED)
            groups = [requests[first : first + GROUP] for first in range(0, len(requests), GROUP)]
            pairs = []
            for first in range(runners):
                found, spent = runner.played([request for group in groups[first::runners] for request in group])
                pairs.append((spent, play([turns_of(episode) for episode in found], engine)))
            parts += pairs
            slowest.append(tuple(map(max, zip(*pairs, strict=True))))
        measured, predicted = (statistics.mean(column) for column in zip(*slowest, strict=True))
        runs[f"{runners} runner{'s' * (runners > 1)}"] = {
            "rollouts": len(slowest),
            "measured": measured,
            "predicted": predicted,
            "error": predicted / measured - 1,
            "median_error_of_a_part": statistics.median(abs(each[1] / each[0] - 1) for each in parts),
            "largest_error_of_a_part": max(abs(each[1] / each[0] - 1) for each in parts),
        }
        print(runs, flush=True)
    lengths = [len(episode.turns) for episode in episodes]
    tokens = sum(len(sequence.ids) for episode in episodes for sequence in episode.sequences)
    return {
        "command": "python benchmarks/scale.py measure",
        "groups": PLAYED,
        "fitted": {
            "groups": FITTED,
            "rollouts": len(seconds),
            "engine": dict(zip(("step", "each", "read", "turn"), times, strict=True)),
            "median_error": statistics.median(map(abs, fit)),
        },
        "runs": runs,
        "turns": {"most": 20, "episodes": lengths},
        "sent_bytes_a_token": len(pickle.dumps(episodes)) / tokens,
        "machine": machine("torch", "transformers"),
    }


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
    # A step beside its memory traffic: `plan/timing.py`, whose import would load torch.
    step_seconds = 4e-3
    window = model["contexts"]["window"]["random"]
    parameters, memory = model["parameters"], model["memory"]
    prompt, context = round(window["prompt"]), window["decode"]["context"]
    rate, bandwidth = gpu.flops * efficiency.mfu, gpu.bandwidth * efficiency.bandwidth
    weights = memory["gpu"]["weights of the engine"]
    colocated = shape["learners"] == shape["runners"] == shape["gpus"]
    room = memory["kv_room"] if colocated else 0.9 * gpu.memory - weights
    engine = EngineModel(
        step=step_seconds + weights / bandwidth,
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

"""Compares the contexts, a window and a conversation, on the same episodes: tokens read, time and memory of an update.

    python benchmarks/context.py [--model tiny|6m|qwen2.5-0.5b|FOLDER] [--device cpu|cuda] [--turns 50]
        [--groups 1] [--members 4] [--json OUT]

An update of SDAR is played and learned by the product itself, on generated ALFWorld games of full-size rooms. The
environment ignores what the policy answers and plays random actions instead, the same in every case, so that all cases
have the same episodes: only prompts and token sequences differ. Cases differ in `rollout.context` and in where the
possible actions are listed (`rollout.show_actions`). Besides `tiny`, models with a name (`random_model.py`) have
random weights, with the tokenizer of `--tokenizer` or the built-in one; a FOLDER is a real model.

Each case runs in a process of its own: the rollout once, then gradient steps of GRPO and SDAR on these episodes in
turns, both with a KL term, so that only the teacher differs. Tokens of the sampler are those that its engine counted,
those of learner and teacher follow from the sequences (padding left out, a shared beginning of teacher prompts once).
Time is the process's CPU time, on a GPU wall time, from which the share of the peak (`mfu`) follows. Memory is what the
peak rises above where it stood.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from learner import clock, peak_mb, reset_peak, standing_mb, update, wait
from machine import machine, machine_line
from random_model import SHAPES, random_model

from sdar_gym.envs.alfworld.env import ALFWorldEnv
from sdar_gym.envs.registry import register
from sdar_gym.envs.text_env import Task, Turn
from sdar_gym.plan.gpus import GPUS
from sdar_gym.plan.model_size import model_size
from sdar_gym.plan.work import passes_of, update_work

ENV = "benchmark/RandomPlay-v0"
CASES = (
    ("window", "each"),
    ("window", "never"),
    ("conversation", "each"),
    ("conversation", "changes"),
    ("conversation", "never"),
)
METHODS = ("grpo", "sdar")
# Context length of models that are made here, so that no conversation ends early.
POSITIONS = 65_536


class RandomPlay(ALFWorldEnv):
    """ALFWorld with random actions in place of the policy's; the n-th environment of a process plays its own ones."""

    _made = 0
    _number: int | None = None

    def _begin(self, task: Task) -> Turn:
        if self._number is None:
            self._number, RandomPlay._made = RandomPlay._made, RandomPlay._made + 1
        self._random = random.Random(f"{task.task_id} {self._number}")
        turn = super()._begin(task)
        self._offered = turn.admissible_actions
        return turn

    def _act(self, action: str) -> Turn:
        turn = super()._act(self._random.choice(self._offered))
        self._offered = turn.admissible_actions
        return turn


def main() -> None:
    """Measures all cases and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--tokenizer", help="folder of the tokenizer of a model with random weights")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--turns", type=int, default=50)
    parser.add_argument("--groups", type=int, default=1)
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--response", type=int, default=16, help="tokens of a response at most")
    parser.add_argument("--repeats", type=int, default=3, help="updates after a warm-up; 0 for one without")
    parser.add_argument("--cases", nargs="*", help="such as conversation/never; default all")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(_case(options, *options.part.split("/"))))
        return
    where = machine("torch", "transformers", "ray")
    print(machine_line(where))
    names = options.cases or ["/".join(case) for case in CASES]
    cases = {}
    for name in names:
        cases[name] = _child(options, name)
        one = cases[name]
        print(
            f"{name:22} tokens: sampler {one['tokens']['sampler']:>9,} learner {one['tokens']['learner']:>9,}"
            f" teacher {one['tokens']['teacher']:>9,}; seconds: rollout {one['seconds']['rollout']:7.1f} SDAR's update"
            f" {one['seconds']['sdar']:7.1f} ({one['sdar_to_grpo']:.2f} x GRPO's); MB: {one['mb']}"
        )
    base = cases[names[0]]
    result = {
        "command": "python benchmarks/context.py " + " ".join(_public(sys.argv[1:])),
        "machine": where,
        "model": "FOLDER" if Path(options.model).is_dir() else options.model,
        "cases": cases,
        "fewer_tokens_than": names[0],
        "fewer_tokens": {
            name: {part: round(base["tokens"][part] / count, 2) for part, count in one["tokens"].items() if count}
            for name, one in cases.items()
        },
        "less_time": {
            name: {part: round(base["seconds"][part] / seconds, 2) for part, seconds in one["seconds"].items()}
            for name, one in cases.items()
        },
    }
    print("fewer tokens than", names[0], json.dumps(result["fewer_tokens"]))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _public(arguments: list[str]) -> list[str]:
    return ["FOLDER" if Path(each).is_dir() else "OUT" if each.endswith(".json") else each for each in arguments]


def _child(options: argparse.Namespace, case: str) -> dict[str, Any]:
    """Runs a case in a process of its own, for its memory."""
    done = subprocess.run(
        [sys.executable, __file__, *sys.argv[1:], "--part", case],
        capture_output=True,
        text=True,
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
    )
    if done.returncode:
        raise SystemExit(f"{case} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _case(options: argparse.Namespace, context: str, show_actions: str) -> dict[str, Any]:
    import ray
    import torch

    from sdar_gym.rollout.metrics import tokens_of

    if options.device == "cpu":
        torch.set_num_threads(1)
    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, num_cpus=2)
    register(ENV, f"{__name__}:RandomPlay", prompt="sdar_gym.envs.alfworld.prompt:TEMPLATES", skills="alfworld")
    with tempfile.TemporaryDirectory() as folder:
        model = _model(options, folder)
        algorithms = {name: _algorithm(options, name, model, context, show_actions) for name in METHODS}
        sdar = algorithms["sdar"]
        requests = sdar._requests(0)
        RandomPlay._made = 0
        reset_peak(options.device)
        before, started = standing_mb(options.device), clock(options.device)
        episodes = sdar._dispatcher.collect_training(requests, options.members, skills_in_prompt=False, update=1)
        wait(options.device)
        seconds: dict[str, Any] = {"rollout": clock(options.device) - started}
        memory = {"rollout": round(peak_mb(options.device) - before)}
        assert not any(episode.error for episode in episodes), episodes[0].error
        times: dict[str, list[float]] = {name: [] for name in METHODS}
        peaks: dict[str, list[float]] = {name: [] for name in METHODS}
        for repeat in range(options.repeats + 1):
            for name, algorithm in algorithms.items():
                reset_peak(options.device)
                before, started = standing_mb(options.device), clock(options.device)
                update(algorithm, episodes, repeat)
                wait(options.device)
                if repeat or not options.repeats:
                    times[name].append(clock(options.device) - started)
                    peaks[name].append(peak_mb(options.device) - before)
        flops = {name: _flops(episodes, algorithm) for name, algorithm in algorithms.items()}
        for algorithm in algorithms.values():
            algorithm.stop()
    ray.shutdown()
    ratios = [sdar_s / grpo_s for sdar_s, grpo_s in zip(times["sdar"], times["grpo"], strict=True)]
    turns = [turn for episode in episodes for turn in episode.turns]
    result = {
        "episodes": len(episodes),
        "turns": len(turns),
        "response_tokens": sum(len(turn.response_ids) for turn in turns),
        "tokens": {"sampler": tokens_of(episodes), **_learned(episodes, algorithms["sdar"])},
        "seconds": {key: round(value, 2) for key, value in seconds.items()}
        | {name: round(median(values), 2) for name, values in times.items()},
        "mb": memory | {name: round(max(values)) for name, values in peaks.items()},
        "flops": flops,
        "sdar_to_grpo": round(median(ratios), 3),
        "sdar_to_grpo_each": [round(ratio, 3) for ratio in ratios],
    }
    if options.device == "cuda":
        result["gpu"] = gpu = torch.cuda.get_device_name()
        peak = next((each.flops for each in GPUS.values() if each.name in gpu), None)
        if peak:
            result["mfu"] = {name: round(flops[name] / median(times[name]) / peak, 4) for name in METHODS}
    return result


def _flops(episodes: list[Any], algorithm: Any) -> float:
    """Operations of an update without recomputation: scores, and forward and backward pass of the gradient."""
    config = algorithm.config
    size = model_size(config.policy_settings.model)
    work = update_work(episodes, config.get_sizes().micro_batch_tokens)
    old_logp = config.training_settings.old_logp
    passes = passes_of(config.get_method().objective, old_logp=old_logp, epochs=1, recomputed=False)
    scores = work.student * (passes.student + passes.reference) + work.teacher * passes.teacher
    return scores.flops(size) + passes.gradient_flops(work.gradient, size)


def _learned(episodes: list[Any], algorithm: Any) -> dict[str, int]:
    """Tokens of one forward pass over the episodes, by the student (as by the reference) and behind the skills."""
    work = update_work(episodes, algorithm.config.get_sizes().micro_batch_tokens)
    return {"learner": int(work.gradient.tokens), "teacher": int(work.teacher.tokens)}


def _model(options: argparse.Namespace, folder: str) -> str:
    from sdar_gym.policy.load import load_model, load_tokenizer

    if options.model != "tiny" and options.model not in SHAPES:
        return options.model
    tokenizer = load_tokenizer(options.tokenizer or "builtin:tiny")
    if options.model == "tiny":
        model = load_model("builtin:tiny")
        model.config.max_position_embeddings = POSITIONS
        model.save_pretrained(folder)
    else:
        random_model(SHAPES[options.model], POSITIONS).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _algorithm(options: argparse.Namespace, method: str, model: str, context: str, show_actions: str) -> Any:
    from sdar_gym.algorithms.sdar import SDARConfig

    on_gpu = options.device == "cuda"
    config = SDARConfig().environment(
        ENV, env_config={"games": "generated", "scene": "full", "max_steps": options.turns}
    )
    config.training(
        method=method,
        group_size=options.members,
        tasks_per_iteration=options.groups,
        micro_batch_tokens=16_384 if on_gpu else 4096,
        lr=1e-6,
        objective={"kl_coeff": 0.01, "entropy_coeff": 0.0},
    )
    config.policy(
        model=model,
        device=options.device,
        dtype="bfloat16" if on_gpu else "float32",
        gradient_checkpointing=on_gpu,
    )
    config.rollout(
        prompt="window",
        context=context,
        show_actions=show_actions,
        think=False,
        max_response_tokens=options.response,
        max_prompt_tokens=8192,
    )
    config.skills(k=3).evaluation(tasks=2, interval=0)
    if on_gpu:
        config.learners(num_learners=0, num_gpus_per_learner=1)
    return config.build_algo()


if __name__ == "__main__":
    main()

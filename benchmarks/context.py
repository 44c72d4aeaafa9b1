"""Compares the contexts, a window and a conversation, on the same episodes: tokens read, time and memory of an update.

    python benchmarks/context.py [--model tiny|6m|qwen2.5-0.5b|FOLDER] [--device cpu|cuda] [--turns 50]
        [--groups 1] [--members 4] [--cases window/each …] [--changes key=value …] [--json OUT]

An update of SDAR is played and learned by the product itself, on generated ALFWorld games of full-size rooms. The
environment ignores what the policy answers and plays random actions instead, the same in every case, so that all cases
have the same episodes: only prompts and token sequences differ. Cases differ in `rollout.context` and in where the
possible actions are listed (`rollout.show_actions`). Besides `tiny`, models with a name (`random_model.py`) have
random weights, with the tokenizer of `--tokenizer` or the built-in one; a FOLDER is a real model.

Each case runs in a process of its own: the rollout once, then gradient steps of GRPO and SDAR on these episodes in
turns, both with a KL term, so that only the teacher differs. Tokens of the sampler are those that its engine counted,
those of learner and teacher follow from the sequences (padding left out, a shared beginning of teacher prompts once).
Time is the process's CPU time. Memory is what the peak rises above where it stood.

On a GPU time is wall time, from which the share of the peak follows (`mfu`, without what is computed again), and one
method is measured after the other, so that one learner alone is in the memory; `gpu_mb` is its whole peak there. Beside
it stands what `sdar-gym plan` computes for the same episodes (`plan`), on a CPU for the GPU of `--gpu`.
"""

from __future__ import annotations

import argparse
import gc
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
from sdar_gym.plan.gpus import GPUS, Efficiency, Gpu, gpu_of
from sdar_gym.plan.memory import memory_of
from sdar_gym.plan.model_size import model_size
from sdar_gym.plan.plan import cost_of
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
    parser.add_argument("--changes", nargs="*", default=[], help="key=value, such as policy.offload_teacher=false")
    parser.add_argument("--gpu", type=gpu_of, help="GPU of the plan; default: the one that it runs on, if it is known")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part == "model":
        _make_model(options)
        return
    if options.part:
        print(json.dumps(_case(options, *options.part.split("/"))))
        return
    where = machine("torch", "transformers", "ray")
    print(machine_line(where))
    names = options.cases or ["/".join(case) for case in CASES]
    cases: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as made:
        if options.model == "tiny" or options.model in SHAPES:
            _child("model", made)
        for name in names:
            cases[name] = one = json.loads(_child(name, made).splitlines()[-1])
            where |= {"gpu": one["gpu"]} if "gpu" in one else {}
            print(
                f"{name:22} tokens: sampler {one['tokens']['sampler']:>9,} learner {one['tokens']['learner']:>9,}"
                f" teacher {one['tokens']['teacher']:>9,}; seconds: rollout {one['seconds']['rollout']:7.1f} SDAR's "
                f"update {one['seconds']['sdar']:7.1f} ({one['sdar_to_grpo']:.2f} x GRPO's); MB: {one['mb']}",
                *(f"{key}: {json.dumps(one[key])}" for key in ("mfu", "gpu_mb", "plan") if key in one),
                flush=True,
            )
            _write(options, where, cases, names[0])
    print("fewer tokens than", names[0], json.dumps(_fewer_tokens(cases, names[0])))


def _fewer_tokens(cases: dict[str, Any], first: str) -> dict[str, Any]:
    base = cases[first]["tokens"]
    return {
        name: {part: round(base[part] / count, 2) for part, count in one["tokens"].items() if count}
        for name, one in cases.items()
    }


def _write(options: argparse.Namespace, where: dict[str, Any], cases: dict[str, Any], first: str) -> None:
    """Writes the result of the cases so far."""
    base = cases[first]
    result = {
        "command": "python benchmarks/context.py " + " ".join(_public(sys.argv[1:])),
        "machine": where,
        "model": "FOLDER" if Path(options.model).is_dir() else options.model,
        "cases": cases,
        "fewer_tokens_than": first,
        "fewer_tokens": _fewer_tokens(cases, first),
        "less_time": {
            name: {part: round(base["seconds"][part] / seconds, 2) for part, seconds in one["seconds"].items()}
            for name, one in cases.items()
        },
    }
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _public(arguments: list[str]) -> list[str]:
    return ["FOLDER" if Path(each).is_dir() else "OUT" if each.endswith(".json") else each for each in arguments]


def _child(part: str, folder: str) -> str:
    """Runs a case in a process of its own, for its memory, or makes the model there; what it prints."""
    done = subprocess.run(
        [sys.executable, __file__, *sys.argv[1:], "--part", part, "--folder", folder],
        capture_output=True,
        text=True,
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
    )
    if done.returncode:
        raise SystemExit(f"{part} failed:\n{done.stderr[-3000:]}")
    return done.stdout


def _case(options: argparse.Namespace, context: str, show_actions: str) -> dict[str, Any]:
    import ray
    import torch

    from sdar_gym.rollout.metrics import tokens_of

    if options.device == "cpu":
        torch.set_num_threads(1)
    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, num_cpus=2)
    register(ENV, f"{__name__}:RandomPlay", prompt="sdar_gym.envs.alfworld.prompt:TEMPLATES", skills="alfworld")
    on_gpu = options.device == "cuda"
    gpu = options.gpu or (_gpu(torch.cuda.get_device_name()) if on_gpu else None)
    # On a GPU a second learner would take the memory of the first; wall time there is steady enough.
    groups = (("sdar",), ("grpo",)) if on_gpu else (METHODS,)
    result: dict[str, Any] = {"mb": {}, "flops": {}, "plan": {}, "gpu_mb": {}}
    episodes: list[Any] = []
    times: dict[str, list[float]] = {name: [] for name in METHODS}
    peaks: dict[str, list[float]] = {name: [] for name in METHODS}
    for together in groups:
        runs = {name: _run(options, name, context, show_actions) for name in together}
        algorithms = {name: _algorithm(options, runs[name]) for name in together}
        if not episodes:
            episodes, result["seconds"] = _rollout(options, algorithms["sdar"], result)
        _updates(options, algorithms, episodes, times, peaks)
        for name in together:
            result["flops"][name] = _flops(episodes, algorithms[name])
            result["gpu_mb"][name] = round(peak_mb(options.device))
            if name == "sdar":
                result["tokens"] = {"sampler": tokens_of(episodes), **_learned(episodes, algorithms[name])}
            if gpu:
                result["plan"][name] = _plan(runs[name], episodes, gpu)
            algorithms.pop(name).stop()
        gc.collect()
        if on_gpu:
            torch.cuda.empty_cache()
            result["gpu_mb"][f"after {together[0]}"] = round(standing_mb(options.device))
    ray.shutdown()
    ratios = [sdar_s / grpo_s for sdar_s, grpo_s in zip(times["sdar"], times["grpo"], strict=True)]
    turns = [turn for episode in episodes for turn in episode.turns]
    result |= {
        "episodes": len(episodes),
        "turns": len(turns),
        "response_tokens": sum(len(turn.response_ids) for turn in turns),
        "sdar_to_grpo": round(median(ratios), 3),
        "sdar_to_grpo_each": [round(ratio, 3) for ratio in ratios],
    }
    for name in METHODS:
        result["seconds"][name] = round(median(times[name]), 2)
        result["mb"][name] = round(max(peaks[name]))
    if on_gpu:
        result["gpu"] = torch.cuda.get_device_name()
        if gpu:
            flops = result["flops"]
            result["mfu"] = {name: round(flops[name] / median(times[name]) / gpu.flops, 4) for name in METHODS}
            for name, planned in result["plan"].items():
                # With it the plan's seconds of an update are those measured.
                planned["mfu_for_the_plan"] = round(Efficiency().mfu * planned["update"] / median(times[name]), 4)
    else:
        del result["gpu_mb"]
    return result if gpu else {key: value for key, value in result.items() if key != "plan"}


def _updates(
    options: argparse.Namespace,
    algorithms: dict[str, Any],
    episodes: list[Any],
    times: dict[str, list[float]],
    peaks: dict[str, list[float]],
) -> None:
    """Updates of all algorithms in turns; adds their seconds, and how far the memory rose."""
    for repeat in range(options.repeats + 1):
        for name, algorithm in algorithms.items():
            reset_peak(options.device)
            before, started = standing_mb(options.device), clock(options.device)
            update(algorithm, episodes, repeat)
            wait(options.device)
            if repeat or not options.repeats:
                times[name].append(clock(options.device) - started)
                peaks[name].append(peak_mb(options.device) - before)


def _rollout(options: argparse.Namespace, algorithm: Any, result: dict[str, Any]) -> tuple[list[Any], dict[str, float]]:
    """Plays the episodes; they, and the seconds that it took."""
    requests = algorithm._requests(0)
    RandomPlay._made = 0
    reset_peak(options.device)
    before, started = standing_mb(options.device), clock(options.device)
    episodes = algorithm._dispatcher.collect_training(requests, options.members, skills_in_prompt=False, update=1)
    wait(options.device)
    seconds = clock(options.device) - started
    result["mb"]["rollout"] = round(peak_mb(options.device) - before)
    result["gpu_mb"]["rollout"] = round(peak_mb(options.device))
    assert not any(episode.error for episode in episodes), episodes[0].error
    return episodes, {"rollout": round(seconds, 2)}


def _gpu(name: str) -> Gpu | None:
    """The GPU of the plans' table with the name that torch gives, such as `NVIDIA H100 80GB HBM3`."""
    return next((each for each in GPUS.values() if each.name in name.replace(" ", "")), None)


def _plan(run: Any, episodes: list[Any], gpu: Gpu) -> dict[str, float]:
    """What `sdar-gym plan` computes for an update with these episodes: seconds, and the peak of the memory."""
    size = model_size(run.policy.model)
    memory = memory_of(size, run.policy, run.training, run.objective, gpu.memory)
    passes = passes_of(
        run.objective, old_logp=run.training.old_logp, epochs=1, recomputed=memory.gradient_checkpointing
    )
    seconds = dict(cost_of(run, episodes, size, memory, passes, gpu, Efficiency(), 0).seconds)
    rollout = seconds.pop("prefill") + seconds.pop("decode")
    return {
        "rollout": round(rollout, 2),
        "update": round(sum(seconds.values()), 2),
        "gpu_mb": round(memory.total / 1e6),
    }


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


def _make_model(options: argparse.Namespace) -> None:
    """Writes the model that is made here, and its tokenizer, into the folder."""
    import torch

    from sdar_gym.policy.load import load_model, load_tokenizer

    if options.model == "tiny":
        model = load_model("builtin:tiny")
        model.config.max_position_embeddings = POSITIONS
    else:
        model = random_model(SHAPES[options.model], POSITIONS, options.device)
    if options.device == "cuda":
        model = model.to(torch.bfloat16)  # pyright: ignore[reportArgumentType]
    model.save_pretrained(options.folder)
    load_tokenizer(options.tokenizer or "builtin:tiny").save_pretrained(options.folder)


def _run(options: argparse.Namespace, method: str, context: str, show_actions: str) -> Any:
    """The configuration of a run."""
    from sdar_gym.configs import load_config

    on_gpu = options.device == "cuda"
    settings = {
        "method": method,
        "env": ENV,
        "env_config.games": "generated",
        "env_config.scene": "full",
        "env_config.max_steps": options.turns,
        "training.group_size": options.members,
        "training.tasks_per_iteration": options.groups,
        "training.micro_batch_tokens": 16_384 if on_gpu else 4096,
        "training.lr": 1e-6,
        "training.objective.kl_coeff": 0.01,
        "training.objective.entropy_coeff": 0.0,
        "policy.model": options.folder if options.model == "tiny" or options.model in SHAPES else options.model,
        "policy.device": options.device,
        "policy.dtype": "bfloat16" if on_gpu else "float32",
        "policy.gradient_checkpointing": str(on_gpu).lower(),
        "rollout.prompt": "window",
        "rollout.context": context,
        "rollout.show_actions": show_actions,
        "rollout.think": "false",
        "rollout.max_response_tokens": options.response,
        "rollout.max_prompt_tokens": 8192,
        "skills.k": 3,
        "evaluation.tasks": 2,
        "evaluation.interval": 0,
    }
    return load_config("published", [*(f"{key}={value}" for key, value in settings.items()), *options.changes])


def _algorithm(options: argparse.Namespace, run: Any) -> Any:
    from sdar_gym.algorithms.sdar import SDARConfig

    config = SDARConfig.from_run(run)
    if options.device == "cuda":
        config.learners(num_learners=0, num_gpus_per_learner=1)
    return config.build_algo()


if __name__ == "__main__":
    main()

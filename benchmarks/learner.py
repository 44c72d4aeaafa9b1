"""Measures the learner: SDAR's step against GRPO's on the same batch, and chunked log-probabilities against plain ones.

    python benchmarks/learner.py [--model small|qwen2.5-0.5b|qwen2.5-1.5b] [--device cpu|cuda] [--json OUT]

The models have random weights; `small` has the architecture of Qwen2.5 at a size for a laptop. A batch is made of
episodes as ALFWorld's are: a group's turns share their task and skills, every turn has another response. Prompts have
600 tokens, skills 500 (the built-in library's advice for one task, at 4.4 characters a token), responses 100. A step is
all that the driver and the learner do with finished episodes: advantages, scores of teacher and reference, gradient
steps. Each pair of methods alternates within one process, a few times; ratios are of medians.

Memory is what a process's peak rises above where it stood before (on a GPU: the allocator's peak).
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from machine import machine, machine_line
from random_model import SHAPES, random_model

SIZES: dict[str, dict[str, Any]] = {
    "small": {"shape": SHAPES["small"], "groups": 1, "members": 4, "turns": 6},
    "qwen2.5-0.5b": {"shape": SHAPES["qwen2.5-0.5b"], "groups": 4, "members": 8, "turns": 16},
    "qwen2.5-1.5b": {"shape": SHAPES["qwen2.5-1.5b"], "groups": 4, "members": 8, "turns": 16},
}
PROMPT, SKILLS, RESPONSE = 600, 500, 100
# In results: `answer` is the response, `dense` a divergence over the whole vocabulary.
METHODS = ("sdar", "allfail_ce", "frozen_ce")
# 152,000 tokens and the width of Qwen2.5-0.5B.
VOCABULARY, WIDTH, TOKENS = 151_936, 896, 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=SIZES, default="small")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="default: float32 on the CPU, else bfloat16")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.dtype = options.dtype or ("float32" if options.device == "cpu" else "bfloat16")
    if options.part:
        print(json.dumps(_part(options)))
        return
    where = machine("torch", "transformers", "ray")
    print(machine_line(where))
    steps = {name: _child(options, f"pair:{name}") for name in METHODS}
    chunked = {name: _child(options, name) for name in ("logp:plain", "logp:chunked", "dense:plain", "dense:chunked")}
    result = {
        "command": "python benchmarks/learner.py " + " ".join(sys.argv[1:]),
        "machine": where,
        "model": options.model,
        "device": options.device,
        "dtype": options.dtype,
        "batch": {"prompt": PROMPT, "skills": SKILLS, "answer": RESPONSE, **_rows(options.model)},
        "steps": steps,
        "step_ratio_to_grpo": {name: steps[name]["ratio"] for name in METHODS},
        "memory_ratio_to_grpo": {name: steps[name]["memory_ratio"] for name in METHODS},
        "logp": chunked,
        "logp_memory_ratio": {
            what: round(chunked[f"{what}:chunked"]["peak_mb"] / chunked[f"{what}:plain"]["peak_mb"], 4)
            for what in ("logp", "dense")
        },
        "gradient_error": _child(options, "gradients"),
    }
    for name in METHODS:
        pair = steps[name]
        one, grpo = pair[name], pair["grpo"]
        print(
            f"{name:12} {one['median_seconds']:7.2f} s a step, GRPO {grpo['median_seconds']:7.2f} s:"
            f" {pair['ratio']:.2f} x ({min(pair['ratios']):.2f} to {max(pair['ratios']):.2f});"
            f" peak {one['peak_mb']:,.0f} MB, {pair['memory_ratio']:.2f} x"
        )
    print(f"chunked / plain memory: {result['logp_memory_ratio']}   largest relative error: {result['gradient_error']}")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _child(options: argparse.Namespace, part: str) -> dict[str, Any]:
    """Runs a part in a separate process, so that memory is measured separately."""
    command = [sys.executable, __file__, "--part", part, "--model", options.model, "--device", options.device]
    command += ["--dtype", options.dtype, "--repeats", str(options.repeats)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"})
    if done.returncode:
        raise SystemExit(f"{part} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _part(options: argparse.Namespace) -> dict[str, Any]:
    if options.device == "cpu":
        import torch

        torch.set_num_threads(1)
    if options.part.startswith("pair:"):
        return _pair(options, options.part.removeprefix("pair:"))
    if options.part == "gradients":
        return _gradient_error()
    what, how = options.part.split(":")
    return _log_probabilities(options, what, budget=None if how == "chunked" else 1 << 50)


def _rows(model: str) -> dict[str, int]:
    size = SIZES[model]
    rows = size["groups"] * size["members"] * size["turns"]
    return {"groups": size["groups"], "rows": rows, "student_tokens": rows * (PROMPT + RESPONSE)}


def _pair(options: argparse.Namespace, method: str) -> dict[str, Any]:
    """Times updates of GRPO and another method alternately, on the same episodes."""
    import ray
    import torch

    from sdar_gym.policy.load import load_tokenizer

    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, num_cpus=2)
    size = SIZES[options.model]
    with tempfile.TemporaryDirectory() as folder:
        model = random_model(size["shape"], positions=4096)
        model.save_pretrained(folder)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        del model
        load_tokenizer("builtin:tiny").save_pretrained(folder)
        algorithms = {name: _algorithm(options, name, folder) for name in ("grpo", method)}
        seconds: dict[str, list[float]] = {name: [] for name in algorithms}
        peaks: dict[str, list[float]] = {name: [] for name in algorithms}
        # Step 0 is the warm-up.
        for step in range(options.repeats + 1):
            for name, algorithm in algorithms.items():
                episodes = _episodes(size, step)
                reset_peak(options.device)
                before, started = standing_mb(options.device), clock(options.device)
                update(algorithm, episodes, step)
                wait(options.device)
                if step:
                    seconds[name].append(clock(options.device) - started)
                    peaks[name].append(peak_mb(options.device) - before)
        for algorithm in algorithms.values():
            algorithm.stop()
    ray.shutdown()
    rows = _rows(options.model)
    ratios = [mine / its for mine, its in zip(seconds[method], seconds["grpo"], strict=True)]
    result: dict[str, Any] = {
        "ratio": round(median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "memory_ratio": round(max(peaks[method]) / max(peaks["grpo"]), 3),
        "parameters": parameters,
    }
    for name in algorithms:
        middle = median(seconds[name])
        result[name] = {
            "seconds": [round(value, 3) for value in seconds[name]],
            "median_seconds": round(middle, 3),
            "peak_mb": round(max(peaks[name]), 1),
            "tokens_per_second": round(rows["student_tokens"] / middle, 1),
        }
        if options.device == "cuda":
            gpu = torch.cuda.get_device_name()
            # Forward and backward of the student over its own tokens, the usual 6 operations a parameter and token.
            achieved = 6.0 * parameters * rows["student_tokens"] / middle
            result[name] |= {"gpu": gpu, "student_tflops": round(achieved / 1e12, 1)}
            if "H100" in gpu or "H200" in gpu:
                result[name]["mfu"] = round(achieved / 989e12, 4)  # Dense bfloat16 peak of the data sheet.
    return result


def _algorithm(options: argparse.Namespace, method: str, folder: str) -> Any:
    from sdar_gym.algorithms.sdar import SDARConfig

    size = SIZES[options.model]
    config = SDARConfig().environment(
        "sdar/ALFWorld-v0", env_config={"games": "generated", "scene": "small", "max_steps": 20}
    )
    config.training(
        method=method,
        group_size=size["members"],
        tasks_per_iteration=size["groups"],
        micro_batch_tokens=16_384 if options.device == "cuda" else 4096,
        lr=1e-6,
        # The same regularization for all: only the teacher differs.
        objective={"kl_coeff": 0.01, "entropy_coeff": 0.0},
    )
    config.policy(model=folder, dtype=options.dtype, gradient_checkpointing=options.device == "cuda")
    config.rollout(prompt="compact", think=False).skills(k=1, include_general=False).evaluation(tasks=2, interval=0)
    if options.device == "cuda":
        config.learners(num_learners=0, num_gpus_per_learner=1)
    return config.build_algo()


def update(algorithm: Any, episodes: list[Any], step: int) -> None:
    """Prepare, score, shape and collate, and the gradient steps: an update without rollout and diagnostics."""
    pipeline, config = algorithm.pipeline, algorithm.config
    shards = max(1, config.num_learners) * config.training_settings.num_minibatches
    batch = pipeline.shape(pipeline.score(pipeline.prepare(episodes, step), step), step)
    columns, _ = pipeline.collate(batch, step, row_multiple=shards, shuffle_seed=f"{step}")
    algorithm._update_learners(columns, len(batch.turns), shards, step)


def _episodes(size: dict[str, Any], step: int) -> list[Any]:
    """Finished episodes; half of the groups have successes, in the others all fail."""
    import numpy as np

    from sdar_gym.rollout.trajectory import Episode, TurnRecord

    rng = np.random.default_rng(step)
    vocabulary = size["shape"].vocabulary

    def tokens(count: int) -> list[int]:
        return rng.integers(10, vocabulary, count).tolist()

    episodes = []
    role = tokens(30)
    for group in range(size["groups"]):
        goal, skills = tokens(30), tokens(SKILLS)
        for member in range(size["members"]):
            won = group % 2 == 0 and member % 2 == 0
            episode = Episode(
                f"{group}/{member}", group, str(group), "kind", "train", "goal", won=won, score=float(won)
            )
            for number in range(size["turns"]):
                rest, response = tokens(PROMPT - 60), tokens(RESPONSE)
                episode.add_turn(
                    TurnRecord(
                        observation=f"{group} {member} {number}",
                        response="",
                        action="",
                        valid_form=True,
                        valid_action=True,
                        reward=float(won and number + 1 == size["turns"]),
                        response_ids=response,
                        old_logp=[-10.0] * RESPONSE,
                        weight_version=step,
                    ),
                    [*role, *goal, *rest],
                    [*role, *goal, *skills, *rest],
                )
            episodes.append(episode)
    return episodes


def _log_probabilities(options: argparse.Namespace, what: str, budget: int | None) -> dict[str, Any]:
    """Peak memory and time of log-probabilities with their gradients, for a head of 152,000 tokens."""
    import torch

    from sdar_gym.policy.chunked_head import LOGIT_BUDGET_BYTES

    body = _Body(VOCABULARY, WIDTH, TOKENS, torch.device(options.device))
    reset_peak(options.device)
    before, started = standing_mb(options.device), clock(options.device)
    body.loss(what, LOGIT_BUDGET_BYTES if budget is None else budget).backward()
    wait(options.device)
    return {
        "tokens": TOKENS,
        "vocabulary": VOCABULARY,
        "seconds": round(clock(options.device) - started, 2),
        "peak_mb": round(peak_mb(options.device) - before, 1),
    }


def _gradient_error() -> dict[str, float]:
    """Largest difference between chunked and plain, relative to the largest gradient, in double precision."""
    import torch

    errors = {}
    for what in ("logp", "dense"):
        gradients = []
        for budget in (1 << 50, 1):  # The second is the smallest chunk there is.
            body = _Body(2000, 64, 300, torch.device("cpu"), torch.float64)
            body.loss(what, budget).backward()
            gradients.append([parameter.grad for parameter in body.parameters()])
        errors[what] = max(
            float((one - other).abs().max() / one.abs().max()) for one, other in zip(*gradients, strict=True)
        )
    return errors


def _Body(vocabulary: int, width: int, tokens: int, device: Any, dtype: Any = None) -> Any:
    """A model without layers: hidden states that are parameters, and a real head."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from sdar_gym.algorithms.losses.full_divergences import forward_ce
    from sdar_gym.policy.logprobs import head_logits, score_responses

    class Body(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            rng = torch.Generator().manual_seed(1)
            self.rows, self.length = 4, tokens // 4
            config = Qwen2Config(
                vocab_size=vocabulary,
                hidden_size=width,
                intermediate_size=width,
                num_hidden_layers=0,
                num_attention_heads=4,
                num_key_value_heads=4,
                tie_word_embeddings=True,
                max_position_embeddings=tokens + 8,
            )
            self.model = Qwen2ForCausalLM(config).to(device=device, dtype=dtype or torch.float32)
            self.ids = torch.randint(0, vocabulary, (self.rows, self.length + 1), generator=rng).to(device)
            self.hidden = torch.randn(self.rows, self.length, width, generator=rng).to(device, dtype or torch.float32)
            for parameter in self.model.parameters():
                parameter.grad = torch.zeros_like(parameter)

        def loss(self, what: str, budget: int) -> Any:
            term = None
            if what == "dense":

                def term(logits: Any, rows: Any, places: Any) -> dict[str, Any]:
                    with torch.no_grad():
                        weight = self.model.get_output_embeddings().weight.detach()
                        teacher = torch.log_softmax(head_logits(weight, None, self.hidden[rows, places]), dim=-1)
                    return {"divergence": forward_ce(torch.log_softmax(logits, dim=-1), teacher)}

            mask = torch.ones(self.rows, self.length, dtype=torch.bool, device=self.ids.device)
            positions = torch.arange(1, self.length + 1, device=self.ids.device).expand(self.rows, -1)
            scores = score_responses(self.model, self.ids, positions, mask, term=term, logit_budget_bytes=budget)
            return scores.extra["divergence"].mean() if what == "dense" else -scores.logp_BT.mean()

    return Body()


def clock(device: str) -> float:
    return time.perf_counter() if device == "cuda" else time.process_time()


def reset_peak(device: str) -> None:
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")


def standing_mb(device: str) -> float:
    if device == "cuda":
        import torch

        return torch.cuda.memory_allocated() / 1e6
    return _status("VmRSS")


def peak_mb(device: str) -> float:
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 1e6
    return _status("VmHWM")


def _status(key: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1e3


def wait(device: str) -> None:
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


if __name__ == "__main__":
    main()

"""What prompts cost in a rollout, with and without remembering them, and with teacher prompts that nobody reads.

    python benchmarks/prompts.py --out benchmarks/results/prompts.json

Plays the same groups with the same policy in turn, several times in one process: `before` builds every prompt anew
and builds the teacher's too, as evaluation used to; `after` is what runs now. Reports CPU seconds of building prompts
and of the whole collection; the episodes of all arms have to be equal.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from machine import machine

from sdar_gym.configs import load_config
from sdar_gym.policy.load import load_model, load_tokenizer
from sdar_gym.rollout import context as context_module
from sdar_gym.rollout.build import build_collector, build_retriever
from sdar_gym.rollout.collector import EpisodeRequest
from sdar_gym.rollout.engines.base import SamplingParams
from sdar_gym.rollout.engines.transformers_engine import engine_of


def play(run: Any, *, remembered: int, teacher_prompts: bool, tasks: int, members: int) -> dict[str, Any]:
    """One collection; returns CPU seconds and what was played."""
    tokenizer = load_tokenizer(run.policy.model)
    engine = engine_of(load_model(run.policy.model), tokenizer)
    retriever = build_retriever(run.env, run.skills)
    context_module._REMEMBERED = remembered
    collector = build_collector(
        engine,
        tokenizer,
        run.env,
        run.env_config,
        run.rollout,
        retriever,
        teacher_prompts=teacher_prompts,
        skills_in_prompt=False,
    )
    spent = 0.0
    builder = collector._context
    whole = builder.prompt

    def timed(*arguments: Any) -> Any:
        nonlocal spent
        started = time.process_time()
        try:
            return whole(*arguments)
        finally:
            spent += time.process_time() - started

    builder.prompt = timed
    requests = [
        EpisodeRequest(f"small/train/{task:06d}", task, member, 0) for task in range(tasks) for member in range(members)
    ]
    started = time.process_time()
    episodes = collector.collect(requests, SamplingParams(run.rollout.max_response_tokens, 1.0))
    total = time.process_time() - started
    collector.close()
    return {
        "prompts_cpu_s": spent,
        "total_cpu_s": total,
        "turns": sum(len(episode.turns) for episode in episodes),
        "played": [[turn.response for turn in episode.turns] for episode in episodes],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    run = load_config("quickstart")
    sizes = {"tasks": options.tasks, "members": options.members}
    arms = {
        "before": {"remembered": 0, "teacher_prompts": True},
        "remembered": {"remembered": 1024, "teacher_prompts": True},
        "after": {"remembered": 1024, "teacher_prompts": False},
    }
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in arms}
    for _ in range(options.repeats):
        for name, arm in arms.items():
            results[name].append(play(run, **arm, **sizes))
    if any(result["played"] != results["before"][0]["played"] for rows in results.values() for result in rows):
        raise SystemExit("The arms played different episodes.")

    def ratios(name: str, key: str) -> list[float]:
        pairs = zip(results["before"], results[name], strict=True)
        return sorted(mine[key] / before[key] for before, mine in pairs)

    report = {
        "command": ["python", *sys.argv],
        "machine": machine("torch", "transformers"),
        "turns": results["before"][0]["turns"],
        "cpu_s": {
            name: {key: sorted(row[key] for row in rows) for key in ("prompts_cpu_s", "total_cpu_s")}
            for name, rows in results.items()
        },
        "ratio_to_before": {
            name: {
                key: {"min": found[0], "median": statistics.median(found), "max": found[-1]}
                for key, found in ((key, ratios(name, key)) for key in ("prompts_cpu_s", "total_cpu_s"))
            }
            for name in ("remembered", "after")
        },
    }
    print(json.dumps(report["ratio_to_before"], indent=1))
    if options.out is not None:
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

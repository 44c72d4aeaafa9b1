"""GRPO, SDPO, OPSD and DistIL with and without its future term on the generated problems of Math, Code and Science.

    python benchmarks/rich_feedback.py --out docs/results/rich-feedback.json --jobs 2

First each arm's learning rate is chosen on the panel of the split `dev`, by the same number of runs for every arm; then
it is trained with other seeds and measured on the panel of `test`, which nothing was chosen on. Runs of one seed start
from the same weights and play the same tasks: they are paired. Every finished run is a line of OUT.jsonl beside the
result, so that an interrupted command goes on. Prints the tables of the page.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import statistics
import tempfile
from pathlib import Path
from typing import Any

from machine import machine

ENVIRONMENTS = ("math", "code", "science")
# Settings of each arm beside its preset.
ARMS: dict[str, tuple[str, ...]] = {
    "grpo": ("method=grpo",),
    "sdpo": ("method=sdpo",),
    "opsd": ("method=opsd",),
    "distil": ("method=distil",),
    "distil without future": ("method=distil", "training.objective.shaping=null"),
    "distil, sibling": ("method=distil", "training.objective.teacher.view=sibling"),
    "distil, solution": ("method=distil", "training.objective.teacher.view=solution"),
    "distil, solution, frozen": (
        "method=distil",
        "training.objective.teacher.view=solution",
        "training.objective.teacher.weights=frozen",
    ),
    "grpo + distil": ("method=distil", "training.objective.policy_coeff=1.0", "training.objective.shaping=null"),
}
RATES = (1e-4, 3e-4, 1e-3, 3e-3)
# The arms of the main table; the others are played when they are named.
MAIN = ("grpo", "sdpo", "opsd", "distil", "distil without future", "grpo + distil")
FIRST_TUNING_SEED = 100
PANEL = ("evaluation.tasks=128", "evaluation.repeats=8", "evaluation.interval=0")

Job = tuple[str, str, float, int, str, tuple[str, ...]]


def play(job: Job) -> dict[str, Any]:
    """One run: train, and the panel before and after."""
    env, arm, rate, seed, split, changes = job
    import torch

    from sdar_gym.cli.training import quiet
    from sdar_gym.configs import load_config
    from sdar_gym.runs.train import train

    quiet()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as runs:
        settings = [*ARMS[arm], f"training.lr={rate:g}", f"seed={seed}", f"evaluation.split={split}", *PANEL, *changes]
        folder, summary = train(load_config(f"quickstart-{env}", [*settings, f"runs_dir={runs}"]))
        teachers = [r["evaluation"].get("teacher") for r in folder.records() if "evaluation" in r]
    keys = ("success", "success_low", "success_high", "pass@8", "pass^8", "panel", "panel_hash")
    kept = {
        when: {k: v for k, v in summary[when].items() if k in keys or k.startswith("success/")}
        for when in ("before", "after")
    }
    return {
        "env": env,
        "arm": arm,
        "rate": rate,
        "seed": seed,
        "split": split,
        **kept,
        "teachers": teachers,
        "seconds": summary["seconds"],
    }


def run_all(jobs: list[Job], log: Path, processes: int) -> list[dict[str, Any]]:
    """The results of all jobs; those in the log are not run again."""
    done = {}
    if log.is_file():
        for line in log.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            done[row["env"], row["arm"], row["rate"], row["seed"], row["split"]] = row
    left = [job for job in jobs if job[:5] not in done]
    with multiprocessing.get_context("spawn").Pool(processes, maxtasksperchild=8) as pool:
        for number, row in enumerate(pool.imap_unordered(play, left), start=1):
            done[row["env"], row["arm"], row["rate"], row["seed"], row["split"]] = row
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(
                f"{number}/{len(left)} {row['env']} {row['arm']} lr {row['rate']:g} seed {row['seed']}: "
                f"{row['before']['success']:.3f} -> {row['after']['success']:.3f}, {row['seconds']:.0f} s",
                flush=True,
            )
    return [done[job[:5]] for job in jobs]


def chosen_rates(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """For each environment and arm the learning rate with the best mean success on `dev`."""
    result: dict[str, dict[str, float]] = {}
    for env, arm in dict.fromkeys((row["env"], row["arm"]) for row in rows):
        means = {
            rate: statistics.fmean(
                row["after"]["success"] for row in rows if (row["env"], row["arm"], row["rate"]) == (env, arm, rate)
            )
            for rate in RATES
        }
        result.setdefault(env, {})[arm] = max(means, key=lambda rate: means[rate])
    return result


# 97.5 % quantiles of Student's t by degrees of freedom.
_T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 11: 2.201, 15: 2.131}


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and half the width of its 95 % t interval over seeds."""
    if len(values) < 2:
        return values[0], math.nan
    return statistics.fmean(values), _T[len(values) - 1] * statistics.stdev(values) / math.sqrt(len(values))


def table(rows: list[dict[str, Any]], env: str) -> str:
    """Success and pass@8 of each arm, and its paired difference to GRPO."""
    of = {arm: {row["seed"]: row for row in rows if row["env"] == env and row["arm"] == arm} for arm in ARMS}
    lines = [
        "| arm | lr | pass@1 | pass@8 | pass@1 - GRPO | pass@8 - GRPO | seeds ahead |",
        "|---|---|---|---|---|---|---|",
    ]
    for arm, by_seed in of.items():
        if not by_seed:
            continue
        cells = [f"{next(iter(by_seed.values()))['rate']:g}"]
        for key in ("success", "pass@8"):
            mean, half = interval([row["after"][key] for row in by_seed.values()])
            cells.append(f"{mean:.3f} ± {half:.3f}")
        ahead = 0
        for key in ("success", "pass@8"):
            differences = [row["after"][key] - of["grpo"][seed]["after"][key] for seed, row in by_seed.items()]
            mean, half = interval(differences)
            cells.append("" if arm == "grpo" else f"{mean:+.3f} ± {half:.3f}")
            ahead = sum(difference > 0 for difference in differences) if key == "success" else ahead
        cells.append("" if arm == "grpo" else f"{ahead} of {len(by_seed)}")
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one core each")
    parser.add_argument("--envs", nargs="*", default=ENVIRONMENTS, choices=ENVIRONMENTS)
    parser.add_argument("--arms", nargs="*", default=list(MAIN), choices=list(ARMS))
    parser.add_argument("--tuning-seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("docs/results/rich-feedback.json"))
    parser.add_argument("changes", nargs="*", help="key=value, for all arms")
    options = parser.parse_args()
    log, changes = options.out.with_suffix(".jsonl"), tuple(options.changes)
    tuning: list[Job] = [
        (env, arm, rate, seed, "dev", changes)
        for env in options.envs
        for arm in options.arms
        for rate in RATES
        for seed in range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + options.tuning_seeds)
    ]
    tuned = run_all(tuning, log, options.jobs)
    rates = chosen_rates(tuned)
    final: list[Job] = [
        (env, arm, rates[env][arm], seed, "test", changes)
        for env in options.envs
        for seed in range(options.seeds)
        for arm in options.arms
    ]
    rows = run_all(final, log, options.jobs)
    content = {
        "command": f"python benchmarks/rich_feedback.py --seeds {options.seeds} --jobs {options.jobs}",
        "machine": machine("torch", "transformers", "ray"),
        "rates_tried": RATES,
        "rates": rates,
        "seconds": sum(row["seconds"] for row in (*tuned, *rows)),
        "tuning": tuned,
        "runs": rows,
    }
    options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    for env in options.envs:
        print(f"\n{env}\n{table(rows, env)}")


if __name__ == "__main__":
    main()

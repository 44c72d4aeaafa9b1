"""GRPO, SDAR and `allfail_ce` on the quick start: the same seeds, panel, tasks and first draws, all as measured.

    python benchmarks/first_light.py --seeds 3 --jobs 2 --out docs/results/first-light
    python benchmarks/first_light.py --arms grpo sdar,training.objective.distill.coeff=0.01 … policy.model=FOLDER

Writes OUT.json (every result, the command, the machine; anew after each run) and OUT.png (the curves of the first
seed). Arms of one seed start from the same weights and play the same tasks; they are paired. An arm is a method, with
changes of its own behind commas. Prints a table for the page.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from machine import machine

from sdar_gym.cli.training import quiet
from sdar_gym.configs import load_config
from sdar_gym.evaluation.panels import play_panel
from sdar_gym.report.curve import draw_curves
from sdar_gym.runs.check import check_run
from sdar_gym.runs.train import train

ARMS = ("grpo", "sdar", "allfail_ce")


def play(job: tuple[str, str, int, str, list[str]]) -> dict[str, Any]:
    """One arm with one seed: train, then play the panel as the teacher, and at the published temperature."""
    config, arm, seed, runs, extra = job
    quiet()
    method, *own = arm.split(",")
    place = re.sub(r"[^\w.]+", "-", arm)
    changes = [f"method={method}", f"seed={seed}", f"runs_dir={runs}/{seed}/{place}", *extra, *own]
    run = load_config(config, changes)
    check_run(run)
    folder, summary = train(run)
    taught, _ = play_panel(load_config(config, [*changes, "evaluation.with_skills=true"]), str(folder.policy))
    sharper, _ = play_panel(load_config(config, [*changes, "evaluation.temperature=0.4"]), str(folder.policy))
    records = folder.records()
    return {
        "arm": arm,
        "seed": seed,
        **{key: summary[key] for key in ("before", "after", "seconds", "updates")},
        "after_with_skills": taught,
        "after_at_0.4": sharper,
        "panel_curve": [[r["update"], r["evaluation"]["success"]] for r in records if "evaluation" in r],
        "records": records,
    }


def table(results: list[dict[str, Any]]) -> str:
    """The results as markdown: success with its 95 % interval."""
    lines = [
        "| arm | seed | before | after | after, T = 0.4 | after, with skills | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        cells = [
            f"{result[key]['success']:.3f} [{result[key]['success_low']:.3f}, {result[key]['success_high']:.3f}]"
            for key in ("before", "after", "after_at_0.4", "after_with_skills")
        ]
        lines.append(f"| {result['arm']} | {result['seed']} | {' | '.join(cells)} | {result['seconds']:.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="+", default=ARMS, help="the others are compared with the first one")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one core each")
    parser.add_argument("--config", default="quickstart")
    parser.add_argument("--out", type=Path, default=Path("docs/results/first-light"))
    parser.add_argument("--runs", default="runs/first-light")
    parser.add_argument("changes", nargs="*", help="key=value, for all arms")
    options = parser.parse_args()
    runs = range(options.seeds)
    jobs = [(options.config, arm, seed, options.runs, options.changes) for seed in runs for arm in options.arms]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any]] = []
    curves: dict[str, Any] = {}
    with multiprocessing.get_context("spawn").Pool(options.jobs, maxtasksperchild=1) as pool:
        for result in pool.imap_unordered(play, jobs):
            records = result.pop("records")
            result["seconds_by_update"] = [r["seconds"] for r in records if "train" in r]
            if result["seed"] == 0:
                curves[result["arm"]] = records
            results.append(result)
            results.sort(key=lambda each: (each["seed"], options.arms.index(each["arm"])))
            before, after = result["before"]["success"], result["after"]["success"]
            print(result["arm"], result["seed"], f"{before:.3f} -> {after:.3f}", flush=True)
            report = summary(results, options.arms)
            options.out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    draw_curves(curves, options.out.with_suffix(".png"), f"{options.config}, seed 0")
    print(table(results))


def summary(results: list[dict[str, Any]], arms: Sequence[str]) -> dict[str, Any]:
    """The results so far, with means and paired differences of the seeds in which every arm has ended."""
    after = {(result["arm"], result["seed"]): result["after"]["success"] for result in results}
    whole = [seed for seed in sorted({seed for _, seed in after}) if all((arm, seed) in after for arm in arms)]
    return {
        "command": ["python", *sys.argv],
        "machine": machine("torch", "transformers", "ray"),
        "mean_after": {arm: statistics.mean(after[arm, seed] for seed in whole) for arm in arms} if whole else {},
        f"minus_{arms[0]}_by_seed": {arm: [after[arm, seed] - after[arms[0], seed] for seed in whole] for arm in arms},
        "runs": results,
    }


if __name__ == "__main__":
    main()

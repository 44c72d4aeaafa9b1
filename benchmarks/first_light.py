"""SDAR and GRPO on the quick start: the same seeds, the same panel, the same tasks and first draws, both as measured.

    python benchmarks/first_light.py --seeds 3 --out docs/results/first-light

Writes OUT.json (every result, the command, the machine) and OUT.png (the curves of the first seed). Arms of one seed
start from the same weights and play the same tasks; they are paired.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from machine import machine

from sdar_gym.cli.training import quiet
from sdar_gym.configs import load_config
from sdar_gym.evaluation.panels import play_panel
from sdar_gym.report.curve import draw_curves
from sdar_gym.runs.train import check_run, train

ARMS = ("grpo", "sdar")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--config", default="quickstart")
    parser.add_argument("--out", type=Path, default=Path("docs/results/first-light"))
    parser.add_argument("--runs", default="runs/first-light")
    parser.add_argument("changes", nargs="*", help="key=value, for both arms")
    options = parser.parse_args()
    quiet()
    results: list[dict[str, Any]] = []
    curves: dict[str, Any] = {}
    for seed in range(options.seeds):
        for arm in ARMS:
            changes = [f"algorithm={arm}", f"seed={seed}", f"runs_dir={options.runs}/{seed}", *options.changes]
            run = load_config(options.config, changes)
            check_run(run)
            folder, summary = train(run)
            taught = load_config(options.config, [*changes, "evaluation.with_skills=true"])
            teacher, _ = play_panel(taught, str(folder.policy))
            cool = load_config(options.config, [*changes, "evaluation.temperature=0.4"])
            sharper, _ = play_panel(cool, str(folder.policy))
            if seed == 0:
                curves[arm] = folder.records()
            results.append(
                {
                    "arm": arm,
                    "seed": seed,
                    **{key: summary[key] for key in ("before", "after", "seconds", "updates")},
                    "after_with_skills": teacher,
                    "after_at_0.4": sharper,
                    "panel_curve": [
                        [record["update"], record["evaluation"]["success"]]
                        for record in folder.records()
                        if "evaluation" in record
                    ],
                }
            )
            print(arm, seed, f"{summary['before']['success']:.3f} -> {summary['after']['success']:.3f}", flush=True)
    after = {arm: [r["after"]["success"] for r in results if r["arm"] == arm] for arm in ARMS}
    differences = [s - g for s, g in zip(after["sdar"], after["grpo"], strict=True)]
    report = {
        "command": ["python", *sys.argv],
        "machine": machine("torch", "transformers", "ray"),
        "mean_after": {arm: statistics.mean(values) for arm, values in after.items()},
        "sdar_minus_grpo_by_seed": differences,
        "runs": results,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    draw_curves(curves, options.out.with_suffix(".png"), "quick start, seed 0")


if __name__ == "__main__":
    main()

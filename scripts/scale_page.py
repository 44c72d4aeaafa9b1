"""Writes docs/scale.md, runs on many machines, from the numbers of `benchmarks/scale.py` and `benchmarks/retrieval.py`.

    python scripts/scale_page.py [--check]

The page is never edited by hand: its numbers are those of the result files, and a test compares them.
"""

# The sentences of the page are not broken.
# ruff: noqa: E501

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from generated_pages import write_pages

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "scale.md"
RESULTS = ROOT / "benchmarks" / "results" / "scale.json"
RETRIEVAL = ROOT / "benchmarks" / "results" / "retrieval.json"
Json = Mapping[str, Any]


def page(results: Json, retrieval: Json | None) -> str:
    """The whole page."""
    measured, planned = results["measure"], results["plan"]
    clusters, assumed = planned["clusters"], planned["assumed"]
    runs = measured["runs"]
    worst = max(abs(run["error"]) for run in runs.values())
    lengths = measured["turns"]["episodes"]
    whole = sum(length == measured["turns"]["most"] for length in lengths) / len(lengths)
    return (
        "\n\n".join(
            (
                "<!-- Made by scripts/scale_page.py from benchmarks/results/scale.json and retrieval.json. -->",
                "# Runs on many machines: what they would take",
                "What is here was **not run** on 8 or 64 GPUs. Tokens, operations and memory come from "
                "[`sdar-gym plan`](cost.md), times from a discrete-event simulation "
                "([`plan/simulate.py`](../sdar_gym/plan/simulate.py)) with a GPU's data sheet and assumed shares of it. "
                "The simulation itself is compared with runs on this page's machine, below. How a run is spread and "
                "survives: [a cluster run](tutorials/cluster.md), [what a run survives](runs.md#what-a-run-survives).",
                "## 8 and 64 GPUs",
                f"ALFWorld, groups of eight, at most 50 turns, responses of {assumed['response']} tokens on average "
                f"(log-normal, σ {assumed['response_spread']}), window prompts. The turns of an episode are shares of "
                f"the limit as recorded with the tiny policy: {whole:.0%} play all. Eight GPUs play and learn in turn; "
                "of 64, 40 play and 24 learn. Seconds of an update; *busy* is the share of the time in which runners "
                "play and learners learn.",
                _table(
                    [
                        "",
                        "M tokens",
                        "rollout",
                        "learning",
                        "sync",
                        "an update",
                        "busy",
                        "with staleness 1",
                        "with failures",
                    ],
                    [_row(name, cluster) for name, cluster in clusters.items()],
                ),
                _sentences(clusters),
                "| assumed | |\n|---|---|\n"
                f"| share of the peak, of the bandwidth | {assumed['mfu']:.0%}, {assumed['bandwidth']:.0%} |\n"
                f"| between GPUs of a node, between nodes | {assumed['nvlink'] / 1e9:.0f} GB/s, "
                f"{assumed['network'] / 1e9:.0f} GB/s |\n"
                f"| a turn of an environment with its prompt | {1e3 * assumed['turn_seconds']:.1f} ms of a core, in which "
                "the engine of the process waits (measured for ALFWorld) |\n"
                f"| failures | one in {assumed['node_hours']:.0f} hours a machine; {assumed['restart']:.0f} s until it is "
                "replaced; a checkpoint every ten updates; 100 updates, one draw of failures |\n"
                f"| simulated | {planned['simulated_parts']} runners' episodes; the others take as long as these |\n"
                "| left out | padding, the shape of prompts that engines remember, evaluations, checkpoints, a busy "
                "network, the driver's own work |",
                "## Memory and network",
                _table(
                    [
                        "",
                        "GB a GPU",
                        "GB of weights a sync",
                        "GB of episodes to the driver",
                        "GB of environments",
                        "episodes an engine holds",
                    ],
                    [
                        [
                            name,
                            f"{cluster['gpu_gigabytes']:.0f}",
                            f"{cluster['weights_gigabytes_a_sync']:.1f}",
                            f"{cluster['sent_gigabytes']:.1f}",
                            f"{cluster['environment_gigabytes']:.1f}",
                            f"{cluster['slots']:,}",
                        ]
                        for name, cluster in clusters.items()
                    ],
                ),
                f"A runner sends {measured['sent_bytes_a_token']:.0f} bytes for each token of its episodes (measured: "
                "pickled episodes with both prompts, log-probabilities and texts). The driver holds an update's episodes "
                "and its padded columns, which is the first thing that 100,000 environments outgrow: play them as several "
                "updates. Weights go from the learner over the driver to the object store, and from there once to each "
                "machine.",
                "## How far the simulation is from runs",
                f"Rollouts of the quick start on a CPU, {measured['groups']} groups of four. The times of the engine (a step, an episode in a step, a prompt token, a turn) are fitted to {measured['fitted']['rollouts']} rollouts of {', '.join(map(str, measured['fitted']['groups']))} groups by one engine (median error {measured['fitted']['median_error']:.0%}); other rollouts are divided over runners as a run would divide them, and predicted. Seconds of the slowest runner, mean.",
                _table(
                    ["", "rollouts", "measured", "predicted", "error", "median error of a part", "largest"],
                    [
                        [
                            name,
                            str(run["rollouts"]),
                            f"{run['measured']:.2f}",
                            f"{run['predicted']:.2f}",
                            f"{run['error']:+.0%}",
                            f"{run['median_error_of_a_part']:.0%}",
                            f"{run['largest_error_of_a_part']:.0%}",
                        ]
                        for name, run in runs.items()
                    ],
                ),
                f"The largest error of a rollout's time is {worst:.0%}. Seconds are those of a core, and the parts were played one after another: the machine has {measured['machine']['cores']} cores and was busy (load average {measured['machine']['load_average']:.0f}), so that the clock would have shown its other work. So this checks how episodes share an engine and how runners divide them; not the learner, Ray's own time, or the assumed speeds of GPUs and networks.",
                *_retrieval(retrieval),
                "Made by `python benchmarks/scale.py measure` and `python benchmarks/scale.py plan`, then `python scripts/scale_page.py`.",
            )
        )
        + "\n"
    )


def _retrieval(retrieval: Json | None) -> tuple[str, ...]:
    """The rate of the search actor, where it was measured."""
    if retrieval is None:
        return (
            "The rate of the cluster's one search service (`search=ray`) is not measured yet: `python benchmarks/retrieval.py`.",
        )
    return (
        "## One search service for a cluster",
        f"[`search=ray`](environments/searchqa.md) is one actor for all runners. With {retrieval['passages']:,} "
        "passages, clients in processes of their own that search without a pause:",
        _table(
            ["clients", "searches a second", "median ms", "slowest of 100, ms"],
            [
                [
                    clients,
                    f"{found['searches_a_second']:.0f}",
                    f"{found['median_ms']:.1f}",
                    f"{found['slowest_of_100_ms']:.1f}",
                ]
                for clients, found in retrieval["clients"].items()
            ],
        ),
        f"The index without an actor: {retrieval['in_one_process']['searches_a_second']:.0f} searches a second. "
        f"After its death the actor was back in {retrieval['seconds_until_it_is_back']:.1f} s, index included. Same "
        f"machine, load average {retrieval['machine']['load_average']:.0f}.",
    )


def _row(name: str, cluster: Json) -> list[str]:
    runs = cluster["runs"]
    synchronous = runs["synchronous"]
    ahead = runs.get("staleness 1")
    failing = runs["staleness 1, failures"] if ahead else runs["synchronous, failures"]
    return [
        name,
        f"{cluster['trained_tokens'] / 1e6:,.0f}",
        f"{synchronous['rollout_seconds']:,.0f}",
        f"{cluster['learner_seconds']:,.0f}",
        f"{cluster['sync_seconds']:.1f}",
        f"{synchronous['update_seconds']:,.0f}",
        f"{synchronous['runner_busy']:.0%}, {synchronous['learner_busy']:.0%}",
        f"{ahead['update_seconds']:,.0f}" if ahead else "",
        f"{failing['update_seconds']:,.0f}",
    ]


def _sentences(clusters: Json) -> str:
    """What follows from the table."""
    apart = {name: cluster for name, cluster in clusters.items() if "staleness 1" in cluster["runs"]}
    gains = [
        cluster["runs"]["synchronous"]["update_seconds"] / cluster["runs"]["staleness 1"]["update_seconds"]
        for cluster in apart.values()
    ]
    losses = [
        cluster["runs"]["staleness 1, failures"]["update_seconds"] / cluster["runs"]["staleness 1"]["update_seconds"]
        - 1
        for cluster in apart.values()
    ]
    tails = [
        cluster["rollout_of_parts"]["longest"] / cluster["rollout_of_parts"]["shortest"] - 1
        for cluster in clusters.values()
    ]
    shares = [cluster["environment_share"] for cluster in clusters.values()]
    return (
        f"Where playing and learning have GPUs of their own, a staleness of one update makes a run {min(gains):.1f} to "
        f"{max(gains):.1f} times as fast. Failures at the assumed rate cost up to {max(losses):.0%}. The slowest of the "
        f"simulated runners takes up to {max(tails):.0%} longer than the fastest. Environments and prompts take "
        f"{min(shares):.0%} to {max(shares):.0%} of a rollout, one after another in the runner's process: with thousands of "
        "environments an engine, more runners a GPU or an engine in a process of its own pays off. Learning takes most of the time "
        "here, so that more than 24 of 64 GPUs should learn."
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def read() -> tuple[Json, Json | None]:
    """The committed results."""
    found = [json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None for path in (RESULTS, RETRIEVAL)]
    return found[0], found[1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or say whether it is out of date."""
    return write_pages(__doc__, {PAGE: page(*read())}, arguments)


if __name__ == "__main__":
    sys.exit(main())

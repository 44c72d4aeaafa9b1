"""Draws a run's learning curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_COLOURS = ("#1f4e9c", "#c2571a", "#2f7d4f", "#7a3b8f")


def draw_curve(records: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Draw one run.

    Args:
        records: The lines of `metrics.jsonl`.
        path: The picture, PNG.
        title: Its title.
    """
    draw_curves({title: records}, path, title)


def draw_curves(runs: Mapping[str, Sequence[Mapping[str, Any]]], path: Path, title: str) -> None:
    """Draw success on the panel with its 95 % interval, of the training episodes (thin), of the teacher (dotted).

    Args:
        runs: The lines of `metrics.jsonl` by label.
        path: The picture, PNG.
        title: Its title.

    Raises:
        ValueError: There are more runs than colours that can be told apart.
    """
    # The object interface: no global state, no display, no font cache of an interactive session.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    if len(runs) > len(_COLOURS):
        raise ValueError(f"At most {len(_COLOURS)} curves fit one picture, got {len(runs)}.")
    figure = Figure(figsize=(7.2, 4.2), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    panel = ""
    for colour, (label, records) in zip(_COLOURS, runs.items(), strict=False):
        results = [(record["update"], record["evaluation"]) for record in records if "evaluation" in record]
        steps = [update for update, _ in results]
        axes.fill_between(
            steps,
            [result["success_low"] for _, result in results],
            [result["success_high"] for _, result in results],
            color=colour,
            alpha=0.18,
            linewidth=0,
        )
        axes.plot(steps, [r["success"] for _, r in results], color=colour, marker="o", markersize=4, label=label)
        teachers = [(update, result["teacher"]["success"]) for update, result in results if result.get("teacher")]
        if teachers:
            axes.plot(
                *zip(*teachers, strict=True), color=colour, linestyle=":", linewidth=1.2, marker=".", markersize=4
            )
        train = [(r["update"], r["train"]["success"]) for r in records if r.get("train", {}).get("success") is not None]
        axes.plot([u for u, _ in train], [s for _, s in train], color=colour, linewidth=0.8, alpha=0.55)
        if results:
            first = results[0][1]
            panel = (
                f"panel {first['panel']} ({first['tasks']} tasks, T={first['temperature']:g}, {first['panel_hash']})"
            )
    axes.set_ylim(0, 1)
    axes.set_xlabel("update")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("success")
    told = "95 % intervals; thin: training episodes; dotted: the teacher, with skills"
    axes.set_title(f"{title}\n{panel}\n{told}", fontsize=9)
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right", frameon=False)
    figure.savefig(path)

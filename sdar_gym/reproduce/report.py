"""Report of a study: one JSON file with everything, Markdown tables, and a figure of the paired differences."""

from __future__ import annotations

import io
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sdar_gym.files import replace_bytes, replace_text
from sdar_gym.reproduce.runs import run_key
from sdar_gym.reproduce.study import Part
from sdar_gym.reproduce.tables import markdown, part_table


def write_report(
    parts: Sequence[Part],
    tuning: Mapping[str, Sequence[Mapping[str, Any]]],
    runs: Mapping[str, Sequence[Mapping[str, Any]]],
    chosen: Mapping[str, Mapping[str, str]],
    output: Path,
    command: str,
) -> str:
    """Writes `result.json`, `tables.md` and `differences.png`.

    Args:
        parts: The parts that were played.
        tuning: Results of the tuning runs by part.
        runs: Results of the test runs by part.
        chosen: Chosen values by part and arm.
        output: The folder.
        command: The command, for the record.

    Returns:
        The tables.
    """
    tables = {part.name: part_table(part, runs[part.name]) for part in parts}
    # Parts share the runs of arms that are the same.
    every = {run_key(row): row for rows in (*tuning.values(), *runs.values()) for row in rows}
    content = {
        "command": command,
        "titles": {part.name: part.title for part in parts},
        "machine": {"system": platform.platform(), "cpus": os.cpu_count()},
        "cpu_seconds": sum(row["cpu_seconds"] for row in every.values()),
        "arms": {part.name: {arm.name: list(arm.changes) for arm in part.arms} for part in parts},
        "shared": {part.name: [part.setting.config, *part.setting.changes] for part in parts},
        "panels": {
            part.name: {"validation": list(part.setting.validation), "test": list(part.setting.test)} for part in parts
        },
        "baselines": {part.name: part.baseline for part in parts},
        "chosen": chosen,
        "tables": tables,
        "tuning": tuning,
        "runs": runs,
    }
    replace_text(output / "result.json", json.dumps(content, indent=1) + "\n")
    text = "\n\n".join(f"## {part.title}\n\n{markdown(tables[part.name])}" for part in parts) + "\n"
    replace_text(output / "tables.md", text)
    shown = [part for part in parts if part.in_figure] or parts
    replace_bytes(output / "differences.png", figure({part.title: tables[part.name] for part in shown}))
    return text


def figure(tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> bytes:
    """A PNG: each arm's paired difference to the baseline with its 95 % interval, and the seeds as points.

    Args:
        tables: Tables of `part_table` by title.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = {title: [row for row in table if "difference" in row] for title, table in tables.items()}
    shown = {title: rows for title, rows in shown.items() if rows}
    heights = [len(rows) + 1.5 for rows in shown.values()] or [1.0]
    drawn = Figure(figsize=(8, 0.32 * sum(heights) + 0.6), dpi=130, layout="constrained")
    canvas = FigureCanvasAgg(drawn)
    axes = drawn.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for each, (title, rows) in zip(axes, shown.items(), strict=False):
        for place, row in enumerate(reversed(rows)):
            each.plot(
                row["differences"], [place] * len(row["differences"]), ".", color="#9aa5b1", markersize=5, zorder=1
            )
            each.errorbar(
                row["difference"], place, xerr=row["difference_half"], fmt="o", color="#1f4e9c", capsize=3, markersize=5
            )
        each.axvline(0, color="#626b77", linewidth=0.8)
        each.set_yticks(range(len(rows)), [row["arm"] for row in reversed(rows)], fontsize=8)
        each.set_title(f"{title}: success − {rows[0]['baseline']}", fontsize=9, loc="left")
        each.grid(axis="x", alpha=0.25)
    axes[-1].set_xlabel("paired by seed: mean with 95 % interval, each seed a point", fontsize=8)
    picture = io.BytesIO()
    canvas.print_png(picture)
    return picture.getvalue()

"""What `sdar-gym baselines` shows, and the page and the JSON that it writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sdar_gym.evaluation.baselines import markdown, measure_baselines


def baselines_command(envs: Sequence[str], episodes: int, seed: int, page: Path | None, json_file: Path | None) -> None:
    """Measure, print, and write what was asked for."""
    console = Console()
    with console.status("starting") as status:
        rows = measure_baselines(envs, episodes, seed, lambda what: status.update(escape(what)))
    # Eighty characters have to do: the environment stands above its rows.
    table = Table(box=None, pad_edge=False)
    for column in ("split", "policy", "success", "95 % interval", "score", "turns", "tasks", "panel"):
        table.add_column(column, justify="left" if column in ("split", "policy", "panel") else "right")
    told = ""
    for row in rows:
        if row.env_id != told:
            table.add_row("")
            table.add_row(f"[bold]{escape(row.env_id.partition('/')[2] or row.env_id)}[/]")
            told = row.env_id
        interval = f"{row.success_low:.3f} to {row.success_high:.3f}"
        table.add_row(
            *(row.split, row.policy, f"{row.success:.3f}", interval, f"{row.mean_score:.3f}"),
            *(f"{row.mean_turns:.1f}", str(row.tasks), row.panel_hash),
        )
    console.print(table)
    command = " ".join(["sdar-gym baselines", *envs, f"--episodes {episodes}", f"--seed {seed}"])
    if page is not None:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(markdown(rows, command), encoding="utf-8")
        console.print(f"written to {page}", soft_wrap=True)
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        content = {"command": command, "baselines": [asdict(row) for row in rows]}
        json_file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        console.print(f"written to {json_file}", soft_wrap=True)

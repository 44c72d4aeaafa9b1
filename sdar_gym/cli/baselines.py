"""`sdar-gym baselines`: table of random and scripted-expert results, as text, Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.text import Text

from sdar_gym.cli.path_arguments import check_output_file
from sdar_gym.cli.terminal import Terminal, table
from sdar_gym.evaluation.scripted_policies import markdown, measure_baselines
from sdar_gym.text import terminal_safe


def baselines_command(envs: Sequence[str], episodes: int, seed: int, page: Path | None, json_file: Path | None) -> None:
    """Measure the baselines, print a table, and write the requested files."""
    for name, file in (("--output", page), ("--json", json_file)):
        if file is not None:
            check_output_file(name, file)
    terminal = Terminal()
    with terminal.status("starting") as status:
        rows = measure_baselines(envs, episodes, seed, lambda what: status.update(Text(terminal_safe(what))))
    # To fit into 80 characters, the environment is printed above its rows.
    shown = table(())
    for column in ("split", "policy", "success", "95 % interval", "score", "turns", "tasks", "panel"):
        shown.add_column(column, justify="left" if column in ("split", "policy", "panel") else "right")
    previous = ""
    for row in rows:
        if row.env_id != previous:
            shown.add_row("")
            shown.add_row(Text(terminal_safe(row.env_id.partition("/")[2] or row.env_id), "bold"))
            previous = row.env_id
        interval = f"{row.success_low:.3f} to {row.success_high:.3f}"
        shown.add_row(
            *(row.split, row.policy, f"{row.success:.3f}", interval, f"{row.mean_score:.3f}"),
            *(f"{row.mean_turns:.1f}", str(row.tasks), row.panel_hash),
        )
    terminal.print(shown)
    command = " ".join(["sdar-gym baselines", *envs, f"--episodes {episodes}", f"--seed {seed}"])
    if page is not None:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(markdown(rows, command), encoding="utf-8")
        terminal.tell(f"written to {page}")
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        content = {"command": command, "baselines": [asdict(row) for row in rows]}
        json_file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        terminal.tell(f"written to {json_file}")

"""Writes the log of a study from its committed result, so that `sdar-gym reproduce` goes on from there.

    python scripts/study_log.py docs/results/micro.json OUTPUT/runs.jsonl
    sdar-gym reproduce micro --output OUTPUT

Runs that the log has are not played again, so that a new arm, part or seed costs only its own runs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sdar_gym.reproduce.runs import run_key


def runs_of(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All runs of a result, each once: parts share those of arms that are the same.

    Args:
        result: Content of a study's `result.json`.
    """
    rows = [row for group in (result["tuning"], result["runs"]) for part in group.values() for row in part]
    return list({run_key(row): row for row in rows}.values())


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the log.

    Args:
        arguments: Of the command line; None for those of this process.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("log", type=Path)
    options = parser.parse_args(arguments)
    if options.log.exists():
        parser.error(f"{options.log} exists; name a new file.")
    rows = runs_of(json.loads(options.result.read_text(encoding="utf-8")))
    options.log.parent.mkdir(parents=True, exist_ok=True)
    options.log.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    print(f"{len(rows)} runs in {options.log}")


if __name__ == "__main__":
    main()

"""Plays real ALFWorld games on the native engine and on ALFWorld's own TextWorld stack and compares every step.

    python benchmarks/alfworld_parity.py GAMES [--seen N] [--walk N] [--random N] [--garbage N] [--processes P]
        [--json OUT]

GAMES is a folder of real games that you trust (TextWorld evaluates code in them), as `games=` of the environment. By
default: every valid_seen game and 300 train games along the stored walkthrough, 100 train games along 50 random
admissible actions, 50 valid_seen games along garbage. Compared at the start and after each action: the observation,
whether the action was admissible, the sorted admissible commands, `won`. Load, reset and step times of both sides are
taken in the same run. Exits with 1 if anything differs. Needs the extra `alfworld`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from machine import machine
from rich.console import Console
from rich.progress import track
from rich.table import Table

from sdar_gym.envs.alfworld.engine import Engine
from sdar_gym.envs.alfworld.pddl import parse_game
from sdar_gym.envs.alfworld.reference import ReferenceEngine, differences, record_commands, views
from sdar_gym.envs.alfworld.sources import open_source
from sdar_gym.envs.alfworld.world import Game
from sdar_gym.envs.tasks import freeze_panel
from sdar_gym.extras import MissingExtraError, require

RANDOM_STEPS = 50
GARBAGE_STEPS = 40
# What stays of a garbage tour is admissible, so that garbage meets more than the first state.
ADMISSIBLE_SHARE = 0.3
ODD = (
    *("", " ", "\n", "\t", "\u00a0look", "\u200blook", "look\u2028", "\x00", "中文"),
    *("LOOK", "look.", "'look'", "look;look", "help me", "go to", "take", "use", "examine", "open open"),
    *("go to fridge 99", "put apple 1 in/on fridge 1"),
)


@dataclass(frozen=True, slots=True)
class Job:
    """One game to be played on both engines."""

    kind: str
    task_id: str
    content: str


def garbage(game: Game, seed: int) -> list[str]:
    """Commands that are nearly right, not right at all, and now and then admissible."""
    rng, engine = Random(seed), Engine(game)
    commands: list[str] = []
    while len(commands) < GARBAGE_STEPS:
        choices = engine.admissible()
        command = choices[int(rng.random() * len(choices))]
        if rng.random() > ADMISSIBLE_SHARE:
            spoil = int(rng.random() * 8)
            words = command.split()
            command = (
                command.upper(),
                command.replace(" ", "  ") + " ",
                command + ".",
                f"the {command}",
                " ".join(words[:-1]),
                " ".join([*words[:-1], "07"]),
                " ".join(reversed(words)),
                ODD[int(rng.random() * len(ODD))],
            )[spoil]
        engine.act(command)
        commands.append(command)
    return commands


def check(job: Job) -> dict[str, Any]:
    """Play one game on both and say how it went."""
    started = time.process_time()
    game = parse_game(job.content, job.task_id, job.task_id)
    native_load = time.process_time() - started
    seed = sum(job.task_id.encode())
    if job.kind == "walkthrough":
        commands = list(game.walkthrough)
    elif job.kind == "random":
        commands = list(record_commands(game, RANDOM_STEPS, seed, walk=False))
    else:
        commands = garbage(game, seed)
    started = time.process_time()
    native = Engine(game)
    native.admissible()
    native_reset = time.process_time() - started
    started = time.process_time()
    ours = views(native, commands)
    native_steps = time.process_time() - started
    started = time.process_time()
    with closing(ReferenceEngine(job.content)) as reference:
        reference_load = time.process_time() - started
        started = time.process_time()
        reference.reset()
        reference_reset = time.process_time() - started
        started = time.process_time()
        theirs = views(reference, commands)
        reference_steps = time.process_time() - started
    return {
        "kind": job.kind,
        "task_id": job.task_id,
        "steps": len(commands),
        "won": ours[-1].won,
        "refused": sum(not view.valid for view in ours),
        "differences": [asdict(found) for found in differences(ours, theirs, commands)],
        "native_s": {"load": native_load, "reset": native_reset, "steps": native_steps},
        "textworld_s": {"load": reference_load, "reset": reference_reset, "steps": reference_steps},
    }


def jobs(games: Path, seen: int | None, walk: int, random: int, garbage_games: int) -> list[Job]:
    """Which games are played how; chosen by the hash of their ids, task types in turn."""
    source = open_source(games)
    plan: list[tuple[str, str]] = []
    for kind, split, count in (
        ("walkthrough", "valid_seen", len(source.task_ids("valid_seen")) if seen is None else seen),
        ("walkthrough", "train", walk),
        ("random", "train", random),
        ("garbage", "valid_seen", garbage_games),
    ):
        if count:
            ids = source.task_ids(split)
            types = {task_id: task_id.split("/")[1].split("-")[0] for task_id in ids}
            plan += [(kind, task_id) for task_id in freeze_panel(kind, "sdar/ALFWorld-v0", ids, count, types).task_ids]
    contents = dict(source.files({task_id for _, task_id in plan}))
    return [Job(kind, task_id, contents[task_id]) for kind, task_id in plan]


def milliseconds(results: Sequence[dict[str, Any]], side: str) -> dict[str, dict[str, float]]:
    """Median and range of load, reset and step in CPU milliseconds."""
    times = {
        "load": [r[side]["load"] for r in results],
        "reset": [r[side]["reset"] for r in results],
        "step": [r[side]["steps"] / r["steps"] for r in results],
    }
    return {
        what: {"median": 1000 * statistics.median(v), "min": 1000 * min(v), "max": 1000 * max(v)}
        for what, v in times.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("games", metavar="GAMES", type=Path, help="folder of real games that you trust")
    parser.add_argument("--seen", type=int, help="valid_seen games along their walkthrough (default: all)")
    parser.add_argument("--walk", type=int, default=300, help="train games along their walkthrough")
    parser.add_argument("--random", type=int, default=100, help="games along random admissible actions")
    parser.add_argument("--garbage", type=int, default=50, help="games along garbage")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="OUT", help="where to write the result")
    options = parser.parse_args(arguments)
    try:
        require("alfworld", "Comparing with TextWorld")
        planned = jobs(options.games, options.seen, options.walk, options.random, options.garbage)
    except (MissingExtraError, ValueError) as error:
        parser.error(str(error))
    # TextWorld is not thread-safe, and does not like to be forked either.
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        results = list(track(pool.imap_unordered(check, planned), "playing", len(planned)))
    kinds = {}
    for kind in ("walkthrough", "random", "garbage"):
        rows = [r for r in results if r["kind"] == kind]
        if rows:
            kinds[kind] = {
                "games": len(rows),
                "steps": sum(r["steps"] for r in rows),
                "refused": sum(r["refused"] for r in rows),
                "won": sum(r["won"] for r in rows),
                "games_that_differ": sum(bool(r["differences"]) for r in rows),
                "differences": dict(Counter(found["what"] for r in rows for found in r["differences"])),
            }
    native, textworld = milliseconds(results, "native_s"), milliseconds(results, "textworld_s")
    report = {
        "command": ["python", *sys.argv],
        "games": dict(Counter(f"{r['kind']} {r['task_id'].split('/')[0]}" for r in results)),
        "kinds": kinds,
        "cpu_ms": {"native": native, "textworld": textworld},
        "ratio": {what: textworld[what]["median"] / native[what]["median"] for what in native},
        "differing": [r for r in results if r["differences"]][:50],
        "machine": machine("alfworld", "textworld", "fast-downward-textworld"),
    }
    table = Table(title="the native engine beside ALFWorld's own", title_justify="left")
    for heading in ("", "games", "actions", "refused", "won", "games that differ"):
        table.add_column(heading, justify="left" if not heading else "right")
    for kind, row in kinds.items():
        table.add_row(kind, *(str(row[key]) for key in ("games", "steps", "refused", "won", "games_that_differ")))
    console = Console()
    console.print(table)
    for what in native:
        console.print(
            f"{what}: {native[what]['median']:.3g} ms against {textworld[what]['median']:.3g} ms, "
            f"{report['ratio'][what]:,.0f} times faster (CPU, medians)"
        )
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return int(any(r["differences"] for r in results))


if __name__ == "__main__":
    sys.exit(main())

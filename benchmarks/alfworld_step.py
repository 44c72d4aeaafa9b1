"""Measures the native ALFWorld engine against ALFWorld's own TextWorld stack: same game, same commands, one run.

    python benchmarks/alfworld_step.py GAME [--steps N] [--repeats R] [--json OUT]

GAME is a `.tw-pddl` file that you trust, or a generated task id such as `full/train/000017`. The commands are recorded
once: the game's walkthrough, then random admissible commands from a fixed seed. Each side gives the text, the
admissible commands and whether the game is won at every step, and both have to agree on all of it, or nothing is
reported. Needs the extra `alfworld`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from machine import machine
from rich.console import Console
from rich.table import Table

from sdar_gym.envs.alfworld.engine import Engine
from sdar_gym.envs.alfworld.export import to_tw_pddl
from sdar_gym.envs.alfworld.generator import generate_game
from sdar_gym.envs.alfworld.pddl import parse_game
from sdar_gym.envs.alfworld.reference import ReferenceEngine, compare, load_file, record_commands
from sdar_gym.extras import MissingExtraError, require

SEED = 0
# The native side plays the commands so often in a row that a repeat lasts at least this long.
SHORTEST_REPEAT_S = 0.2
Seconds = dict[str, list[float]]


def timed(action: Callable[[], Any], seconds: Seconds, per: int = 1) -> Any:
    """Run it and note CPU and wall seconds, divided by `per`."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = action()
    seconds.setdefault("cpu_s", []).append((time.process_time() - cpu) / per)
    seconds.setdefault("wall_s", []).append((time.perf_counter() - wall) / per)
    return result


def play(engine: Engine | ReferenceEngine, commands: Sequence[str]) -> None:
    """Carry the commands out, and ask all that a training loop asks."""
    for command in commands:
        engine.act(command)
        engine.admissible()
        engine.won  # noqa: B018


def measure_native(content: str, task_id: str, commands: Sequence[str], repeats: int) -> dict[str, Seconds]:
    """Load, reset and step times of our engine."""
    load: Seconds = {}
    reset: Seconds = {}
    step: Seconds = {}

    def start() -> Engine:
        engine = Engine(game)
        engine.admissible()
        return engine

    def start_and_play() -> None:
        play(start(), commands)

    game = parse_game(content, task_id, task_id)
    start_and_play()
    once = time.perf_counter()
    start_and_play()
    rounds = int(SHORTEST_REPEAT_S / (time.perf_counter() - once)) + 1
    for _ in range(repeats):
        game = timed(lambda: parse_game(content, task_id, task_id), load)
        engines = timed(lambda: [start() for _ in range(rounds)], reset, rounds)
        timed(lambda engines=engines: [play(engine, commands) for engine in engines], step, rounds * len(commands))
    return {"load": load, "reset": reset, "step": step}


def measure_reference(source: Any, commands: Sequence[str], repeats: int) -> dict[str, Seconds]:
    """The same of TextWorld's; its load ends with a reset of its own, which is part of it."""
    load: Seconds = {}
    reset: Seconds = {}
    step: Seconds = {}
    for _ in range(repeats):
        with closing(timed(lambda: ReferenceEngine(source), load)) as engine:
            timed(engine.reset, reset)
            timed(lambda engine=engine: play(engine, commands), step, len(commands))
    return {"load": load, "reset": reset, "step": step}


def summary(values: list[float]) -> dict[str, float]:
    """Median and range."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def milliseconds(values: list[float]) -> str:
    found = {key: 1000 * value for key, value in summary(values).items()}
    return f"{found['median']:.4g} ({found['min']:.4g} to {found['max']:.4g})"


def show(result: dict[str, Any], raw: dict[str, dict[str, Seconds]]) -> None:
    table = Table(title=f"{result['game']}: {result['steps']} commands, {result['repeats']} repeats")
    for heading in ("", "native, ms", "TextWorld, ms", "ratio"):
        table.add_column(heading, justify="right" if heading else "left")
    for what in ("load", "reset", "step"):
        for clock in ("cpu_s", "wall_s"):
            sides = [milliseconds(raw[side][what][clock]) for side in ("native", "textworld")]
            table.add_row(f"{what}, {clock.removesuffix('_s')}", *sides, f"{result['ratio'][what][clock]:.0f}")
    console = Console()
    console.print(table)
    rates, where = result["steps_per_cpu_s"], result["machine"]
    console.print(
        f"{rates['native']:,.0f} steps a CPU second against {rates['textworld']:.1f}. "
        f"Medians (range over the repeats). {where['cpu']}, {where['cores']} cores, Python {where['python']}."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("game", metavar="GAME", help="a .tw-pddl file that you trust, or a generated task id")
    parser.add_argument("--steps", type=int, default=60, help="commands a repeat (default 60)")
    parser.add_argument("--repeats", type=int, default=3, help="how often each side is measured (default 3)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="where to write the result")
    options = parser.parse_args(arguments)
    if options.steps < 1 or options.repeats < 1:
        parser.error("--steps and --repeats must be at least 1")
    try:
        require("alfworld", "Measuring TextWorld")
        is_file = Path(options.game).suffix == ".tw-pddl"
        game = load_file(options.game) if is_file else generate_game(options.game)
        content = Path(options.game).read_text(encoding="utf-8") if is_file else to_tw_pddl(game)
    except (MissingExtraError, OSError, ValueError) as error:
        parser.error(str(error))
    commands = record_commands(game, options.steps, SEED)
    source = options.game if is_file else game
    # It also imports TextWorld, which would otherwise count as loading.
    differences = compare(source, commands)
    if differences:
        print(f"The engines differ, so their speeds do not compare: {differences[0]}", file=sys.stderr)
        return 1
    raw = {
        "native": measure_native(content, game.task_id, commands, options.repeats),
        "textworld": measure_reference(source, commands, options.repeats),
    }
    median = {
        side: {what: {clock: statistics.median(v) for clock, v in clocks.items()} for what, clocks in times.items()}
        for side, times in raw.items()
    }
    result = {
        "command": ["python", *sys.argv],
        "game": game.task_id,
        "receptacles": len(game.receptacles),
        "objects": len(game.objects),
        "steps": options.steps,
        "repeats": options.repeats,
        "differences": 0,
        "ratio": {
            what: {clock: median["textworld"][what][clock] / ours for clock, ours in clocks.items()}
            for what, clocks in median["native"].items()
        },
        "steps_per_cpu_s": {side: 1 / times["step"]["cpu_s"] for side, times in median.items()},
        "seconds": {
            side: {what: {clock: summary(v) for clock, v in clocks.items()} for what, clocks in times.items()}
            for side, times in raw.items()
        },
        "machine": machine("alfworld", "textworld", "fast-downward-textworld"),
    }
    show(result, raw)
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

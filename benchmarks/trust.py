"""Simulated trust: episodes that test the skills, and the weight that the teacher gets, by kind of skills.

    python benchmarks/trust.py --out benchmarks/results/trust.json

The trust of the learner is fed with episodes whose success is drawn; nothing is trained. The rates are those of the
tiny ALFWorld policy, and a student beside a trusted teacher improves by a fixed amount an update.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from machine import machine

from sdar_gym.rollout.trajectory import Episode, TurnRecord
from sdar_gym.training.teacher_trust import TeacherTrust

UPDATES, TASKS, GROUP = 30, 4, 4
TYPES = tuple(f"type {number}" for number in range(6))
STUDENT, RIGHT, WRONG = 0.42, 0.97, 0.29
# By kind of skills: the success of each type with its skill, and what the student gains an update.
KINDS: dict[str, tuple[Sequence[float], float]] = {
    "right": ([RIGHT] * 6, 0.015),
    "wrong": ([WRONG] * 6, 0.0),
    "mixed": ([RIGHT, WRONG] * 3, 0.01),
    "useless": ([STUDENT] * 6, 0.0),
}
_TURN = TurnRecord("", "", "look", True, True, 0.0, [1], [-0.5], 0)


def episode(task_type: str, won: bool) -> Episode:
    """An episode of which trust sees type and success."""
    return Episode("", 0, "", task_type, "train", "", turns=[_TURN], won=won)


def run(rates: Mapping[str, float], gain: float, confidence: float | None, rng: Random) -> dict[str, Any]:
    """One run: the number of episodes with skills, and the weights of types that skills help and of the others."""
    trust, tested = TeacherTrust(confidence), 0
    weights: dict[bool, list[float]] = {True: [], False: []}
    for update in range(UPDATES):
        types = [rng.choice(TYPES) for _ in range(TASKS)]
        alone = min(1.0, STUDENT + gain * update)
        asked = [name for name in types if name not in trust.settled]
        trust.observe(
            [episode(name, rng.random() < alone) for name in types for _ in range(GROUP)],
            [episode(name, rng.random() < rates[name]) for name in asked],
        )
        tested += len(asked)
        for name, weight in trust.of(set(types)).items():
            weights[rates[name] > STUDENT] += [weight] * types.count(name)
    return {"tested": tested, "helped": weights[True], "others": weights[False]}


def simulate(kind: str, confidence: float | None, draws: int) -> dict[str, Any]:
    """Means over runs."""
    rates, gain = KINDS[kind]
    runs = [
        run(dict(zip(TYPES, rates, strict=True)), gain, confidence, Random(f"{kind} {confidence} {draw}"))
        for draw in range(draws)
    ]
    weights = {
        name: statistics.fmean(weight for each in runs for weight in each[name])
        for name in ("helped", "others")
        if runs[0][name]
    }
    return {
        "skills": kind,
        "confidence": confidence,
        "tested": statistics.fmean(each["tested"] for each in runs),
        **weights,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=600, help="runs of each row")
    options = parser.parse_args()
    content = {
        "machine": machine(),
        "draws": options.draws,
        "updates": UPDATES,
        "tasks": TASKS,
        "group": GROUP,
        "student": STUDENT,
        "kinds": {kind: {"with_skill": rates, "gain": gain} for kind, (rates, gain) in KINDS.items()},
        "rows": [simulate(kind, confidence, options.draws) for kind in KINDS for confidence in (None, 0.95, 0.99)],
    }
    options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    for row in content["rows"]:
        print(row)


if __name__ == "__main__":
    main()

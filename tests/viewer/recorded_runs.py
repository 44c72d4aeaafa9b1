"""Run folders with episodes and tokens as `train` writes them, made without a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sdar_gym.report.tokens import NUMBER_LISTS, write_tokens
from sdar_gym.rollout.trajectory import Episode, TurnRecord

# Of the response `<think>Warm.</think><action>heat\n</action>`.
TOKENS = ("<think>", "Warm.", "</think>", "<action>", "heat", "\n", "</action>")
CLASSES = ("format", "think", "format", "format", "action", "action", "format")
GAPS = (0.0, 1.5, None, 0.001, -2.5, 0.25, 0.0)


def episode(
    number: int, member: int = 0, *, won: bool, task_type: str = "heat", goal: str = "put a hot egg"
) -> Episode:
    turns = [
        TurnRecord(
            observation=f"You see a [bold]{thing}[/bold] \x1b[31m1.",
            response="".join(TOKENS),
            action="heat",
            valid_form=True,
            valid_action=thing != "egg",
            reward=float(won and thing == "stove"),
            response_ids=list(range(len(TOKENS))),
            old_logp=[-0.5] * len(TOKENS),
            weight_version=0,
            prompt_tokens=40,
            admissible_actions=("heat", "look"),
            feedback="no egg is hot" if thing == "egg" else None,
        )
        for thing in ("egg", "stove")
    ]
    return Episode(
        f"{number}/{member}",
        number,
        f"small/{number:06d}",
        task_type,
        "train",
        goal,
        turns,
        won=won,
        score=float(won),
        ended="won" if won else "truncated",
        metrics={"goal_condition_rate": 0.5},
        skills=("heat.procedure", "unknown.skill"),
        skill_scores=(1.25, float("inf")),
        skill_strategy="bm25",
        skill_backend="bm25s",
        member=member,
    )


def token_rows(played: Episode, **changes: Sequence[float | None]) -> list[dict[str, Any]]:
    values = {name: [0.1] * len(TOKENS) for name in NUMBER_LISTS} | {"gap": GAPS} | changes
    return [
        {
            "episode_id": played.episode_id,
            "group_id": played.group_id,
            "task_id": played.task_id,
            "task_type": played.task_type,
            "turn": number,
            "won": played.won,
            "advantage": -0.75,
            "teacher_context": "skill: use the microwave",
            "token": TOKENS,
            "class": CLASSES,
            **values,
        }
        for number in (1, 2)
    ]


def write_batch(folder: Path, name: str, episodes: Sequence[Episode]) -> None:
    file = folder / "episodes" / f"{name}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(each.to_json()) + "\n" for each in episodes), encoding="utf-8")


def evaluated(update: int, heat: float, cool: float) -> dict[str, Any]:
    success = (heat + cool) / 2
    result = {
        "success": success,
        "success_low": max(0.0, success - 0.2),
        "success_high": min(1.0, success + 0.2),
        "success/heat": heat,
        "success/cool": cool,
        "panel": "valid_seen-4",
        "panel_hash": "0123456789ab",
        "tasks": 4,
        "temperature": 1.0,
        "prompt": "compact",
        "with_skills": False,
        "teacher": {"success": 0.75, "success_low": 0.5, "success_high": 0.9, "tasks": 4},
    }
    return {"update": update, "evaluation": result, "seconds": {"evaluation": 1.5}}


def recorded_run(folder: Path, last: Sequence[bool] = (True, True, True, False)) -> Path:
    """A run of two updates: evaluations of four tasks before and after, and the first update's episodes with tokens."""
    folder.mkdir(parents=True)
    goals = ("put a hot egg", "put a hot apple", "cool a pan", "cool a mug")
    types = ("heat", "heat", "cool", "cool")
    for update, wins in ((0, (True, False, False, False)), (2, last)):
        played = [episode(n, won=won, task_type=types[n], goal=goals[n]) for n, won in enumerate(wins)]
        write_batch(folder, f"eval-{update:05d}", played)
    trained = [episode(number, member, won=number == 0) for number in (0, 1) for member in (0, 1)]
    write_batch(folder, "train-00001", trained)
    rows = [row for each in trained[:3] for row in token_rows(each)]
    write_tokens(folder / "tokens" / "train-00001.jsonl", rows)
    records = [
        evaluated(0, 0.5, 0.0),
        {"update": 1, "train": {"success": 0.25, "success/heat": 0.25}, "learner": {"policy_loss": 0.5}},
        {
            "update": 2,
            "train": {"success": 1.0},
            "learner": {"policy_loss": None},
            "not_finite": ["learner.policy_loss"],
        },
        evaluated(2, sum(last[:2]) / 2, sum(last[2:]) / 2),
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    (folder / "config.yaml").write_text("method: sdar\nenv: sdar/ALFWorld-v0\n", encoding="utf-8")
    return folder

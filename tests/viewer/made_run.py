"""Run folders made by hand for the viewer's tests: two groups in training, an evaluation before and after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sdar_gym.report.tokens import write_tokens

# What a model or a game may write: it must be shown as it is.
HOSTILE = (
    "<script>window.broken = 1</script></script><img src=x onerror='window.broken = 1'>&amp; \u202eabc \ud800 \x1b[31m"
)
TYPES = ("heat", "look")


def turn(action: str, observation: str = "You see a fridge 1.", **changes: Any) -> dict[str, Any]:
    return {
        "observation": observation,
        "admissible_actions": ["look", "go to fridge 1", "open fridge 1"],
        "response": f"<action>{action}</action>",
        "action": action,
        "valid_form": True,
        "valid_action": True,
        "reward": 0.0,
        "prompt_tokens": 20,
        "response_tokens": 4,
        "finish_reason": "stop",
        "mean_logprob": -0.5,
    } | changes


def episode(group: int, member: int, actions: list[str], *, won: bool, **changes: Any) -> dict[str, Any]:
    turns = [turn(action) for action in actions]
    turns[-1]["reward"] = float(won)
    kind = TYPES[group % 2]
    return {
        "episode_id": f"{group}/{member}",
        "group_id": group,
        "task_id": f"small/train/{group:06d}",
        "task_type": kind,
        "split": "train",
        "goal": f"{kind} apple {group}.",
        "won": won,
        "score": float(won),
        "reward": float(won),
        "ended": "won" if won else "truncated",
        "skills": ["heat.procedure"],
        "skills_specific": True,
        "skill_scores": [1.5],
        "skill_strategy": "bm25",
        "skill_backend": "bm25s",
        "turns": turns,
    } | changes


def token_row(made: dict[str, Any], number: int, gap: float) -> dict[str, Any]:
    played = made["turns"][number]
    return {
        **{key: made[key] for key in ("episode_id", "group_id", "task_id", "task_type", "won")},
        "turn": number + 1,
        "advantage": 1.0 if made["won"] else -1.0,
        "teacher_context": "skill: heat it in the microwave.\n",
        "token": ["<action>", played["action"], "</action>", "<|im_end|>"],
        "class": ["format", "action", "format", "end"],
        "student_logp": [-0.1, -1.0, 0.0, 0.0],
        "teacher_logp": [-0.1, -1.0 + gap, 0.0, 0.0],
        "gap": [0.0, gap, 0.0, 0.0],
        "gate": [0.5, 0.9, 0.5, 0.5],
        "weight": [0.01, 0.01, 0.01, 0.01],
        "token_advantage": [1.0 if made["won"] else -1.0] * 4,
        "entropy": [0.1, 1.2, 0.0, 0.0],
        "ratio": [1.0, 1.5, 1.0, None],
    }


def lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def make_run(folder: Path, name: str = "first-sdar", *, better: bool = False, hostile: bool = False) -> Path:
    """A run of two updates.

    Args:
        folder: Where to make it.
        name: Its name.
        better: Whether it wins every evaluation task in the end; else every other one.
        hostile: Whether texts of the game and the model are hostile.
    """
    path = folder / name
    trained = [
        episode(0, 0, ["look", "go to fridge 1", "open fridge 1"], won=True),
        episode(0, 1, ["look", "go to fridge 1", "look"], won=False),
        episode(1, 0, ["look"], won=True),
        episode(1, 1, ["open fridge 1", "look"], won=False),
    ]
    if hostile:
        trained[0] |= {"goal": HOSTILE, "task_type": "heat", "error": HOSTILE, "reference": HOSTILE}
        trained[0]["turns"][0] |= {"observation": HOSTILE, "feedback": HOSTILE, "admissible_actions": [HOSTILE]}
        trained[0]["turns"][1] |= {"response": HOSTILE, "action": HOSTILE}
    rows = [
        token_row(made, number, 1.5 - member)
        for made in trained
        for member, number in enumerate(range(len(made["turns"])))
    ]
    if hostile:
        rows[0] |= {"teacher_context": HOSTILE, "token": [HOSTILE, HOSTILE, "</action>", "\n"]}
    lines(path / "episodes" / "train-00001.jsonl", trained)
    write_tokens(path / "tokens" / "train-00001.jsonl", rows)
    for update in (0, 2):
        played = [
            episode(task, 0, ["look", "go to fridge 1"], won=update == 2 and (better or task % 2 == 0), split="valid")
            for task in range(40)
        ]
        lines(path / "episodes" / f"eval-{update:05d}.jsonl", played)
    results = [result(0.0), result(1.0 if better else 0.5)]
    train = {"success": 0.5, "valid_action": 1.0}
    lines(
        path / "metrics.jsonl",
        [
            {"update": 0, "evaluation": results[0]},
            {"update": 1, "train": train, "teacher": {"gap/action": 0.5}, "learner": {"policy_loss": None}},
            {"update": 2, "train": {**train, "success": 0.75}, "teacher": {"gap/action": 0.25}},
            {"update": 2, "evaluation": results[1]},
        ],
    )
    settings = {
        "name": name,
        "env": "sdar/ALFWorld-v0",
        "method": "sdar",
        "seed": 0,
        "policy": {"model": "builtin:tiny"},
        "skills": {"strategy": "bm25", "library": None},
        "training": {"lr": 2e-3 if better else 1e-3, "group_size": 2, "tasks_per_iteration": 2},
    }
    (path / "config.yaml").write_text(json.dumps(settings), encoding="utf-8")
    (path / "versions.json").write_text(json.dumps({"run": "ab", "python": "3.11"}), encoding="utf-8")
    return path


def result(success: float) -> dict[str, Any]:
    return {
        "success": success, "success_low": max(0.0, success - 0.1), "success_high": min(1.0, success + 0.1),
        "success/heat": success, "success/look": success, "panel": "valid-40", "panel_hash": "abc", "tasks": 40,
        "repeats": 1, "temperature": 1.0, "seed": 0, "with_skills": False, "teacher": {"success": 0.9, "tasks": 8},
    }  # fmt: skip

"""Evaluation folders for tests, made without a policy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sdar_gym.configs import load_config
from sdar_gym.envs.tasks import TaskPanel
from sdar_gym.evaluation.folder import EvaluationFolder
from sdar_gym.evaluation.record import EvaluationRecord
from sdar_gym.rollout.episode_limits import EpisodeLimits
from sdar_gym.rollout.trajectory import Episode, TurnRecord

TASKS = ("a", "b", "c", "d")
PANEL = TaskPanel("four", "sdar/ALFWorld-v0", TASKS)


def made_episode(group: int, member: int = 0, *, won: bool = False, error: str = "", **fields: object) -> Episode:
    turn = TurnRecord("you see", "<action>look</action>", "look", True, True, float(won), [1, 2], [-0.5, -0.1], 0)
    turn.prompt_tokens = 9
    return Episode(
        episode_id=f"{group}/{member}",
        group_id=group,
        member=member,
        task_id=TASKS[group],
        task_type="even" if group % 2 == 0 else "odd",
        split="valid",
        goal="win",
        turns=[turn],
        won=won,
        score=float(won),
        ended="error" if error else "won" if won else "lost",
        error=error,
        **fields,  # pyright: ignore[reportArgumentType]
    )


def made_record(**changes: object) -> EvaluationRecord:
    fields: dict[str, object] = {
        "policy": "mine",
        "endpoint": None,
        "weights": "abc",
        "config": "quickstart",
        "limits": EpisodeLimits(),
    }
    settings = changes.pop("settings", ())
    run = load_config("quickstart", list(settings))  # pyright: ignore[reportArgumentType]
    return EvaluationRecord.of(run, PANEL, **{**fields, **changes})  # pyright: ignore[reportArgumentType]


def made_evaluation(path: Path, episodes: Sequence[Episode], panel: TaskPanel = PANEL) -> EvaluationFolder:
    folder = EvaluationFolder(path)
    run = load_config("quickstart")
    record = EvaluationRecord.of(
        run, panel, policy="mine", endpoint=None, weights=None, config="quickstart", limits=EpisodeLimits()
    )
    folder.begin(record, panel)
    for episode in episodes:
        folder.add(episode)
    return folder


def once(*outcomes: bool) -> list[Episode]:
    """One episode of each task."""
    return [made_episode(group, won=won) for group, won in enumerate(outcomes)]

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from sdar_gym.envs import TaskPanel
from sdar_gym.evaluation.summary import success_by_type, summarize, wilson_interval
from sdar_gym.rollout.trajectory import Episode, TurnRecord

PANEL = TaskPanel("small-4", "sdar/ALFWorld-v0", ("a", "b", "c", "d"))


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # Newcombe (1998), Statistics in Medicine 17, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        # By hand: 0 of n gives z²/(n + z²), and half of n is symmetric.
        (0, 10, 0.0, 1.959964**2 / (10 + 1.959964**2)),
        (10, 10, 10 / (10 + 1.959964**2), 1.0),
        (5, 10, 0.2366, 0.7634),
    ],
)
def test_the_interval_has_the_published_values(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=6e-5)


def test_the_interval_holds_the_rate_and_stays_within_bounds() -> None:
    for trials in (1, 2, 3, 7, 128, 10**6):
        for successes in {0, 1, trials // 3, trials - 1, trials}:
            low, high = wilson_interval(successes, trials)
            assert 0.0 <= low <= successes / trials <= high <= 1.0
            mirrored = wilson_interval(trials - successes, trials)
            assert mirrored == pytest.approx((1 - high, 1 - low))
    assert wilson_interval(1, 1)[0] == pytest.approx(0.2065, abs=5e-5)


@pytest.mark.parametrize(
    ("successes", "trials"), [(0, 0), (-1, 5), (6, 5), (0, -1), (0.5, 1), (math.nan, 5), (1, math.nan), (1, math.inf)]
)
def test_what_is_no_rate_is_refused(successes: Any, trials: Any) -> None:
    with pytest.raises(ValueError, match=f"{successes} successes in {trials} trials is no rate"):
        wilson_interval(successes, trials)


def episode(
    task_id: str, *, won: bool, valid: tuple[bool, ...], kind: str = "heat", specific: bool | None = True
) -> Episode:
    turns = [TurnRecord("o", "r", "a", True, ok, 0.0, [2], [-1.0], 0, prompt_tokens=1) for ok in valid]
    return Episode(
        *(f"{task_id}/0", 0, task_id, kind, "valid_seen", "g", turns),
        won=won,
        score=float(won),
        metrics={"f1": 0.5},
        skills_specific=specific,
    )


PLAYED = [
    episode("a", won=True, valid=(True, True)),
    episode("b", won=False, valid=(True, False, False, False)),
    episode("c", won=True, valid=(True,), kind="cool", specific=False),
    episode("d", won=True, valid=(True,), kind="cool"),
]


def test_a_result_names_all_that_it_depends_on() -> None:
    summary = summarize(PLAYED, PANEL, 0.4, 7, False)
    low, high = wilson_interval(3, 4)
    assert summary == {
        "success": 0.75,
        "success_low": low,
        "success_high": high,
        "success/cool": 1.0,
        "success/heat": 0.5,
        "by_type_mean": 0.75,
        "score": 0.75,
        "episode_turns": 2.0,
        "prompt_too_long": 0,
        "context_full": 0,
        "context_forks": 0,
        "env/f1": 0.5,
        "valid_form": 1.0,
        "valid_action": 5 / 8,
        "form_errors": 0.0,
        "action_errors": 3 / 8,
        "cut_off": 0.0,
        "prompts_cut": 0.0,
        "teacher_too_long": 0.0,
        "prompt_tokens_mean": 1.0,
        "prompt_tokens_max": 1,
        "response_tokens_mean": 1.0,
        "response_tokens_max": 1,
        "skill_coverage": 0.75,
        "skill_coverage/cool": 0.5,
        "skill_coverage/heat": 1.0,
        "panel": "small-4",
        "panel_hash": PANEL.hash,
        "tasks": 4,
        "repeats": 1,
        "temperature": 0.4,
        "seed": 7,
        "with_skills": False,
    }
    assert json.loads(json.dumps(summary)) == summary
    assert summarize(PLAYED[::-1], PANEL, 0.4, 7, False) == summary


def test_where_no_skills_were_asked_for_there_is_no_coverage() -> None:
    plain = [episode(task_id, won=False, valid=(True,), specific=None) for task_id in PANEL.task_ids]
    summary = summarize(plain, PANEL, 0.0, 0, True)
    assert summary["skill_coverage"] is None
    assert summary["with_skills"] is True
    assert (summary["success"], summary["success_low"]) == (0.0, 0.0)


def test_episodes_without_turns_make_no_nonsense() -> None:
    empty = [episode(task_id, won=False, valid=()) for task_id in PANEL.task_ids]
    summary = summarize(empty, PANEL, 0.0, 0, False)
    assert (summary["episode_turns"], summary["action_errors"]) == (0.0, 0.0)
    assert all(math.isfinite(value) for value in summary.values() if isinstance(value, float))


@pytest.mark.parametrize(
    "played",
    [PLAYED[:3], [*PLAYED, PLAYED[0]], [*PLAYED[:3], PLAYED[0]], []],
    ids=["one missing", "one twice", "one in place of another", "none"],
)
def test_a_panel_that_was_not_played_once_is_no_result(played: list[Episode]) -> None:
    with pytest.raises(ValueError, match=f"Panel 'small-4' has 4 tasks, {len(played)} episodes came back"):
        summarize(played, PANEL, 0.4, 0, False)


def test_the_mean_over_types_counts_each_type_once() -> None:
    played = [*PLAYED[:2], PLAYED[3], episode("c", won=True, valid=(True,))]
    summary = summarize(played, PANEL, 0.4, 7, False)
    assert success_by_type(summary) == {"cool": 1.0, "heat": pytest.approx(2 / 3)}
    assert summary["by_type_mean"] == pytest.approx(5 / 6)


def test_several_episodes_a_task_give_pass_at_k_and_an_interval_over_tasks() -> None:
    wins = {"a": (True, True), "b": (True, False), "c": (False, False), "d": (False, True)}
    played = [episode(task_id, won=won, valid=(True,)) for task_id, outcomes in wins.items() for won in outcomes]
    summary = summarize(played, PANEL, 0.4, 7, False)
    assert (summary["tasks"], summary["repeats"], summary["success"]) == (4, 2, 0.5)
    assert (summary["pass@1"], summary["pass^1"]) == (0.5, 0.5)
    assert (summary["pass@2"], summary["pass^2"]) == (0.75, 0.25)
    assert summary["success_low"] < 0.5 < summary["success_high"]
    assert summary["pass@2_low"] < 0.75 < summary["pass@2_high"] <= 1.0
    assert json.loads(json.dumps(summary)) == summary

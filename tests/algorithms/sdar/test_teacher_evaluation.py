"""Evaluation of the teacher, per-token diagnostics in the results, and the token files of a run."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import (  # pyright: ignore[reportMissingImports]
    ENV,
    ENV_CONFIG,
    PANEL,
    ROLLOUT,
    equal,
    learner_state,
    runner_weights,
    small_config,
    weights_of,
)

from sdar_gym.algorithms.sdar import SDAR, SDARConfig
from sdar_gym.algorithms.sdar.learner import TEACHER_STATE
from sdar_gym.configs.schema import RunConfig
from sdar_gym.configs.sections import SkillSettings, TrainingSettings
from sdar_gym.report.tokens import read_tokens
from sdar_gym.runs.train import train

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_instance")]
Build = Callable[[SDARConfig], SDAR]
EMA = {"teacher": {"weights": "ema", "rate": 0.3}}


def test_diagnostics_do_not_change_training(build: Build) -> None:
    for name in ("sdar", "allfail_ce"):
        quiet, measured = build(small_config(name)), build(small_config(name).evaluation(interval=1))
        for algorithm in (quiet, measured):
            algorithm.train()
            algorithm.train()
        assert (quiet.last_tokens is None, measured.last_tokens is None) == (True, False)
        assert equal(weights_of(quiet), weights_of(measured))


def test_an_evaluation_includes_the_teacher(build: Build) -> None:
    algorithm = build(small_config("sdar").evaluation(teacher_tasks=3))
    result = algorithm.evaluate()
    teacher = result["teacher"]
    assert set(teacher) == {"success", "success_low", "success_high", "tasks", "skill_coverage"}
    assert (teacher["tasks"], teacher["skill_coverage"]) == (3, 1.0)
    assert 0 <= teacher["success_low"] <= teacher["success"] <= teacher["success_high"] <= 1
    # The episodes that are kept are the student's.
    assert len(algorithm.last_evaluation) == result["tasks"] == 4


@pytest.mark.parametrize(
    ("method", "objective"),
    [("grpo", {}), ("sdpo", {}), ("sdar", {"teacher": {"weights": "external", "model": "builtin:tiny"}})],
)
def test_a_teacher_that_cannot_act_is_not_played(method: str, objective: dict[str, Any], build: Build) -> None:
    assert "teacher" not in build(small_config(method, objective=objective)).evaluate()


def test_no_tasks_for_the_teacher_means_none(build: Build) -> None:
    assert "teacher" not in build(small_config("sdar").evaluation(teacher_tasks=0)).evaluate()


def played_weights(algorithm: SDAR, monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, Any]]:
    """For each panel that is played: whether with skills, and the weights."""
    seen: list[tuple[bool, Any]] = []
    play = algorithm._evaluator._play

    def note(panel: Any, requests: Any, with_skills: bool) -> Any:
        seen.append((with_skills, runner_weights(algorithm)))
        return play(panel, requests, with_skills)

    monkeypatch.setattr(algorithm._evaluator, "_play", note)
    return seen


def test_an_average_plays_with_its_weights_and_the_student_s_come_back(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config("sdar", objective=EMA, lr=1e-2)
    algorithm, quiet = build(config.copy(copy_frozen=False)), build(config.copy(copy_frozen=False))
    for one in (algorithm, quiet):
        one.train()
    before = weights_of(algorithm)
    seen = played_weights(algorithm, monkeypatch)
    assert "teacher" in algorithm.evaluate()
    (skills, student), (with_skills, teacher) = seen
    assert (skills, with_skills) == (False, True)
    assert equal(student, before)
    stored = learner_state(algorithm)[TEACHER_STATE]
    assert stored
    for name, tensor in stored.items():
        assert torch.equal(teacher[f"model.{name}"], tensor)
    assert not equal(teacher, student)
    assert equal(runner_weights(algorithm), before)
    assert equal(weights_of(algorithm), before)
    for one in (algorithm, quiet):
        one.train()
    assert equal(weights_of(algorithm), weights_of(quiet))


def test_weights_come_back_even_if_the_teacher_fails(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm = build(small_config("sdar", objective=EMA, lr=1e-2))
    algorithm.train()

    def broken(teacher: Any) -> Any:
        raise RuntimeError("broken")

    monkeypatch.setattr(algorithm._evaluator, "_teacher_result", broken)
    with pytest.raises(RuntimeError, match="broken"):
        algorithm.evaluate()
    assert equal(runner_weights(algorithm), weights_of(algorithm))


def test_a_frozen_teacher_is_played_once(build: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    algorithm = build(small_config("frozen_ce"))
    seen = played_weights(algorithm, monkeypatch)
    first = algorithm.evaluate()["teacher"]
    assert [skills for skills, _ in seen] == [False, True]
    algorithm.train()
    assert algorithm.evaluate()["teacher"] == first
    assert [skills for skills, _ in seen] == [False, True, False]
    algorithm.save_to_path(str(tmp_path / "checkpoint"))
    resumed = build(small_config("frozen_ce"))
    resumed.restore_from_path(str(tmp_path / "checkpoint"))
    assert resumed.evaluate()["teacher"] == first


def test_a_live_teacher_is_the_student_with_skills(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm = build(small_config("sdar"))
    algorithm.train()
    seen = played_weights(algorithm, monkeypatch)
    algorithm.evaluate()
    assert [skills for skills, _ in seen] == [False, True]
    assert equal(seen[0][1], seen[1][1])


def test_diagnostics_are_logged_where_collected_and_nothing_old_afterwards(build: Build) -> None:
    algorithm = build(small_config("sdar").evaluation(interval=3))
    logged = [algorithm.train().get("teacher", {}) for _ in range(3)]
    known = [{name: value for name, value in each.items() if math.isfinite(value)} for each in logged]
    # The first update, and the one before each evaluation.
    assert [bool(each) for each in known] == [True, False, True]
    for each in (known[0], known[2]):
        assert {"gap/all", "agreement/all", "taught/all", "gap/action", "gate/action", "gap/turn_1"} <= set(each)
        assert each["taught/all"] == 1
        assert 0 < each["gate/action"] < 1
    assert any(name.startswith("gap_advantage_correlation/") for name in known[0])


def test_a_run_writes_the_tokens_of_its_first_update_and_of_those_that_it_evaluates(tmp_path: Path) -> None:
    run = RunConfig(
        "tokens",
        ENV,
        env_config={**ENV_CONFIG},
        skills=SkillSettings(k=1, include_general=False),
        rollout=ROLLOUT,
        training=TrainingSettings(group_size=4, tasks_per_iteration=2, iterations=4, lr=1e-3),
        evaluation=replace(PANEL, interval=2, token_turns=30),
        seed=1,
        runs_dir=str(tmp_path),
    )
    folder, summary = train(run)
    files = sorted(path.name for path in (folder.path / "tokens").iterdir())
    assert files == ["train-00001.jsonl", "train-00002.jsonl", "train-00004.jsonl"]
    for file in files:
        rows = read_tokens(folder.path / "tokens" / file)
        assert 0 < len(rows) <= 30
        episodes = {
            record["episode_id"]: record
            for record in map(json.loads, (folder.path / "episodes" / file).read_text().splitlines())
        }
        for row in rows:
            turn = episodes[row["episode_id"]]["turns"][row["turn"] - 1]
            assert len(row["token"]) == turn["response_tokens"]
            assert sum(row["student_logp"]) / len(row["token"]) == pytest.approx(turn["mean_logprob"], abs=1e-4)
            gaps = [
                teacher - student for teacher, student in zip(row["teacher_logp"], row["student_logp"], strict=True)
            ]
            assert row["gap"] == pytest.approx(gaps, abs=2e-5)
            expected = [1 / (1 + math.exp(-5 * gap)) for gap in row["gap"]]
            assert row["gate"] == pytest.approx(expected, abs=1e-4)
            assert row["token_advantage"] == pytest.approx([row["advantage"]] * len(gaps), abs=1e-5)
            assert "skill:" in row["teacher_context"]
        # A policy that is updated changes its probabilities, most of them by little.
        ratios = [ratio for row in rows for ratio in row["ratio"]]
        assert 0.5 < statistics.median(ratios) < 2 and any(abs(ratio - 1) > 1e-4 for ratio in ratios)
        assert any(abs(gap) > 0.01 for row in rows for gap in row["gap"])
    records = folder.records()
    assert [record["update"] for record in records if record.get("teacher")] == [1, 2, 4]
    evaluations = [record["evaluation"] for record in records if "evaluation" in record]
    assert [evaluation["teacher"]["tasks"] for evaluation in evaluations] == [2, 2, 2]
    assert summary["after"]["teacher"] == evaluations[-1]["teacher"]

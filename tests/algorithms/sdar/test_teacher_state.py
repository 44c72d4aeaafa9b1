"""What the teacher reads, and its state in a checkpoint, with correlations and retrieval that learns."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import (  # pyright: ignore[reportMissingImports]
    engine_weights,
    equal,
    learner_of,
    learner_state,
    remote,
    small_config,
    weights_of,
)

from sdar_gym.algorithms.sdar import SDAR, SDARConfig
from sdar_gym.algorithms.sdar.learner import TEACHER_STATE
from sdar_gym.training.collate import TEACHER_INPUT_IDS
from sdar_gym.training.scoring import Scorer

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_instance")]
Build = Callable[[SDARConfig], SDAR]
EMA = {"teacher": {"weights": "ema", "rate": 0.3}}
STALE = {"teacher": {"weights": "stale", "every": 3}}


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[set[tuple[int, ...]]]:
    """The distinct rows that the teacher reads, for each time it scores."""
    scored: list[set[tuple[int, ...]]] = []
    each = Scorer._each

    def note(self: Scorer, columns: Any, ids: str, *args: Any, **kwargs: Any) -> Any:
        if ids == TEACHER_INPUT_IDS:
            scored.append({tuple(row) for row in torch.as_tensor(columns[ids]).tolist()})
        return each(self, columns, ids, *args, **kwargs)

    monkeypatch.setattr(Scorer, "_each", note)
    return scored


def starts(rows: set[tuple[int, ...]], prompts: set[tuple[int, ...]]) -> bool:
    """Whether each row begins with one of the prompts."""
    return all(any(row[: len(prompt)] == prompt for prompt in prompts) for row in rows)


def test_only_groups_that_failed_are_scored_where_only_they_are_distilled(build: Build, read: list[Any]) -> None:
    algorithm = build(small_config("allfail_ce"))
    algorithm.train()
    read.clear()
    result = algorithm.train()
    assert result["env_runners"]["all_fail_fraction"] == 0.5
    episodes = algorithm.last_episodes
    solved = {episode.group_id for episode in episodes if episode.won}
    sequences = {
        tuple(sequence.teacher_ids or ())
        for episode in episodes
        if episode.group_id not in solved
        for sequence in episode.sequences
    }
    (rows,) = read
    assert () not in sequences
    assert len(rows) == len(sequences)
    assert starts(rows, sequences)


def test_nothing_is_scored_where_no_group_failed(
    build: Build, read: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    algorithm = build(small_config("allfail_ce"))
    algorithm.train()
    read.clear()
    collect = algorithm._dispatcher.collect

    def lucky(*args: Any, **kwargs: Any) -> Any:
        episodes = collect(*args, **kwargs)
        for episode in episodes[::4]:
            episode.won = True
        return episodes

    monkeypatch.setattr(algorithm._dispatcher, "collect", lucky)
    result = algorithm.train()
    assert result["env_runners"]["all_fail_fraction"] == 0
    assert all(rows == set() for rows in read)
    assert result["learners"]["default_policy"]["distill_fraction"] == 0


@pytest.mark.parametrize(
    "teacher", [EMA, pytest.param(STALE, marks=pytest.mark.slow), {}], ids=["ema", "stale", "frozen"]
)
def test_a_resumed_teacher_is_the_one_that_was_saved(teacher: dict[str, Any], build: Build, tmp_path: Path) -> None:
    def config() -> SDARConfig:
        return small_config("frozen_ce", objective=teacher, lr=1e-2)

    straight, resumed = build(config()), build(config())
    straight.train()
    straight.train()
    straight.save_to_path(str(tmp_path / "checkpoint"))
    resumed.restore_from_path(str(tmp_path / "checkpoint"))
    saved = [learner_state(algorithm)[TEACHER_STATE] for algorithm in (straight, resumed)]
    assert equal(*saved)
    assert bool(saved[0]) == bool(teacher)
    with learner_of(resumed)._teacher.swapped_in() as model:
        head = model.get_output_embeddings().weight.clone()
    student = weights_of(resumed)["model.lm_head.weight"]
    # Were it the student's own, nothing would have to be kept.
    assert (head - student).abs().max() > 1e-4
    for algorithm in (straight, resumed):
        algorithm.train()
    assert equal(weights_of(straight), weights_of(resumed))
    assert equal(*(learner_state(algorithm)[TEACHER_STATE] for algorithm in (straight, resumed)))


def test_retrieval_that_learns_and_correlations_are_resumed(build: Build, tmp_path: Path) -> None:
    def config() -> SDARConfig:
        return small_config("sdar").skills(strategy="ucb", k=1, include_general=False)

    straight, resumed = build(config()), build(config())
    shown = []
    for _ in range(2):
        straight.train()
        shown.append({(episode.task_type, episode.skill_scores) for episode in straight.last_episodes})
        groups = {(episode.group_id, episode.skills, episode.skill_scores) for episode in straight.last_episodes}
        assert len(groups) == 2
    assert all(math.isinf(score) for _, scores in shown[0] for score in scores)
    straight.save_to_path(str(tmp_path / "checkpoint"))
    resumed.restore_from_path(str(tmp_path / "checkpoint"))
    learned = straight._retriever.get_state()
    assert sum(entry["episodes"] for entry in learned.values()) == 16
    assert resumed._retriever.get_state() == learned
    assert straight._correlation.get_state()
    assert resumed._correlation.get_state() == straight._correlation.get_state()
    for algorithm in (straight, resumed):
        algorithm.train()
    assert resumed._retriever.get_state() == straight._retriever.get_state() != learned
    assert equal(weights_of(straight), weights_of(resumed))


def test_skills_are_chosen_by_past_scores_and_updated_with_new_ones(build: Build) -> None:
    algorithm = build(small_config("sdar").skills(strategy="ucb", k=1, include_general=False, ucb_c=0.0))
    retriever = algorithm._retriever
    kinds = sorted({kind for skill in retriever.library for kind in skill.task_types})
    arms = {
        kind: {
            skill.id: [4, float(place)]
            for place, skill in enumerate(skill for skill in retriever.library if skill.applies_to(kind))
        }
        for kind in kinds
    }
    assert any(1 < len(each) <= 5 for each in arms.values())
    best = {kind: max(each, key=lambda skill: each[skill][1]) for kind, each in arms.items()}
    retriever.set_state({kind: {"episodes": 99, "arms": each} for kind, each in arms.items()})
    algorithm.train()
    learned = retriever.get_state()
    for episode in algorithm.last_episodes:
        kind = episode.task_type
        assert episode.skills == (best[kind],)
        assert episode.skill_scores == (arms[kind][best[kind]][1] / 4,)
        same = [other for other in algorithm.last_episodes if other.task_type == kind]
        assert learned[kind]["episodes"] == 99 + len(same)
        expected = [4 + len(same), arms[kind][best[kind]][1] + sum(other.score for other in same)]
        assert learned[kind]["arms"][best[kind]] == pytest.approx(expected)


@pytest.mark.slow
def test_runners_share_what_retrieval_has_learned(build: Build) -> None:
    def config() -> SDARConfig:
        return small_config("sdar", objective=EMA).skills(strategy="ucb", k=1, include_general=False)

    local, spread = build(config()), build(remote(config(), runners=2))
    for _ in range(3):
        for algorithm in (local, spread):
            algorithm.train()
        shown = [[(e.episode_id, e.skills, e.skill_scores) for e in a.last_episodes] for a in (local, spread)]
        assert shown[0] == shown[1]
    assert local.evaluate() == spread.evaluate()
    # After the teacher has played, all runners have the student's weights again.
    for weights in spread.env_runner_group.foreach_env_runner(engine_weights):
        assert equal(weights, weights_of(spread))

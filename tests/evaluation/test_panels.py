from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sdar_gym.configs.schema import RunConfig
from sdar_gym.configs.sections import EvaluationSettings, PolicySettings, RolloutSettings
from sdar_gym.envs import TaskNotFoundError, TextEnv, freeze_panel
from sdar_gym.envs.tasks import PanelError
from sdar_gym.evaluation.panels import build_panel, panel_requests, play_panel
from sdar_gym.evaluation.summary import context_of_result, summarize
from sdar_gym.rollout.environments import make_env
from sdar_gym.warmstart import tiny_acceptance
from sdar_gym.warmstart.tiny_acceptance import measure_skills

ENV = "sdar/ALFWorld-v0"
ENV_CONFIG = {"games": "generated", "scene": "small", "max_steps": 2}


@pytest.fixture
def env() -> Iterator[TextEnv]:
    env = make_env(ENV, ENV_CONFIG)
    yield env
    env.close()


def test_a_chosen_panel_is_named_after_its_split_and_size_and_balanced(env: TextEnv) -> None:
    panel = build_panel(ENV, env, EvaluationSettings(split="valid_unseen", tasks=12))
    assert (panel.name, panel.env_id) == ("valid_unseen-12", ENV)
    assert all(task_id.startswith("small/valid_unseen/") for task_id in panel.task_ids)
    assert set(Counter(env.task_type(task_id) for task_id in panel.task_ids).values()) == {2}
    assert build_panel(ENV, env, EvaluationSettings(split="valid_unseen", tasks=12, seed=5)) == panel


def test_a_panel_has_no_more_tasks_than_its_split(env: TextEnv) -> None:
    panel = build_panel(ENV, env, EvaluationSettings(tasks=10_000))
    assert panel.task_ids == tuple(sorted(env.task_ids("valid_seen")))
    assert panel.name == f"valid_seen-{len(panel.task_ids)}"


def test_a_frozen_panel_is_read_from_its_file(env: TextEnv, tmp_path: Path) -> None:
    frozen = freeze_panel("mine", ENV, env.task_ids("train")[:50], 5)
    frozen.save(tmp_path / "panel.json")
    assert build_panel(ENV, env, EvaluationSettings(panel=str(tmp_path / "panel.json"), tasks=99)) == frozen


def test_a_panel_that_does_not_fit_is_refused(env: TextEnv, tmp_path: Path) -> None:
    path = tmp_path / "panel.json"
    freeze_panel("mine", "sdar/WebShop-v0", ["a"], 1).save(path)
    with pytest.raises(ValueError, match=r"panel\.json was made for sdar/WebShop-v0, not for sdar/ALFWorld-v0"):
        build_panel(ENV, env, EvaluationSettings(panel=str(path)))
    with pytest.raises(PanelError, match="not a readable task panel"):
        build_panel(ENV, env, EvaluationSettings(panel=str(tmp_path / "missing.json")))
    with pytest.raises(TaskNotFoundError, match="Unknown split 'test'"):
        build_panel(ENV, env, EvaluationSettings(split="test"))


def test_every_task_is_asked_once_in_a_group_of_its_own(env: TextEnv) -> None:
    panel = build_panel(ENV, env, EvaluationSettings(tasks=6))
    requests = panel_requests(panel, seed=3)
    assert [request.task_id for request in requests] == list(panel.task_ids)
    assert [request.group_id for request in requests] == list(range(6))
    assert {(request.member, request.seed) for request in requests} == {(0, 3)}


def run_of(**evaluation: object) -> RunConfig:
    return RunConfig(
        name="test",
        env=ENV,
        env_config=ENV_CONFIG,
        policy=PolicySettings(),
        rollout=RolloutSettings(prompt="compact", think=False, max_response_tokens=4),
        evaluation=replace(EvaluationSettings(tasks=40, temperature=1.0), **evaluation),
    )


def test_a_saved_policy_plays_a_panel_the_same_every_time(policy_folder: Path) -> None:
    progress: list[tuple[int, int]] = []
    summary, episodes = play_panel(run_of(), str(policy_folder), lambda done, total: progress.append((done, total)))
    assert progress == [(32, 40), (40, 40)]
    panel = build_panel(ENV, make_env(ENV, ENV_CONFIG), run_of().evaluation)
    assert tuple(episode.task_id for episode in episodes) == panel.task_ids
    context = context_of_result(run_of().rollout, run_of().evaluation)
    assert summary == summarize(episodes, panel, 1.0, 0, False) | context
    again, same = play_panel(run_of(), str(policy_folder))
    assert again == summary
    assert [episode.to_json() for episode in same] == [episode.to_json() for episode in episodes]
    _, others = play_panel(run_of(seed=1), str(policy_folder))
    assert [episode.to_json() for episode in others] != [episode.to_json() for episode in episodes]


def test_the_teacher_is_measured_with_the_skills_in_its_prompt(policy_folder: Path) -> None:
    _, plain = play_panel(run_of(tasks=3), str(policy_folder))
    summary, skilled = play_panel(run_of(tasks=3, with_skills=True), str(policy_folder))
    assert summary["with_skills"] is True
    for without, with_ in zip(plain, skilled, strict=True):
        assert with_.turns[0].prompt_tokens > without.turns[0].prompt_tokens
        assert with_.sequence_of(0).teacher_ids is None


def test_a_base_is_measured_without_and_with_skills(policy_folder: Path) -> None:
    progress: list[tuple[int, int]] = []
    measured = measure_skills(run_of(tasks=3), str(policy_folder), lambda done, total: progress.append((done, total)))
    assert progress == [(3, 6), (6, 6)]
    assert measured["without_skills"] == play_panel(run_of(tasks=3), str(policy_folder))[0]
    assert measured["with_skills"]["with_skills"] is True
    assert measured["accepted"] is False


@pytest.mark.parametrize(
    ("plain", "skilled", "accepted"),
    [(0.2, 0.91, True), (0.4, 1.0, True), (0.19, 0.95, False), (0.41, 0.95, False), (0.3, 0.9, False)],
)
def test_a_base_is_weak_without_skills_and_strong_with_them(
    plain: float, skilled: float, accepted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def play(run: RunConfig, model: str, report: object) -> tuple[dict[str, float], list[object]]:
        return {"success": skilled if run.evaluation.with_skills else plain}, []

    monkeypatch.setattr(tiny_acceptance, "play_panel", play)
    assert measure_skills(run_of(), "any")["accepted"] is accepted

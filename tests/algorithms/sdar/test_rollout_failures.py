"""A task that raises costs its group, up to a limit; messages are the same with and without remote runners."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from faulty_env import ENV, register_faulty  # pyright: ignore[reportMissingImports]
from tiny_runs import remote, small_config  # pyright: ignore[reportMissingImports]

from sdar_gym.algorithms.sdar import SDAR, SDARConfig
from sdar_gym.algorithms.sdar.rollout_dispatcher import RolloutError
from sdar_gym.evaluation.panels import panel_requests

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_instance", "clean_registry")]
Build = Callable[[SDARConfig], SDAR]
PLACES = [0, pytest.param(2, marks=pytest.mark.slow)]


def faulty(runners: int, *, max_failed_tasks: int = 20, prompt: str = "compact", **env: Any) -> SDARConfig:
    register_faulty()
    config = small_config(tasks_per_iteration=4, group_size=2).environment(ENV, env_config=env)
    config.rollout_settings = replace(config.rollout_settings, max_failed_tasks=max_failed_tasks, prompt=prompt)
    return remote(config, runners=runners)


@pytest.mark.parametrize(
    ("fault", "runners"), [("reset", 0), ("step", 0), pytest.param("step", 2, marks=pytest.mark.slow)]
)
def test_a_task_that_raises_costs_its_group_and_not_the_update(build: Build, fault: str, runners: int) -> None:
    algorithm = build(faulty(runners, fault=fault, every=2))
    result = algorithm.train()["env_runners"]
    failed = [episode for episode in algorithm.last_episodes if episode.error]
    assert 0 < len(failed) == result["failed_episodes"] < 8
    assert result["dropped_episodes"] == 0 and result["turns"] > 0
    assert len(algorithm.failed_tasks) == len({episode.task_id for episode in failed})
    where = "reset" if fault == "reset" else r"turn 1, action '.*'"
    pattern = rf"Task 'small/train/\d+', {where}: RuntimeError: the room has no floor"
    assert all(re.fullmatch(pattern, message) for message in algorithm.failed_tasks.values())


def test_more_failed_tasks_than_allowed_end_the_run_with_the_reason(build: Build) -> None:
    algorithm = build(faulty(0, fault="step", every=2, max_failed_tasks=0))
    message = (
        r"task\(s\) failed; rollout.max_failed_tasks allows 0. Task 'small/train/\d+', turn 1, action '.*': Runtime"
    )
    with pytest.raises(RolloutError, match=message):
        algorithm.train()


@pytest.mark.parametrize("runners", PLACES)
def test_an_evaluation_names_a_task_that_raises_at_once(build: Build, runners: int) -> None:
    algorithm = build(faulty(runners, fault="reset", splits_at_fault="valid_seen"))
    with pytest.raises(RolloutError, match=r"Panel '.*' cannot be played. Task 'small/valid_seen/\d+', reset: Runtime"):
        algorithm.evaluate()


@pytest.mark.parametrize("runners", PLACES)
def test_a_runner_that_cannot_play_is_no_outage(build: Build, runners: int) -> None:
    algorithm = build(faulty(runners, fault="none"))
    with pytest.raises(RolloutError, match=r"^AttributeError: 'NoneType' object has no attribute 'max_tokens'"):
        algorithm._dispatcher.collect(
            panel_requests(algorithm.panel, 0), None, 1, skills_in_prompt=False, teacher_prompts=True
        )


def test_an_overlong_task_is_skipped_and_counted(build: Build) -> None:
    config = faulty(0, fault="long", every=4, prompt="window")
    config.rollout_settings = replace(config.rollout_settings, max_prompt_tokens=900)
    algorithm = build(config)
    result = algorithm.train()["env_runners"]
    skipped = [episode for episode in algorithm.last_episodes if not episode.turns]
    assert len(skipped) == result["prompt_too_long"] == result["dropped_episodes"] > 0
    assert all(int(episode.task_id.rpartition("/")[2]) % 4 == 0 for episode in skipped)


def test_an_update_in_which_nothing_can_be_compared_ends_the_run(build: Build) -> None:
    algorithm = build(faulty(0, fault="reset"))
    with pytest.raises(RolloutError, match=r"Update 1 has no group of two.*error \(8\).*the room has no floor"):
        algorithm.train()

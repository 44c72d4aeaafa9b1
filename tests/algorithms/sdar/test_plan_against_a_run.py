"""The tokens of a plan against those that a run measured: the same episodes, played again without the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sdar_gym.algorithms.sdar import SDAR, SDARConfig
from sdar_gym.configs import load_config
from sdar_gym.plan.plan import tokens_of_update
from sdar_gym.plan.scripted_play import play_scripted
from sdar_gym.plan.work import passes_of, update_work
from sdar_gym.rollout.trajectory import Episode

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_instance")]


class Replay:
    """Chooses the actions of a finished episode."""

    def __init__(self, episode: Episode):
        self._actions = iter([turn.action for turn in episode.turns])

    def begin(self, env: Any, observation: str, info: dict[str, Any]) -> None: ...

    def act(self, observation: str, info: dict[str, Any]) -> str:
        return next(self._actions)


def test_a_replayed_update_has_the_tokens_that_the_run_measured(build: Callable[[SDARConfig], SDAR]) -> None:
    changes = ["training.tasks_per_iteration=2", "training.objective.kl_coeff=0.01", "evaluation.interval=0"]
    run = load_config("quickstart", [*changes, "evaluation.tasks=2", "evaluation.teacher_tasks=0"])
    algorithm = build(SDARConfig.from_run(run).debugging(log_level="ERROR"))
    measured = algorithm.train()["env_runners"]
    episodes = algorithm.last_episodes
    assert len(episodes) == 8
    turns = sum(len(episode.turns) for episode in episodes)
    passes = passes_of(run.objective, old_logp=run.training.old_logp, epochs=1, recomputed=False)

    # The episodes' own tokens are counted exactly.
    own = tokens_of_update(update_work(episodes), passes)
    assert own["prefill"] == pytest.approx(measured["prompt_tokens_mean"] * turns)
    assert own["decode"] == measured["response_tokens"]
    assert own["gradient"] == own["reference scores"] == own["prefill"] + own["decode"]

    # Without the model, the same actions give the same prompts for student and teacher.
    replayed = [
        play_scripted(run, Replay(episode), [episode.task_id], response_tokens=1)[0]  # pyright: ignore[reportArgumentType]
        for episode in episodes
    ]
    for played, episode in zip(replayed, episodes, strict=True):
        assert [len(one.prompt_ids) for one in played.sequences] == [len(one.prompt_ids) for one in episode.sequences]
        assert [len(one.teacher_ids or []) - len(one.ids) for one in played.sequences] == [
            len(one.teacher_ids or []) - len(one.ids) for one in episode.sequences
        ]
    planned = tokens_of_update(update_work(replayed), passes)
    assert planned["prefill"] == own["prefill"]
    # Sampled actions may be spelled in more tokens than the tokenizer needs.
    for part in ("decode", "gradient", "teacher scores"):
        assert planned[part] == pytest.approx(own[part], rel=0.03)

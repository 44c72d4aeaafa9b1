"""Panels: fixed evaluation sets, chosen for a run and played without Ray."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sdar_gym.configs.schema import RunConfig
from sdar_gym.configs.sections import EvaluationSettings
from sdar_gym.envs.tasks import TaskPanel, load_panel, split_panel
from sdar_gym.envs.text_env import TextEnv
from sdar_gym.evaluation.summary import context_of_result, summarize
from sdar_gym.paths import local_path
from sdar_gym.policy.context_length import context_length
from sdar_gym.policy.device import choose_device
from sdar_gym.policy.load import load_model_config, load_tokenizer
from sdar_gym.policy.sizing import default_evaluation_batch
from sdar_gym.rollout.build import build_collector, build_retriever
from sdar_gym.rollout.collector import EpisodeRequest
from sdar_gym.rollout.engines.base import SamplingParams
from sdar_gym.rollout.engines.registry import EngineSpec, build_engine
from sdar_gym.rollout.environments import make_env
from sdar_gym.rollout.trajectory import Episode
from sdar_gym.text import shortened


def build_panel(env_id: str, env: TextEnv, settings: EvaluationSettings) -> TaskPanel:
    """The panel that the settings name, or the one chosen from a split.

    Raises:
        ValueError: The panel's file is damaged or belongs to another environment, or the split has no tasks.
    """
    if settings.panel is not None:
        panel = load_panel(local_path("evaluation.panel", settings.panel))
        if panel.env_id != env_id:
            raise ValueError(f"Panel {settings.panel} was made for {shortened(panel.env_id)[1:-1]}, not for {env_id}.")
        return panel
    split = settings.split or env.splits[min(1, len(env.splits) - 1)]
    return split_panel(env_id, env, split, settings.tasks)


def panel_requests(panel: TaskPanel, seed: int, repeats: int = 1) -> list[EpisodeRequest]:
    """The episodes of an evaluation; the draws depend on the seed alone.

    Args:
        panel: The tasks.
        seed: Seed of the draws.
        repeats: Episodes of each task, the members of its group.
    """
    return [
        EpisodeRequest(task_id, number, member, seed)
        for number, task_id in enumerate(panel.task_ids)
        for member in range(repeats)
    ]


class PanelPlayer:
    """Plays tasks of a run's panel with a saved policy, in this process; a context manager.

    Args:
        run: Determines environment, prompt, panel and sampling.
        model_name: The policy.

    Attributes:
        panel: The panel.

    Raises:
        ValueError: A setting, the panel or the policy is invalid.
    """

    def __init__(self, run: RunConfig, model_name: str):
        self._run = run
        device = choose_device(run.policy.device)
        env = make_env(run.env, run.env_config)
        self.panel = build_panel(run.env, env, run.evaluation)
        env.close()
        retriever = build_retriever(run.env, run.skills)
        tokenizer = load_tokenizer(model_name)
        rollout = run.rollout.within(context_length(load_model_config(model_name)))
        # A saved policy has its adapters merged.
        policy = replace(run.policy, model=model_name, lora=None)
        self._engine = build_engine(EngineSpec(policy=policy, rollout=rollout, device=device, tokenizer=tokenizer))
        self._collector = build_collector(
            self._engine,
            tokenizer,
            run.env,
            run.env_config,
            rollout,
            retriever,
            teacher_prompts=False,
            skills_in_prompt=run.evaluation.with_skills,
        )
        self._params = SamplingParams(
            run.rollout.max_response_tokens, run.evaluation.temperature, run.evaluation.top_p, run.evaluation.top_k
        )
        self._batch = run.evaluation.batch_size or default_evaluation_batch(device)

    def requests(self) -> list[EpisodeRequest]:
        """The episodes of the evaluation."""
        return panel_requests(self.panel, self._run.evaluation.seed, self._run.evaluation.repeats)

    def play(
        self, requests: Sequence[EpisodeRequest], report: Callable[[int, int], None] = lambda done, total: None
    ) -> list[Episode]:
        """Plays episodes, in batches.

        Args:
            requests: What to play.
            report: Called with the numbers of finished and of all episodes.

        Raises:
            ValueError: A task raised an error.
        """
        episodes: list[Episode] = []
        for start in range(0, len(requests), self._batch):
            episodes += self._collector.collect(requests[start : start + self._batch], self._params)
            failed = next((episode for episode in episodes if episode.error), None)
            if failed is not None:
                raise ValueError(f"Panel {self.panel.name!r} cannot be played. {failed.error}")
            report(len(episodes), len(requests))
        return episodes

    def summary(self, episodes: Sequence[Episode]) -> dict[str, Any]:
        """The result of an evaluation, with the settings that it depends on."""
        settings = self._run.evaluation
        result = summarize(episodes, self.panel, settings.temperature, settings.seed, settings.with_skills)
        return {**result, **context_of_result(self._run.rollout, settings)}

    def __enter__(self) -> PanelPlayer:
        return self

    def __exit__(self, *_: object) -> None:
        self._collector.close()
        self._engine.close()


def play_panel(
    run: RunConfig, model_name: str, report: Callable[[int, int], None] = lambda done, total: None
) -> tuple[dict[str, Any], list[Episode]]:
    """Plays a run's panel with a saved policy, in this process.

    Args:
        run: Determines environment, prompt, panel and sampling.
        model_name: The policy.
        report: Called with the numbers of finished and of all episodes.

    Returns:
        The summary and the episodes.

    Raises:
        ValueError: A setting, the panel or the policy is invalid, or a task raised an error.
    """
    with PanelPlayer(run, model_name) as player:
        episodes = player.play(player.requests(), report)
        return player.summary(episodes), episodes

"""The panel of a run, and playing one without Ray."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from sdar_gym.configs.schema import RunConfig
from sdar_gym.configs.settings import EvaluationSettings
from sdar_gym.envs.tasks import TaskPanel, load_panel, split_panel
from sdar_gym.envs.text_env import TextEnv
from sdar_gym.evaluation.summary import summarise, told_context
from sdar_gym.paths import local_path
from sdar_gym.policy.context_length import context_length
from sdar_gym.policy.device import choose_device
from sdar_gym.policy.load import load_model, load_tokenizer
from sdar_gym.policy.sizing import default_evaluation_batch, set_threads
from sdar_gym.rollout.build import build_collector, build_engine, build_retriever, make_env
from sdar_gym.rollout.collector import EpisodeRequest
from sdar_gym.rollout.engines.base import SamplingParams
from sdar_gym.rollout.episode import Episode
from sdar_gym.text import shortened


def build_panel(env_id: str, env: TextEnv, settings: EvaluationSettings) -> TaskPanel:
    """The evaluation panel that the settings name or choose.

    Raises:
        ValueError: The panel's file is damaged or belongs to another environment, or the split has no tasks.
    """
    if settings.panel is not None:
        panel = load_panel(local_path("evaluation.panel", settings.panel))
        if panel.env_id != env_id:
            raise ValueError(f"Panel {settings.panel} was made for {shortened(panel.env_id)[1:-1]}, not for {env_id}.")
        return panel
    return split_panel(env_id, env, settings.split, settings.tasks)


def panel_requests(panel: TaskPanel, seed: int) -> list[EpisodeRequest]:
    """One episode a task; the seed alone decides the draws."""
    return [EpisodeRequest(task_id, number, 0, seed) for number, task_id in enumerate(panel.task_ids)]


def play_panel(
    run: RunConfig, model_name: str, report: Callable[[int, int], None] = lambda done, total: None
) -> tuple[dict[str, Any], list[Episode]]:
    """Play a run's panel with a saved policy, in this process.

    Args:
        run: Says environment, prompt, panel and sampling.
        model_name: The policy.
        report: Called with episodes done and asked.

    Returns:
        The summary and the episodes.

    Raises:
        ValueError: A setting, the panel or the policy is wrong.
    """
    device = choose_device(run.policy.device)
    env = make_env(run.env, run.env_config)
    panel = build_panel(run.env, env, run.evaluation)
    env.close()
    retriever = build_retriever(run.env, run.skills)
    tokenizer = load_tokenizer(model_name)
    model = load_model(model_name, run.policy.dtype)
    rollout = run.rollout.within(context_length(model.config))
    torch.nn.Module.to(model, device)
    set_threads(run.policy.torch_threads, model, 1)
    engine = build_engine(model, tokenizer, rollout)
    collector = build_collector(
        engine,
        tokenizer,
        run.env,
        run.env_config,
        rollout,
        retriever,
        teacher_prompts=False,
        skills_in_prompt=run.evaluation.with_skills,
    )
    params = SamplingParams(run.rollout.max_response_tokens, run.evaluation.temperature)
    requests = panel_requests(panel, run.evaluation.seed)
    episodes: list[Episode] = []
    batch = run.evaluation.batch_size or default_evaluation_batch(device)
    for start in range(0, len(requests), batch):
        episodes += collector.collect(requests[start : start + batch], params)
        failed = next((episode for episode in episodes if episode.error), None)
        if failed is not None:
            raise ValueError(f"Panel {panel.name!r} cannot be played. {failed.error}")
        report(len(episodes), len(requests))
    collector.close()
    settings = run.evaluation
    result = summarise(episodes, panel, settings.temperature, settings.seed, settings.with_skills)
    return {**result, **told_context(run.rollout)}, episodes

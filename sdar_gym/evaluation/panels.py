"""Panels: fixed evaluation sets, chosen for a run and played without Ray."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sdar_gym.configs.schema import RunConfig
from sdar_gym.configs.sections import EvaluationSettings
from sdar_gym.envs.tasks import TaskPanel, load_panel, split_panel
from sdar_gym.envs.text_env import TextEnv
from sdar_gym.evaluation.summary import context_of_result, summarize, summarize_finished
from sdar_gym.paths import local_path
from sdar_gym.rollout.build import build_retriever
from sdar_gym.rollout.chat_client import ChatClient
from sdar_gym.rollout.chat_endpoint import Endpoint
from sdar_gym.rollout.collector import Collector, EpisodeRequest
from sdar_gym.rollout.engines.base import SamplingParams
from sdar_gym.rollout.environments import make_env
from sdar_gym.rollout.episode_limits import EpisodeLimits
from sdar_gym.rollout.message_context import build_message_context
from sdar_gym.rollout.trajectory import Episode
from sdar_gym.skills import Retriever
from sdar_gym.skills.lookup import skill_env_name
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


def panel_of(run: RunConfig) -> TaskPanel:
    """The panel of a configuration; see `build_panel`."""
    env = make_env(run.env, run.env_config)
    try:
        return build_panel(run.env, env, run.evaluation)
    finally:
        env.close()


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
    """Plays tasks of a run's panel with a saved policy in this process, or with one on a server; a context manager.

    Args:
        run: Determines environment, prompt, panel and sampling.
        policy: The saved policy's name, or the server; with a server no torch is needed.
        limits: Limits of each episode, beside the environment's.
        panel: The panel, if it is known already; by default the one that the settings choose.

    Attributes:
        panel: The panel.

    Raises:
        ValueError: A setting, the panel or the policy is invalid.
    """

    def __init__(
        self,
        run: RunConfig,
        policy: str | Endpoint,
        limits: EpisodeLimits | None = None,
        panel: TaskPanel | None = None,
    ):
        self._run = run
        self.panel = panel or panel_of(run)
        retriever = build_retriever(run.env, run.skills)
        self._close: Callable[[], None]
        # Episodes at once: a batch of an engine, or what a server answers side by side.
        self._batch: int | None = None
        self._at_once: int | None = None
        if isinstance(policy, Endpoint):
            self._collector, self._at_once = _remote(run, policy, retriever, limits)
            self._close = self._collector.close
        else:
            from sdar_gym.evaluation.local_policy import local_policy

            local = local_policy(run, policy, retriever, limits)
            self._collector, self._batch, self._close = local.collector, local.batch, local.close
        self._params = SamplingParams(
            run.rollout.max_response_tokens, run.evaluation.temperature, run.evaluation.top_p, run.evaluation.top_k
        )

    def requests(self) -> list[EpisodeRequest]:
        """The episodes of the evaluation."""
        return panel_requests(self.panel, self._run.evaluation.seed, self._run.evaluation.repeats)

    def play(
        self,
        requests: Sequence[EpisodeRequest],
        report: Callable[[int, int], None] = lambda done, total: None,
        *,
        finished: Callable[[Episode], None] = lambda episode: None,
        keep_failed: bool = False,
    ) -> list[Episode]:
        """Plays episodes: with an engine in batches, with a server as many at once as it has connections.

        Args:
            requests: What to play.
            report: Called with the numbers of finished and of all episodes.
            finished: Called with each episode at its end.
            keep_failed: Whether episodes with an error are returned; by default the first one ends the evaluation.

        Raises:
            ValueError: A task raised an error and `keep_failed` is false, or the server cannot be used.
        """
        episodes: list[Episode] = []
        size = self._batch or max(1, len(requests))
        for start in range(0, len(requests), size):
            batch = requests[start : start + size]
            episodes += self._collector.collect(batch, self._params, at_once=self._at_once, finished=finished)
            failed = next((episode for episode in episodes if episode.error), None)
            if failed is not None and not keep_failed:
                raise ValueError(f"Panel {self.panel.name!r} cannot be played. {failed.error}")
            report(len(episodes), len(requests))
        return episodes

    def summary(self, episodes: Sequence[Episode]) -> dict[str, Any]:
        """The result of an evaluation, with the settings that it depends on."""
        settings = self._run.evaluation
        result = summarize(episodes, self.panel, settings.temperature, settings.seed, settings.with_skills)
        return {**result, **context_of_result(self._run.rollout, settings)}

    def summary_of_finished(self, episodes: Sequence[Episode]) -> dict[str, Any]:
        """The result of an evaluation in which episodes may have failed; see `summarize_finished`."""
        settings = self._run.evaluation
        result = summarize_finished(
            episodes, self.panel, settings.repeats, settings.temperature, settings.seed, settings.with_skills
        )
        return {**result, **context_of_result(self._run.rollout, settings)}

    def __enter__(self) -> PanelPlayer:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()


def _remote(
    run: RunConfig, endpoint: Endpoint, retriever: Retriever, limits: EpisodeLimits | None
) -> tuple[Collector, int]:
    """The collector of a policy on a server, and how many episodes it plays at once."""
    client = ChatClient(endpoint, needs_counts=limits is not None and limits.tokens is not None)
    collector = Collector(
        client,
        None,
        lambda: make_env(run.env, run.env_config),
        build_message_context(run.env, run.env_config, run.rollout),
        retriever,
        skill_env_name(run.env),
        teacher_prompts=False,
        skills_in_prompt=run.evaluation.with_skills,
        episode_limits=limits,
    )
    return collector, endpoint.max_connections


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

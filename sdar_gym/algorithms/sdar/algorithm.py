"""The SDAR algorithm: hands out groups of tasks, collects their episodes, updates the learners, syncs the weights."""

# RLlib declares most of what its classes get at run time as optional or not at all.
# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false, reportOptionalSubscript=false
# pyright: reportArgumentType=false, reportIncompatibleMethodOverride=false, reportPrivateImportUsage=false
# pyright: reportOperatorIssue=false, reportAssignmentType=false

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, LEARNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME

from sdar_gym.algorithms.sdar.batch import prepare_batch
from sdar_gym.algorithms.sdar.config import SDARConfig
from sdar_gym.algorithms.sdar.learner import STEP
from sdar_gym.envs.tasks import TaskPanel
from sdar_gym.evaluation.panels import build_panel, panel_requests
from sdar_gym.evaluation.summary import summarise
from sdar_gym.policy.load import load_model, load_tokenizer
from sdar_gym.rollout.build import make_env, pad_id
from sdar_gym.rollout.collector import EpisodeRequest
from sdar_gym.rollout.engines.base import SamplingParams
from sdar_gym.rollout.episode import Episode
from sdar_gym.rollout.sampler import TaskSampler

# How long a run waits for a lost env runner where there is no other one.
_RESTART_SECONDS = 600.0
# What a lost env runner should have played of a panel is played by the others.
_EVALUATION_ATTEMPTS = 3


class SDAR(Algorithm):
    """Group-relative policy optimisation with gated self-distillation, and its relatives, as an RLlib algorithm."""

    @classmethod
    def get_default_config(cls) -> SDARConfig:
        """The defaults: the published method on whatever environment is set."""
        return SDARConfig()

    def setup(self, config: Any) -> None:
        """Build runners and learners; freeze the training tasks and the evaluation panel."""
        super().setup(config)
        env = make_env(str(self.config.env), self.config.env_config)
        self._sampler = TaskSampler(env.task_ids(), self.config.seed_or_zero)
        self._panel = build_panel(str(self.config.env), env, self.config.panel_settings)
        env.close()
        self._pad_id = pad_id(load_tokenizer(self.config.policy_settings.model))
        self.last_episodes: list[Episode] = []
        self.last_evaluation: list[Episode] = []

    @property
    def panel(self) -> TaskPanel:
        """The frozen evaluation panel."""
        return self._panel

    def training_step(self) -> None:
        """One update: episodes, advantages, gradient steps, new weights."""
        config: SDARConfig = self.config
        step = self.training_iteration
        started = time.perf_counter()
        requests = [
            EpisodeRequest(task_id, group, member, config.seed_or_zero * 1_000_003 + step)
            for group, task_id in enumerate(self._sampler.take(step, config.tasks_per_iteration))
            for member in range(config.group_size)
        ]
        settings = config.rollout_settings
        params = SamplingParams(settings.max_response_tokens, settings.temperature)
        episodes = self._collect(requests, params, config.group_size, skills_in_prompt=False)
        self.last_episodes = episodes
        self._log(ENV_RUNNER_RESULTS, _rollout_metrics(episodes, len(requests)))
        steps = sum(episode.env_steps() for episode in episodes)
        self.metrics.log_value((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), steps, reduce="lifetime_sum")
        collected = time.perf_counter()
        if self._update(episodes, step):
            self.env_runner_group.sync_weights(
                from_worker_or_learner_group=self.learner_group, inference_only=True, timeout_seconds=None
            )
        finished = time.perf_counter()
        self._log("seconds", {"rollout": collected - started, "update": finished - collected})

    def evaluate(self, parallel_train_future: Any = None) -> dict[str, Any]:
        """Play the frozen panel with the present weights.

        Returns:
            Success with a 95 % interval, over all and by task type, with the panel's name and hash.
        """
        settings = self.config.panel_settings
        requests = panel_requests(self._panel, settings.seed)
        params = SamplingParams(self.config.rollout_settings.max_response_tokens, settings.temperature)
        played: dict[int, Episode] = {}
        for _ in range(_EVALUATION_ATTEMPTS):
            self.env_runner_group.sync_weights(
                from_worker_or_learner_group=self.learner_group, inference_only=True, timeout_seconds=None
            )
            left = [request for request in requests if request.group_id not in played]
            episodes = self._collect(left, params, 1, skills_in_prompt=settings.with_skills)
            played |= {episode.group_id: episode for episode in episodes}
            if len(played) == len(requests):
                break
        self.last_evaluation = [played[number] for number in sorted(played)]
        return summarise(self.last_evaluation, self._panel, settings.temperature, settings.seed, settings.with_skills)

    def export_policy(self, folder: str | Path) -> None:
        """Save the policy in the form that `transformers` and vLLM load."""
        module = self.learner_group.get_state(components="learner/rl_module")["learner"]["rl_module"]
        model = load_model(self.config.policy_settings.model, self.config.policy_settings.dtype)
        weights = {name.removeprefix("model."): value for name, value in module[DEFAULT_MODULE_ID].items()}
        model.load_state_dict(weights)
        model.save_pretrained(folder)
        load_tokenizer(self.config.policy_settings.model).save_pretrained(folder)

    @classmethod
    def _should_create_evaluation_env_runners(cls, eval_config: Any) -> bool:
        """The panel is played by the training runners: an evaluation runner would be one more copy of the model."""
        return False

    def _collect(
        self, requests: Sequence[EpisodeRequest], params: SamplingParams, group_size: int, *, skills_in_prompt: bool
    ) -> list[Episode]:
        """Deal whole groups out to the runners, in turn; episodes of a runner that fails are lost and counted."""
        group = self.env_runner_group
        if group.local_env_runner is not None and not group.healthy_worker_ids():
            return group.local_env_runner.collect(requests, params, skills_in_prompt)
        ids = self._wait_for_runners()
        shares: dict[int, list[EpisodeRequest]] = {worker: [] for worker in ids}
        for number in range(0, len(requests), group_size):
            worker = ids[(number // group_size) % len(ids)]
            shares[worker].extend(requests[number : number + group_size])
        results = group.foreach_env_runner(
            ["collect"] * len(ids),
            kwargs=[
                {"requests": shares[worker], "params": params, "skills_in_prompt": skills_in_prompt} for worker in ids
            ],
            local_env_runner=False,
            remote_worker_ids=ids,
        )
        episodes = [episode for result in results for episode in result]
        return sorted(episodes, key=lambda episode: (episode.group_id, int(episode.episode_id.split("/")[1])))

    def _wait_for_runners(self) -> list[int]:
        """Remote runners that can play; where all were lost, the first that comes back, with the present weights."""
        group = self.env_runner_group
        deadline = time.monotonic() + _RESTART_SECONDS
        while not group.healthy_worker_ids():
            if time.monotonic() > deadline:
                raise RuntimeError(f"All env runners were lost, and none came back within {_RESTART_SECONDS:g} s.")
            time.sleep(0.5)
            self.restore_env_runners(group)
        return group.healthy_worker_ids()

    def _update(self, episodes: Sequence[Episode], step: int) -> bool:
        config: SDARConfig = self.config
        learners = max(1, config.num_learners)
        if not episodes:
            return False
        objective = config.get_objective()
        batch = prepare_batch(
            episodes,
            objective,
            teacher=objective.needs_teacher_at(step),
            invalid_action_penalty=config.invalid_action_penalty,
            row_multiple=learners * config.num_minibatches,
            pad_id=self._pad_id,
            shuffle_seed=f"sdar-gym rows {config.seed_or_zero} {step}",
        )
        rows = len(next(iter(batch.columns.values())))
        results = self.learner_group.update(
            training_data=TrainingData(
                batch=MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch(batch.columns)}, env_steps=batch.turns)
            ),
            timesteps={
                STEP: step,
                NUM_ENV_STEPS_SAMPLED_LIFETIME: self.metrics.peek(
                    (ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0
                ),
            },
            num_epochs=config.num_epochs,
            minibatch_size=rows // (learners * config.num_minibatches),
        )
        self.metrics.aggregate(results, key=LEARNER_RESULTS)
        self._log(
            ENV_RUNNER_RESULTS,
            {**batch.metrics, "turns": batch.turns, "rows": batch.rows, "answer_tokens": batch.tokens},
        )
        return True

    def _log(self, key: str, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.metrics.log_value((key, name), float(value), window=1)


def _rollout_metrics(episodes: Sequence[Episode], asked: int) -> dict[str, float]:
    turns = [turn for episode in episodes for turn in episode.turns]
    by_type: defaultdict[str, list[float]] = defaultdict(list)
    for episode in episodes:
        by_type[episode.task_type].append(float(episode.won))
    served = [episode for episode in episodes if episode.skills_specific is not None]
    count, rows = max(1, len(episodes)), max(1, len(turns))
    return {
        "success": sum(episode.won for episode in episodes) / count,
        "episode_turns": len(turns) / count,
        "episodes": len(episodes),
        "lost_episodes": asked - len(episodes),
        "prompt_too_long": sum(episode.ended == "prompt_too_long" for episode in episodes),
        "valid_form": sum(turn.valid_form for turn in turns) / rows,
        "valid_action": sum(turn.valid_action for turn in turns) / rows,
        "skill_coverage": sum(bool(episode.skills_specific) for episode in served) / len(served) if served else 0.0,
        **{f"success/{kind}": sum(wins) / len(wins) for kind, wins in sorted(by_type.items())},
    }

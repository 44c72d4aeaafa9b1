"""`SDAR`: an ordinary RLlib algorithm and Tune trainable, for every method."""

# RLlib declares most of what its classes get at run time as optional or not at all.
# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false, reportOptionalSubscript=false
# pyright: reportArgumentType=false, reportIncompatibleMethodOverride=false, reportPrivateImportUsage=false
# pyright: reportOperatorIssue=false, reportAssignmentType=false, reportIncompatibleVariableOverride=false
# pyright: reportReturnType=false, reportGeneralTypeIssues=false

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.callbacks.utils import make_callback
from ray.rllib.core import (
    COMPONENT_ENV_RUNNER,
    COMPONENT_ENV_TO_MODULE_CONNECTOR,
    COMPONENT_MODULE_TO_ENV_CONNECTOR,
    DEFAULT_MODULE_ID,
)
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    EPISODE_LEN_MEAN,
    EPISODE_RETURN_MEAN,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
)
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from sdar_gym.algorithms.sdar.config import SDARConfig
from sdar_gym.algorithms.sdar.evaluation_beside import EvaluationBeside
from sdar_gym.algorithms.sdar.learner_group import OPTIMIZER_PARTS
from sdar_gym.algorithms.sdar.learner_watch import watched
from sdar_gym.algorithms.sdar.panel_evaluator import PanelEvaluator
from sdar_gym.algorithms.sdar.rollout_dispatcher import RolloutDispatcher, why_none_was_built
from sdar_gym.algorithms.sdar.rollouts import Rollouts
from sdar_gym.algorithms.sdar.trust_episodes import TrustEpisodes
from sdar_gym.envs.tasks import TaskPanel
from sdar_gym.evaluation.panels import build_panel
from sdar_gym.policy import trained_prompt
from sdar_gym.policy.load import load_tokenizer, pad_id
from sdar_gym.policy.policy_model import merged_policy
from sdar_gym.policy.saving import save_model
from sdar_gym.rollout.collector import EpisodeRequest
from sdar_gym.rollout.engines.canary import CanarySample, canary_rows, refuse_mismatch
from sdar_gym.rollout.environments import make_env
from sdar_gym.rollout.metrics import rollout_metrics, tokens_of
from sdar_gym.rollout.privileged_context import privileged_context_writer
from sdar_gym.rollout.sampler import TaskSampler
from sdar_gym.rollout.trajectory import Episode
from sdar_gym.skills import LearningRetriever
from sdar_gym.training.collate import INPUT_IDS, RESPONSE_MASK, RESPONSE_POSITION, Columns
from sdar_gym.training.diagnostics import TokenDump, collect_diagnostics
from sdar_gym.training.gap_correlation import GapAdvantageCorrelation
from sdar_gym.training.pipeline import UpdatePipeline
from sdar_gym.training.teacher_retirement import TeacherRetirement

# Component of a checkpoint with the state beside the weights.
_LEARNED = "sdar_learned"


class SDAR(Algorithm):
    """Group-relative policy optimization with gated self-distillation, and its relatives, as an RLlib algorithm.

    Attributes:
        last_episodes: The episodes of the last update.
        last_tokens: The tokens of the last update, where diagnostics were collected.
    """

    config: SDARConfig

    @classmethod
    @override(Algorithm)
    def get_default_config(cls) -> SDARConfig:
        """The defaults: the published method, without an environment."""
        return SDARConfig()

    @override(Algorithm)
    def setup(self, config: Any) -> None:
        """Builds runners, learners and the update pipeline; fixes training tasks and evaluation set.

        Raises:
            RolloutError: No remote runner could be built.
        """
        try:
            super().setup(config)
        except IndexError as error:
            if self.env_runner_group is None or self.env_runner_group.healthy_worker_ids():
                raise
            raise why_none_was_built(self.env_runner_group) from error
        config = self.config
        policy, rollout, env_id = config.policy_settings, config.rollout_settings, str(config.env)
        env = make_env(env_id, config.env_config)
        self._sampler = TaskSampler(env.task_ids(), config.seed_or_zero)
        panel = build_panel(env_id, env, config.evaluation_settings)
        env.close()
        self._tokenizer = load_tokenizer(policy.model)
        self._method = config.get_method()
        self._retriever = config.get_retriever()
        self._correlation = GapAdvantageCorrelation()
        objective = self._method.objective
        self._dispatcher = RolloutDispatcher(
            self.env_runner_group,
            self.learner_group,
            self._retriever,
            rollout,
            restore=self.restore_env_runners,
            check=self._check_engine,
        )
        self._retirement = TeacherRetirement(objective)
        self._trust_episodes = TrustEpisodes(self._dispatcher, objective, rollout)
        self._rollouts = Rollouts(
            self._dispatcher,
            self._trust_episodes,
            self._requests,
            group_size=config.training_settings.group_size,
            skills_in_prompt=self._method.acts_with_skills,
            max_staleness=config.training_settings.max_staleness,
            iterations=config.training_settings.iterations,
        )
        panel_dispatcher = self._dispatcher
        if self.eval_env_runner_group is not None:
            panel_dispatcher = RolloutDispatcher(
                self.eval_env_runner_group,
                self.learner_group,
                self._retriever,
                rollout,
                restore=self.restore_env_runners,
                check=self._check_engine,
            )
        self._evaluator = PanelEvaluator(
            panel, panel_dispatcher, config.evaluation_settings, rollout, objective.teacher
        )
        self._beside = None
        if self.eval_env_runner_group is not None:
            self._beside = EvaluationBeside(self._evaluator, panel_dispatcher)
        self.pipeline = UpdatePipeline(
            objective,
            self._score,
            pad_id=pad_id(self._tokenizer),
            invalid_action_penalty=config.training_settings.invalid_action_penalty,
            old_logp=config.training_settings.old_logp,
            importance_correction=config.training_settings.correction,
            importance_cap=config.training_settings.importance_cap,
            writer=privileged_context_writer(objective.teacher, self._tokenizer, env_id, config.env_config, rollout),
            dtype=torch.float64 if policy.dtype == "float64" else torch.float32,
            tokenizer=self._tokenizer,
        )
        # As on RLlib's env runners: what `on_episode_end` logs comes under `env_runners`.
        self._episode_metrics = MetricsLogger(root=False, stats_cls_lookup=config.stats_cls_lookup)
        self.last_episodes: list[Episode] = []
        self.last_tokens: TokenDump | None = None
        self._stepping = False

    @property
    def panel(self) -> TaskPanel:
        """The fixed evaluation set."""
        return self._evaluator.panel

    @property
    def last_evaluation(self) -> list[Episode]:
        """The episodes of the last evaluation."""
        return self._evaluator.last_episodes

    @property
    def failed_tasks(self) -> dict[str, str]:
        """Tasks in which the environment raised an error, with the error."""
        return self._dispatcher.failed_tasks

    @property
    def tokenizer(self) -> Any:
        """The policy's tokenizer."""
        return self._tokenizer

    @override(Algorithm)
    def step(self) -> Any:
        """One update and RLlib's result of it, with the last evaluation under `panel`.

        Schedulers of Tune need their metric in every result, evaluated or not.

        Raises:
            LearnersLostError: A remote learner died; the weights of the last checkpoint have to be restored.
        """
        self._stepping = True
        try:
            with watched(self.learner_group):
                result = super().step()
        finally:
            self._stepping = False
        return result | {"panel": {"success": float("nan"), "update": float("nan")} | self._evaluator.latest}

    @override(Algorithm)
    def training_step(self) -> None:
        """One update: play episodes, prepare -> score -> shape -> collate, take gradient steps, send the weights."""
        config, step = self.config, self.training_iteration
        ahead, started = config.training_settings.max_staleness > 0, time.perf_counter()
        with self.metrics.log_time((TIMERS, ENV_RUNNER_SAMPLING_TIMER)):
            rollout = self._rollouts.take(step)
            episodes = rollout.episodes
            trusted = self._trust_episodes.weigh(episodes, rollout.trust)
        self._log_episodes(episodes, rollout.requested)
        if ahead:
            self._log(ENV_RUNNER_RESULTS, rollout.staleness(step))

        with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)):
            diagnostics = self._collects_diagnostics(step)
            batch = self._retirement.without_retired(self.pipeline.prepare(episodes, step))
            batch = self.pipeline.score(batch, step, diagnostics=diagnostics)
            self._log("teacher", self._retirement.observe(batch))
            batch = self.pipeline.shape(batch, step)
            if trusted is not None:
                batch = batch.trusting(trusted[0])
                self._log("teacher", trusted[1])
            self.last_episodes, self.last_tokens = episodes, None
            if diagnostics:
                measured, self.last_tokens = collect_diagnostics(
                    self._method.objective, batch, self._tokenizer, self._correlation
                )
                self._log("teacher", measured)
            shards = max(1, config.num_learners) * config.training_settings.num_minibatches
            columns, rows = self.pipeline.collate(
                batch, step, row_multiple=shards, shuffle_seed=f"sdar-gym rows {config.seed_or_zero} {step}"
            )
            results = self._update_learners(columns, len(batch.turns), shards, step)
            if self.last_tokens is not None:
                self.last_tokens.values["ratio"] = self.pipeline.ratio(batch)
            self.metrics.aggregate(results, key=LEARNER_RESULTS)
            self._log((LEARNER_RESULTS, DEFAULT_MODULE_ID), batch.mismatch)
        counts = {"turns": len(batch.turns), "rows": rows, "response_tokens": batch.tokens}
        self._log(ENV_RUNNER_RESULTS, batch.metrics | counts)

        with self.metrics.log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER)):
            if not ahead:
                self._dispatcher.sync_weights()
        if isinstance(self._retriever, LearningRetriever):
            for episode in episodes:
                self._retriever.observe(episode.task_type, episode.skills, episode.score)
        seconds = {"rollout": rollout.seconds, "update": time.perf_counter() - started - rollout.waited}
        self._log("seconds", seconds | ({"rollout_wait": rollout.waited} if ahead else {}))
        faults = Counter(rollout.faults)
        if self._beside is not None:
            faults.update(self._beside.take_faults())
        self._log("faults", faults)
        self._log("speed", {"rollout_tokens_per_second": tokens_of(episodes) / max(1e-9, rollout.seconds)})

    @override(Algorithm)
    def evaluate(self, parallel_train_future: Any = None) -> dict[str, Any]:
        """Plays the fixed evaluation set with the current weights.

        Returns:
            Success with a 95 % interval, over all and by task type, with the set's name and hash.
        """
        if self._beside is not None:
            self.begin_evaluation()
            return self.finish_evaluation()[0]
        self._callback("on_evaluate_start")
        self._rollouts.pause()
        with watched(self.learner_group):
            result = self._evaluator.evaluate(self._updates_done)
        self._callback("on_evaluate_end", evaluation_metrics=result)
        return result

    @property
    def _updates_done(self) -> int:
        # Within a step, RLlib counts the update that was just done at its end.
        return self.training_iteration + int(self._stepping)

    @property
    def evaluates_beside(self) -> bool:
        """Whether there are runners for `begin_evaluation`."""
        return self._beside is not None

    @property
    def evaluation_done(self) -> bool:
        """Whether an evaluation was begun and `finish_evaluation` would not wait."""
        return self._beside is not None and self._beside.done

    def begin_evaluation(self) -> None:
        """Begins to play the evaluation set with the current weights; training may go on meanwhile.

        Raises:
            ValueError: There are no runners for it, or the one before was not finished.
        """
        self._callback("on_evaluate_start")
        with watched(self.learner_group):
            self._own_runners().begin(self._updates_done)

    def wait_for_evaluation(self) -> None:
        """Waits until `finish_evaluation` would not; an exception, such as a signal's, leaves it in progress."""
        self._own_runners().wait()

    def finish_evaluation(self) -> tuple[dict[str, Any], dict[str, float]]:
        """Waits for the evaluation that was begun.

        Returns:
            What `evaluate` gives; and the seconds that it was played (`evaluation`) and waited for (`evaluation_wait`).

        Raises:
            ValueError: None was begun.
            RolloutError: A task cannot be played.
        """
        result, seconds = self._own_runners().finish()
        self._callback("on_evaluate_end", evaluation_metrics=result)
        return result, seconds

    def _own_runners(self) -> EvaluationBeside:
        if self._beside is None:
            raise ValueError(
                "There are no runners that play beside training: set .evaluation(evaluation_num_env_runners=1), or "
                "call evaluate()."
            )
        return self._beside

    @override(Algorithm)
    def cleanup(self) -> None:
        """Ends all processes, also those that play at this moment."""
        self._rollouts.abandon()
        if self._beside is not None:
            self._beside.abandon()
        super().cleanup()

    @override(Algorithm)
    def restore_env_runners(self, env_runner_group: Any) -> list[int]:
        """RLlib's, but for runners that play at this moment: who plays with them takes them back."""
        beside = self._beside is not None and env_runner_group is self.eval_env_runner_group and self._beside.in_flight
        if beside or (env_runner_group is self.env_runner_group and self._rollouts.in_flight):
            return []
        return super().restore_env_runners(env_runner_group)

    @property
    def teacher_in_use(self) -> bool:
        """Whether a learner in this process has the teacher's weights swapped in."""
        if not self.learner_group.is_local:
            return False
        return any(result.get() for result in self.learner_group.foreach_learner(lambda each: each.teacher_in_use))

    def export_policy(self, folder: str | Path) -> None:
        """Saves the policy in the form that `transformers` and vLLM load, completely or not at all.

        Raises:
            NonFiniteError: The weights hold numbers that are not finite; nothing was written.
        """
        with watched(self.learner_group):
            module = self.learner_group.get_state(components="learner/rl_module")["learner"]["rl_module"]
        settings = self.config.policy_settings
        model = merged_policy(settings.model, settings.dtype, settings.lora, module[DEFAULT_MODULE_ID])
        record = {trained_prompt.FILE: trained_prompt.prompt_record_text(self.config.rollout_settings)}
        save_model(model, load_tokenizer(settings.model), Path(folder), record)

    def resumable_state(self) -> dict[str, Any]:
        """What `set_state` needs so that the next update is the same as without an interruption.

        Runners have no state but the weights, which they are sent. An optimizer's state that learners share is in
        parts, to be called one after the other: in this process it would be several times the model.
        """
        left_out = [COMPONENT_ENV_RUNNER, COMPONENT_ENV_TO_MODULE_CONNECTOR, COMPONENT_MODULE_TO_ENV_CONNECTOR]
        with watched(self.learner_group):
            parts = self.learner_group.optimizer_parts()
            if parts:
                left_out.append("learner_group/learner/optimizer")
            state = self.get_state(not_components=left_out)
        if parts:
            state["learner_group"]["learner"][OPTIMIZER_PARTS] = parts
        # For Tune. A run has it in its records; beside training it is not there yet when the checkpoint is written.
        state[_LEARNED].pop("latest_evaluation", None)
        return state

    @override(Algorithm)
    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """RLlib's state, and what correlation and retrieval have learned."""
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self._check_component(_LEARNED, components, not_components):
            state[_LEARNED] = {
                "gap_advantage_correlation": self._correlation.get_state(),
                "frozen_teacher": self._evaluator.frozen_teacher,
                "teacher_trust": self._trust_episodes.trust.get_state(),
                "teacher_retirement": self._retirement.get_state(),
                "latest_evaluation": self._evaluator.latest,
            }
            ahead = self._rollouts.get_state()
            if ahead:
                state[_LEARNED]["played_ahead"] = ahead
            if isinstance(self._retriever, LearningRetriever):
                state[_LEARNED]["retriever"] = self._retriever.get_state()
        return state

    @override(Algorithm)
    def set_state(self, state: dict[str, Any]) -> None:
        """Restores a state."""
        super().set_state(state)
        if _LEARNED not in state:  # A state with other components only, as RLlib allows.
            return
        learned = state[_LEARNED]
        self._correlation.set_state(learned.get("gap_advantage_correlation", {}))
        self._evaluator.frozen_teacher = learned.get("frozen_teacher")
        self._trust_episodes.trust.set_state(learned.get("teacher_trust", {}))
        self._retirement.set_state(learned.get("teacher_retirement", {}))
        self._rollouts.set_state(learned.get("played_ahead", {}))
        self._evaluator.latest = learned.get("latest_evaluation", {})
        if "retriever" in learned and isinstance(self._retriever, LearningRetriever):
            self._retriever.set_state(learned["retriever"])

    @classmethod
    @override(Algorithm)
    def _should_create_evaluation_env_runners(cls, eval_config: Any) -> bool:
        """Only if they are asked for: one more copy of the model. Else the training runners play the evaluation set."""
        return eval_config.evaluation_num_env_runners > 0

    def _requests(self, step: int) -> list[EpisodeRequest]:
        """The episodes of an update: whole groups, by the seed and the update's number."""
        settings, seed = self.config.training_settings, self.config.seed_or_zero * 1_000_003 + step
        return [
            EpisodeRequest(task_id, group, member, seed)
            for group, task_id in enumerate(self._sampler.take(step, settings.tasks_per_iteration))
            for member in range(settings.group_size)
        ]

    def _collects_diagnostics(self, step: int) -> bool:
        """Per-token diagnostics are collected in the first and last update and in each one before an evaluation."""
        interval = self.config.evaluation_settings.interval
        last = step + 1 == self.config.training_settings.iterations
        return step == 0 or last or bool(interval and (step + 1) % interval == 0)

    def _score(self, columns: Columns, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """Scores columns on the learners, each on its shard of the rows."""
        group = self.learner_group
        if group.is_local:
            [result] = group.foreach_learner(lambda learner: learner.score(columns=columns, names=names))
            return result.get()
        scores: dict[str, torch.Tensor] = {}
        rows = len(next(iter(columns.values())))
        shared = ray.put(columns)
        for result in group.foreach_learner(lambda learner: learner.score_shard(ray.get(shared), names)):
            rank, part = result.get()
            for name, value in part.items():
                whole = scores.setdefault(name, value.new_zeros((rows, value.shape[1])))
                whole[rank :: len(group)] = value
        return scores

    def _check_engine(self, version: int, samples: Sequence[CanarySample]) -> None:
        """Scores an engine's samples with the learner.

        Raises:
            EngineMismatchError: The engine gives them other log-probabilities.
        """
        # No learner is without a row.
        samples = [samples[row % len(samples)] for row in range(max(len(samples), self.config.num_learners))]
        ids, positions, mask = canary_rows(samples, pad_id(self._tokenizer))
        columns = {INPUT_IDS: ids, RESPONSE_POSITION: positions, RESPONSE_MASK: mask}
        logp_BT = self._score(columns, ("student",))["student"]
        refuse_mismatch(samples, logp_BT, self.config.rollout_settings.engine, version)

    def _update_learners(self, columns: Columns, turns: int, shards: int, step: int) -> Any:
        batch = MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch(columns)}, env_steps=turns)
        key = (ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME)
        return self.learner_group.update(
            training_data=TrainingData(batch=batch),
            timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: self.metrics.peek(key, default=0)},
            num_epochs=self.config.num_epochs,
            minibatch_size=len(next(iter(columns.values()))) // shards,
            update_number=step,
        )

    def _log_episodes(self, episodes: Sequence[Episode], requested: int) -> None:
        """Logs the gym's metrics of an update's episodes, and RLlib's names for them."""
        metrics = rollout_metrics(episodes, requested)
        steps = sum(episode.env_steps() for episode in episodes)
        returns = [episode.total_reward for episode in episodes]
        rllib = {
            EPISODE_RETURN_MEAN: sum(returns) / max(1, len(returns)),
            EPISODE_LEN_MEAN: metrics["episode_turns"],
            NUM_EPISODES: len(episodes),
            NUM_ENV_STEPS_SAMPLED: steps,
        }
        self._log(ENV_RUNNER_RESULTS, metrics | rllib)
        self.metrics.log_value((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), steps, reduce="lifetime_sum")
        for index, episode in enumerate(episodes):
            self._callback(
                "on_episode_end",
                metrics_logger=self._episode_metrics,
                episode=episode,
                env_index=index,
                env_runner=None,
                env=None,
                rl_module=None,
            )
        if self._episode_metrics.stats:
            self.metrics.aggregate([self._episode_metrics.reduce()], key=ENV_RUNNER_RESULTS)

    def _callback(self, name: str, **arguments: Any) -> None:
        """Calls RLlib callbacks of the configuration."""
        make_callback(
            name,
            callbacks_objects=self.callbacks,
            callbacks_functions=getattr(self.config, f"callbacks_{name}"),
            kwargs={"algorithm": self, "metrics_logger": self.metrics, **arguments},
        )

    def _log(self, key: str | tuple[str, ...], values: Mapping[str, float]) -> None:
        path = (key,) if isinstance(key, str) else key
        for name, value in values.items():
            self.metrics.log_value((*path, name), float(value), window=1)

"""The env runner: plays the episodes that the algorithm requests, with an engine and its copy of the policy."""

# RLlib declares most of what its classes get at run time as optional or not at all.
# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false, reportOptionalSubscript=false
# pyright: reportArgumentType=false, reportIncompatibleMethodOverride=false, reportPrivateImportUsage=false
# pyright: reportOperatorIssue=false

from __future__ import annotations

import traceback
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import gymnasium
import ray
import torch
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.env import INPUT_ENV_SPACES
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils.annotations import override
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO

import sdar_gym  # noqa: F401  registers the environments in remote workers
from sdar_gym.algorithms.objectives.teacher import View
from sdar_gym.envs.registry import EnvEntry, entries, load_modules, register
from sdar_gym.envs.spaces import FreeText
from sdar_gym.faults import take_faults
from sdar_gym.policy.device import choose_device
from sdar_gym.policy.load import load_tokenizer
from sdar_gym.rollout.build import build_collector
from sdar_gym.rollout.collector import Collector, EpisodeRequest
from sdar_gym.rollout.engines.base import SamplingParams
from sdar_gym.rollout.engines.canary import CanarySample, canary_samples
from sdar_gym.rollout.engines.registry import EngineSpec, build_engine
from sdar_gym.rollout.environments import make_env
from sdar_gym.rollout.sampler import TaskSampler
from sdar_gym.rollout.trajectory import Episode

# The weights that it was built with, and the first that it was sent afterwards.
_CHECKED_VERSIONS = 2


@dataclass(frozen=True, slots=True)
class RolloutFailure:
    """An error of a runner, returned as a value.

    Attributes:
        message: Its type and message.
        trace: Its traceback.
    """

    message: str
    trace: str


@dataclass(frozen=True, slots=True)
class PlayedShare:
    """Episodes that a runner played.

    Attributes:
        ticket: Number of the share.
        process: Of the runner; another one after a restart.
        episodes: One per request, in order.
        faults: What its process survived since the share before, by name.
    """

    ticket: int
    process: str
    episodes: list[Episode]
    faults: dict[str, int]


@dataclass(frozen=True, slots=True)
class NoWeights:
    """A remote runner that has been sent no weights: Ray restarted it since they were sent.

    Attributes:
        ticket: Number of the share that it did not play.
    """

    ticket: int


class EpisodeRunner(EnvRunner, Checkpointable):
    """Plays whole episodes in batches.

    RLlib's own runners step vectors of environments through connectors; here an episode is a conversation, kept as
    tokens, and the algorithm decides which task is played: it calls `collect` with requests. It has no RLModule: the
    policy is in the engine.
    """

    def __init__(self, *, config: Any, **kwargs: Any):
        super().__init__(config=config, **kwargs)
        load_modules(self.config.imported_modules)
        _ensure_registered(self.config.env_entry)
        self._weights_seq_no = 0
        self._process = uuid4().hex
        self._has_weights = not self.worker_index
        self._checked_versions: set[int] = set()
        self._samples = 0
        policy, rollout = self.config.policy_settings, self.config.rollout_settings
        self.tokenizer = load_tokenizer(policy.model)
        gpus = self.config.num_gpus_per_env_runner if self.worker_index else None
        self.engine = build_engine(
            EngineSpec(
                policy=policy,
                rollout=rollout,
                device=choose_device(policy.device, gpus=gpus),
                tokenizer=self.tokenizer,
                processes=max(1, self.config.num_env_runners),
                # In the driver the learner is on the same GPU.
                gpu_share=0.5 if gpus is None else min(1.0, gpus),
            )
        )
        self._collectors: dict[tuple[bool, bool], Collector] = {}

    def collect(
        self,
        requests: Sequence[EpisodeRequest],
        params: SamplingParams,
        skills_in_prompt: bool = False,
        retriever_state: dict[str, Any] | None = None,
        teacher_prompts: bool = True,
    ) -> list[Episode]:
        """Plays episodes to their end.

        Args:
            requests: The episodes to play.
            params: Sampling parameters.
            skills_in_prompt: Whether the acting policy sees the skills.
            retriever_state: State of a retriever that learns.
            teacher_prompts: Whether the method's teacher will score the episodes.

        Returns:
            One episode per request, in order.
        """
        collector = self._collector(skills_in_prompt, teacher_prompts)
        if retriever_state is not None:
            collector.set_retriever_state(retriever_state)
        episodes = collector.collect(requests, params)
        self.engine.sleep()  # A learner may need the memory now.
        steps = sum(episode.env_steps() for episode in episodes)
        self.num_env_steps_sampled_lifetime += steps
        return episodes

    def try_collect(self, *, ticket: int = 0, **arguments: Any) -> PlayedShare | NoWeights | RolloutFailure:
        """`collect`, with an error returned as a value.

        RLlib treats any exception of a remote runner as a lost machine: it restarts the runner and retries, without end
        if the error follows from the input. Ray may have restarted this runner before anybody noticed, with the weights
        that a run begins with: then it does not play.

        Args:
            ticket: Number of the share, which comes back with its episodes.
            **arguments: Those of `collect`.
        """
        if not self._has_weights:
            return NoWeights(ticket)
        try:
            return PlayedShare(ticket, self._process, self.collect(**arguments), take_faults())
        except Exception as error:
            return RolloutFailure(f"{type(error).__name__}: {error}", traceback.format_exc())

    def try_canary(self) -> tuple[int, list[CanarySample]] | RolloutFailure | None:
        """Samples for the check that the engine has the learner's weights, with an error returned as a value.

        Returns:
            The version of the weights and the samples; None where this version was checked, or two others were.
        """
        version = self._weights_seq_no
        if version in self._checked_versions or len(self._checked_versions) == _CHECKED_VERSIONS:
            return None
        self._checked_versions.add(version)
        try:
            temperature = self.config.rollout_settings.temperature
            return version, canary_samples(self.engine, self.tokenizer, temperature)
        except Exception as error:
            return RolloutFailure(f"{type(error).__name__}: {error}", traceback.format_exc())

    @override(EnvRunner)
    def sample(self, *, num_episodes: int | None = None, **kwargs: Any) -> list[Episode]:
        """Plays the next tasks of the training split, in a random order, one episode each.

        The algorithm does not use this, but requests groups by `collect`; it is for users of a single runner.
        """
        env = make_env(self.config.env, self.config.env_config)
        ids = env.task_ids()
        env.close()
        settings, seed = self.config.rollout_settings, self.config.seed_or_zero
        count = num_episodes or 1
        requests = [
            EpisodeRequest(task_id, number, 0, seed + self._samples)
            for number, task_id in enumerate(TaskSampler(ids, seed).take(self._samples, count))
        ]
        self._samples += 1
        return self.collect(requests, SamplingParams(settings.max_response_tokens, settings.temperature))

    @override(EnvRunner)
    def get_spaces(self) -> dict[str, tuple[gymnasium.Space[Any], gymnasium.Space[Any]]]:
        """The spaces of observations and actions: free text."""
        pair = (FreeText(), FreeText())
        return {INPUT_ENV_SPACES: pair, DEFAULT_MODULE_ID: pair}

    @override(EnvRunner)
    def get_metrics(self) -> Any:
        """The metrics that this runner logged."""
        return self.metrics.reduce()

    @override(EnvRunner)
    def assert_healthy(self) -> None:
        """Raises an error if the runner has no engine."""
        if self.engine is None:
            raise AssertionError("The runner has no engine.")

    @override(Checkpointable)
    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """The version of the weights, which come from the learner; tasks and draws follow from the update."""
        return {WEIGHTS_SEQ_NO: self._weights_seq_no}

    @override(Checkpointable)
    def set_state(self, state: dict[str, Any]) -> None:
        """Loads new weights, if `state` has any."""
        if isinstance(state, ray.ObjectRef):
            state = ray.get(state)
        if COMPONENT_RL_MODULE not in state:
            return
        version = int(state.get(WEIGHTS_SEQ_NO, 0))
        weights = state[COMPONENT_RL_MODULE]
        if isinstance(weights, ray.ObjectRef):
            weights = ray.get(weights)
        weights = weights.get(DEFAULT_MODULE_ID, weights)
        # The learner's RLModule holds the model under the name `model`.
        tensors = {name.removeprefix("model."): torch.as_tensor(tensor) for name, tensor in weights.items()}
        self.engine.update_weights(tensors, version)
        self._weights_seq_no = version
        self._has_weights = True

    @override(Checkpointable)
    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Constructor arguments of this runner."""
        return (), {"config": self.config}

    @override(Checkpointable)
    def get_checkpointable_components(self) -> list[tuple[str, Checkpointable]]:
        """None: see `get_state`."""
        return []

    @override(EnvRunner)
    def stop(self) -> None:
        """Closes all environments and the engine."""
        self.engine.close()
        for collector in self._collectors.values():
            collector.close()

    def _collector(self, skills_in_prompt: bool, teacher_prompts: bool) -> Collector:
        config = self.config
        teacher = config.get_method().objective.teacher
        # Prompts of other views are written after the rollout.
        teacher_prompts = teacher_prompts and teacher is not None and teacher.view is View.SKILLS
        key = (skills_in_prompt, teacher_prompts)
        if key not in self._collectors:
            self._collectors[key] = build_collector(
                self.engine,
                self.tokenizer,
                config.env,
                config.env_config,
                config.rollout_settings,
                config.get_retriever(),
                teacher_prompts=teacher_prompts,
                skills_in_prompt=skills_in_prompt,
                control_texts=config.get_control_texts() if teacher_prompts else None,
            )
        return self._collectors[key]


def _ensure_registered(entry: EnvEntry | None) -> None:
    """Registers an environment in this process that the driver's script registered."""
    if entry is not None and entry not in entries():
        register(entry.id, entry.entry_point, prompt=entry.prompt, skills=entry.skills, expert=entry.expert)

"""The rollout dispatcher: sends whole groups of episodes to the env runners and keeps the runners' weights current."""

# RLlib declares most of what its classes get at run time as optional or not at all.
# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false, reportOptionalSubscript=false
# pyright: reportArgumentType=false, reportPrivateImportUsage=false

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.env.env_runner_group import EnvRunnerGroup

from sdar_gym.algorithms.sdar.env_runner import RolloutFailure
from sdar_gym.configs.sections import RolloutSettings
from sdar_gym.rollout.collector import EpisodeRequest
from sdar_gym.rollout.engines.base import SamplingParams
from sdar_gym.rollout.engines.canary import CanarySample
from sdar_gym.rollout.trajectory import Episode
from sdar_gym.skills import LearningRetriever, Retriever

logger = logging.getLogger(__name__)

# How long a run waits for a lost env runner where there is no other one.
_RESTART_SECONDS = 600.0
# A runner that dies at the same episodes every time is no outage.
_COLLECTION_ATTEMPTS = 3


class RolloutError(ValueError):
    """Episodes could not be played, for a reason that a restart would not fix."""


class RolloutDispatcher:
    """Plays episodes on the env runners of an algorithm.

    Args:
        runners: RLlib's group of env runners.
        learners: RLlib's group of learners, which have the weights.
        retriever: The retriever of the teacher's skills; its state is sent along if it learns.
        settings: How episodes are played.
        restore: Asks RLlib to restart lost runners.
        check: Compares an engine's samples with the learner; takes the version of the weights and the samples.

    Attributes:
        failed_tasks: Tasks of this run in which the environment raised an error, with the error.
    """

    def __init__(
        self,
        runners: EnvRunnerGroup,
        learners: LearnerGroup,
        retriever: Retriever,
        settings: RolloutSettings,
        restore: Callable[[EnvRunnerGroup], Any],
        check: Callable[[int, Sequence[CanarySample]], None],
    ):
        self._runners = runners
        self._learners = learners
        self._retriever = retriever
        self._settings = settings
        self._restore = restore
        self._check = check
        self.failed_tasks: dict[str, str] = {}

    def sync_weights(self) -> None:
        """Sends the student's weights to the runners, and checks engines that are new."""
        self._runners.sync_weights(
            from_worker_or_learner_group=self._learners, inference_only=True, timeout_seconds=None
        )
        self.check_engines()

    def check_engines(self) -> None:
        """Checks that new engines have the learner's weights: those they began with, and the first they were sent.

        Raises:
            EngineMismatchError: An engine gives other log-probabilities than the learner.
            RolloutError: An engine cannot sample.
        """
        for sampled in self._foreach_playing("try_canary"):
            if isinstance(sampled, RolloutFailure):
                logger.debug("%s", sampled.trace)
                raise RolloutError(sampled.message)
            if sampled is not None:
                self._check(*sampled)

    def _foreach_playing(self, method: str) -> list[Any]:
        """Calls a method of the runners that play: the remote ones, or the local one where there are none."""
        runners = self._runners
        if runners.local_env_runner is not None and not runners.healthy_worker_ids():
            return [getattr(runners.local_env_runner, method)()]
        return runners.foreach_env_runner(method, local_env_runner=False)

    def sync_teacher_weights(self) -> None:
        """Sends the teacher's weights to the runners; to be followed by `sync_weights`."""
        weights = next(iter(self._learners.foreach_learner(lambda learner: learner.teacher_policy()))).get()
        state = ray.put({COMPONENT_RL_MODULE: {DEFAULT_MODULE_ID: weights}})
        # RLlib passes no arguments on to a runner in this process.
        self._runners.foreach_env_runner(lambda runner: runner.set_state(state))

    def collect_training(
        self, requests: Sequence[EpisodeRequest], group_size: int, *, skills_in_prompt: bool, update: int
    ) -> list[Episode]:
        """Plays the episodes of one update; an update without any episode is played again.

        Args:
            requests: Whole groups.
            group_size: Episodes of a group.
            skills_in_prompt: Whether the acting policy sees the skills.
            update: Number of the update, from 1, for messages.

        Raises:
            RolloutError: No episode came back several times, none can be compared, or too many tasks failed.
        """
        params = SamplingParams(self._settings.max_response_tokens, self._settings.temperature)
        for _ in range(_COLLECTION_ATTEMPTS):
            episodes = self.collect(
                requests, params, group_size, skills_in_prompt=skills_in_prompt, teacher_prompts=True
            )
            if episodes:
                break
            self.sync_weights()
        else:
            raise RolloutError(
                f"No episode of update {update} came back in {_COLLECTION_ATTEMPTS} attempts: the env runners die "
                "while they play. The logs of Ray's workers say why (memory?); go on with --resume."
            )
        errors = {episode.task_id: episode.error for episode in episodes if episode.error}
        self.failed_tasks |= errors
        limit = self._settings.max_failed_tasks
        if len(self.failed_tasks) > limit:
            raise RolloutError(
                f"{len(self.failed_tasks)} task(s) failed; rollout.max_failed_tasks allows {limit}. "
                f"{next(iter(errors.values()), '')}"
            )
        members = Counter(episode.group_id for episode in episodes if episode.turns and not episode.error)
        if max(members.values(), default=0) < 2:
            reasons = Counter(episode.ended for episode in episodes)
            raise RolloutError(
                f"Update {update} has no group of two episodes to compare; its episodes ended by "
                f"{', '.join(f'{reason} ({count})' for reason, count in reasons.items())}. "
                f"{next(iter(errors.values()), 'Raise rollout.max_prompt_tokens if prompts are too long.')}"
            )
        return episodes

    def collect(
        self,
        requests: Sequence[EpisodeRequest],
        params: SamplingParams,
        group_size: int,
        *,
        skills_in_prompt: bool,
        teacher_prompts: bool,
    ) -> list[Episode]:
        """Distributes whole groups over the runners; episodes of a runner that is lost are missing in the result.

        Raises:
            RolloutError: A runner could not play; the message is the same wherever it runs.
        """
        learned = self._retriever.get_state() if isinstance(self._retriever, LearningRetriever) else None
        arguments = {
            "params": params,
            "skills_in_prompt": skills_in_prompt,
            "retriever_state": learned,
            "teacher_prompts": teacher_prompts,
        }
        runners = self._runners
        if runners.local_env_runner is not None and not runners.healthy_worker_ids():
            results = [runners.local_env_runner.try_collect(requests=requests, **arguments)]
        else:
            ids = self._wait_for_runners()
            shares: dict[int, list[EpisodeRequest]] = {worker: [] for worker in ids}
            for number in range(0, len(requests), group_size):
                worker = ids[(number // group_size) % len(ids)]
                shares[worker].extend(requests[number : number + group_size])
            results = runners.foreach_env_runner(
                ["try_collect"] * len(ids),
                kwargs=[{"requests": shares[worker], **arguments} for worker in ids],
                local_env_runner=False,
                remote_worker_ids=ids,
            )
        episodes: list[Episode] = []
        for result in results:
            if isinstance(result, RolloutFailure):
                logger.debug("%s", result.trace)
                raise RolloutError(result.message)
            episodes += result
        return sorted(episodes, key=lambda episode: (episode.group_id, episode.member))

    def _wait_for_runners(self) -> list[int]:
        """Healthy remote runners; where all were lost, the first that comes back, with the present weights."""
        deadline = time.monotonic() + _RESTART_SECONDS
        while not self._runners.healthy_worker_ids():
            if time.monotonic() > deadline:
                raise RolloutError(
                    f"All env runners were lost, and none came back within {_RESTART_SECONDS:g} s. The logs of Ray's "
                    "workers say why; go on with --resume."
                )
            time.sleep(0.5)
            self._restore(self._runners)
        return self._runners.healthy_worker_ids()

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
_MOST_LOSSES = 3


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
        lost_episodes: Episodes of the last collection that a lost runner was playing, and that were played again.
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
        self.lost_episodes = 0
        # What the runners play with at present; runners that come back get the same.
        self._send_again: Callable[[], None] = self._send_weights

    def sync_weights(self) -> None:
        """Sends the student's weights to the runners, and checks engines that are new."""
        self._send_again = self._send_weights
        self._send_weights()
        self.check_engines()

    def _send_weights(self) -> None:
        self._runners.sync_weights(
            from_worker_or_learner_group=self._learners, inference_only=True, timeout_seconds=None
        )

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
        self._send_again = self._send_teacher_weights
        self._send_teacher_weights()

    def _send_teacher_weights(self) -> None:
        weights = next(iter(self._learners.foreach_learner(lambda learner: learner.teacher_policy()))).get()
        state = ray.put({COMPONENT_RL_MODULE: {DEFAULT_MODULE_ID: weights}})
        # RLlib passes no arguments on to a runner in this process.
        self._runners.foreach_env_runner(lambda runner: runner.set_state(state))

    def collect_training(
        self, requests: Sequence[EpisodeRequest], group_size: int, *, skills_in_prompt: bool, update: int
    ) -> list[Episode]:
        """Plays the episodes of one update.

        Args:
            requests: Whole groups.
            group_size: Episodes of a group.
            skills_in_prompt: Whether the acting policy sees the skills.
            update: Number of the update, from 1, for messages.

        Raises:
            RolloutError: The runners die at the same episodes, no episodes can be compared, or too many tasks failed.
        """
        params = SamplingParams(self._settings.max_response_tokens, self._settings.temperature)
        episodes = self.collect(requests, params, group_size, skills_in_prompt=skills_in_prompt, teacher_prompts=True)
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
        """Distributes whole groups over the runners; what a lost runner should have played is played by another one.

        The requests are divided by the number of runners that were asked for, whether they live or not, and each part
        is played in one call: which rows are sampled together decides the last bits of log-probabilities. So a run that
        loses runners is the same as one that does not.

        Returns:
            One episode per request, by group and member.

        Raises:
            RolloutError: A runner could not play, or runners die at the same episodes every time; the message is the
                same wherever they run.
        """
        learned = self._retriever.get_state() if isinstance(self._retriever, LearningRetriever) else None
        arguments = {
            "params": params,
            "skills_in_prompt": skills_in_prompt,
            "retriever_state": learned,
            "teacher_prompts": teacher_prompts,
        }
        self.lost_episodes = 0
        number = self._runners.num_remote_env_runners()
        if number == 0:
            episodes = _played(self._runners.local_env_runner.try_collect(requests=requests, **arguments))
        else:
            groups = [requests[first : first + group_size] for first in range(0, len(requests), group_size)]
            parts = [[request for group in groups[first::number] for request in group] for first in range(number)]
            episodes = self._collect_parts([part for part in parts if part], arguments)
        return sorted(episodes, key=_place)

    def _collect_parts(self, parts: list[list[EpisodeRequest]], arguments: dict[str, Any]) -> list[Episode]:
        """Plays each part in one call of a remote runner, again if that runner is lost."""
        losses: Counter[tuple[int, int]] = Counter()
        found: list[Episode] = []
        while parts:
            ids = self._wait_for_runners()
            now, later = parts[: len(ids)], parts[len(ids) :]
            results = self._runners.foreach_env_runner(
                ["try_collect"] * len(now),
                kwargs=[{"requests": part, **arguments} for part in now],
                local_env_runner=False,
                remote_worker_ids=ids[: len(now)],
            )
            episodes = [episode for result in results for episode in _played(result)]
            found += episodes
            # RLlib leaves out the results of runners that died.
            places = {_place(episode) for episode in episodes}
            lost = [part for part in now if _place(part[0]) not in places]
            self.lost_episodes += sum(map(len, lost))
            losses.update(_place(part[0]) for part in lost)
            if max(losses.values(), default=0) >= _MOST_LOSSES:
                raise RolloutError(
                    f"Env runners were lost {_MOST_LOSSES} times while they played the same episodes, such as task "
                    f"{lost[0][0].task_id!r}. The logs of Ray's workers say why (memory?); go on with --resume."
                )
            parts = lost + later
        return found

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
            if self._restore(self._runners):
                self._send_again()
        return self._runners.healthy_worker_ids()


def _played(result: list[Episode] | RolloutFailure) -> list[Episode]:
    """The episodes of a runner.

    Raises:
        RolloutError: It could not play.
    """
    if isinstance(result, RolloutFailure):
        logger.debug("%s", result.trace)
        raise RolloutError(result.message)
    return result


def _place(episode: Episode | EpisodeRequest) -> tuple[int, int]:
    return episode.group_id, episode.member

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
from ray.exceptions import GetTimeoutError, RayActorError
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.env.env_runner_group import EnvRunnerGroup

from sdar_gym.algorithms.sdar.env_runner import NoWeights, PlayedShare, RolloutFailure
from sdar_gym.algorithms.sdar.held_weights import HeldWeights, put_weights
from sdar_gym.algorithms.sdar.rollout_shares import Share, after_a_death, assigned, failed_episode, shares_of
from sdar_gym.configs.sections import RolloutSettings
from sdar_gym.rollout.collector import EpisodeRequest
from sdar_gym.rollout.engines.base import SamplingParams
from sdar_gym.rollout.engines.canary import CanarySample
from sdar_gym.rollout.trajectory import Episode
from sdar_gym.skills import LearningRetriever, Retriever

logger = logging.getLogger(__name__)

# How long a run waits for a lost env runner where there is no other one.
_RESTART_SECONDS = 600.0
# How long one that may yet come is asked why it could not be built.
_BUILD_SECONDS = 60.0
# A runner that dies at the same episodes every time is no outage.
_DEATHS_OF_A_SHARE = 3


class RolloutError(ValueError):
    """Episodes could not be played, for a reason that a restart would not fix."""


def why_none_was_built(runners: EnvRunnerGroup) -> RolloutError:
    """The error of a group whose env runners all failed as they were built; RLlib finds an empty list then.

    Args:
        runners: RLlib's group of env runners.
    """
    reason = "the logs of Ray's workers say why"
    for runner in runners._worker_manager.actors().values():
        try:
            ray.get(runner.ping.remote(), timeout=_BUILD_SECONDS)
        except (RayActorError, GetTimeoutError) as error:
            # Ray's message ends with the traceback in the runner's process.
            reason = str(error).rstrip().splitlines()[-1].strip()
            break
    return RolloutError(
        f"No env runner could be built: {reason}. Modules of yours must be importable in Ray's processes: install "
        "them, or set PYTHONPATH before Ray starts."
    )


class RolloutDispatcher:
    """Plays episodes on the env runners of an algorithm.

    Between `hold` and `release` it does so without the learners, which may go on meanwhile: another thread may play,
    with the weights that are held.

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
        self._abandoned = False
        self._held: HeldWeights | None = None
        self.failed_tasks: dict[str, str] = {}
        # What gives runners that come back the weights that the others play with.
        self._sync: Callable[[], None] = self.sync_weights
        self._sent = False
        self._faults: Counter[str] = Counter()
        # Of each remote runner that has played; none where it died and has not played since.
        self._processes: dict[int, str | None] = {}

    def take_faults(self) -> dict[str, int]:
        """What runners did not survive, and what they survived, since the last call; by name."""
        for runner in {*self._runner_ids()}.difference(self._runners.healthy_worker_ids()):
            self._note_death(runner)
        faults, self._faults = self._faults, Counter()
        return dict(faults)

    def _note_death(self, runner: int) -> None:
        """Counts the death of a runner's process, once."""
        if self._processes.get(runner, "") is not None:
            self._faults["runner_deaths"] += 1
            self._processes[runner] = None

    def _note_process(self, runner: int, process: str) -> None:
        """Counts the restart of a runner; also one by Ray, of which RLlib does not know."""
        known = self._processes.get(runner, "")
        if known not in ("", process):
            self._note_death(runner)
            self._faults["runner_restarts"] += 1
        self._processes[runner] = process

    def take_weights(self, *, teacher: bool = False) -> HeldWeights:
        """Copies the present weights, and the state of a retriever that learns, for `hold`.

        Args:
            teacher: Whether a teacher that follows the student plays as well.
        """
        learned = self._retriever.get_state() if isinstance(self._retriever, LearningRetriever) else None
        return HeldWeights.take(self._learners, teacher=teacher, retriever=learned)

    def hold(self, weights: HeldWeights) -> None:
        """Sends weights to the runners; until `release` all episodes are played with these.

        Args:
            weights: Of `take_weights`.
        """
        self._held = weights
        self.sync_weights()

    def release(self) -> None:
        """Ends `hold`: the next weights are the learners' present ones."""
        self._held = None

    @property
    def holds(self) -> bool:
        """Whether weights are held."""
        return self._held is not None

    def abandon(self) -> None:
        """Ends the remote runners at once; who waits for their episodes gets an error."""
        self._abandoned = True
        self._runners._worker_manager.clear()

    def bring_back(self) -> None:
        """Takes runners back that Ray has restarted, with the weights that the others have."""
        # RLlib's own way sends the learners' present weights, first.
        restore = self._restore if self._held is None else EnvRunnerGroup.probe_unhealthy_env_runners
        if restore(self._runners):
            self._sync()

    def sync_weights(self) -> None:
        """Sends the student's weights to the runners, and checks engines that are new; or sends those that are held."""
        self._sync, self._sent = self.sync_weights, True
        if self._held is not None:
            self._send(self._held.student)
            return
        if self._runners.local_env_runner is None:
            self._send(put_weights(self._learners))
        else:
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
        self._sync, self._sent = self.sync_teacher_weights, True
        self._send(put_weights(self._learners, teacher=True) if self._held is None else self._held.teacher)

    def _send(self, state: Any) -> None:
        """Sends a state in the object store to the runners."""
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
            RolloutError: No episode came back, none can be compared, or too many tasks failed.
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
        """Distributes whole groups over the runners.

        Which episodes are played together depends on the number of runners alone, not on which of them are there: what
        a lost runner should have played is played again as it was, by itself or by another one, with equal results. A
        runner that dies twice at its share plays the groups of it one by one; a group at which it dies then is the
        cause, and its episodes fail.

        Raises:
            RolloutError: A runner could not play, with a message that is the same wherever it runs; or no runner comes
                back.
        """
        if self._held is not None:
            learned = self._held.retriever
        else:
            learned = self._retriever.get_state() if isinstance(self._retriever, LearningRetriever) else None
        arguments = {
            "params": params,
            "skills_in_prompt": skills_in_prompt,
            "retriever_state": learned,
            "teacher_prompts": teacher_prompts,
        }
        local = self._runners.local_env_runner
        if local is not None and not self._runners.healthy_worker_ids():
            episodes = self._received(local.try_collect(requests=requests, **arguments))
        else:
            episodes = self._collect_remotely(shares_of(requests, group_size, self._runner_ids()), arguments)
        return sorted(episodes, key=lambda episode: (episode.group_id, episode.member))

    def _collect_remotely(self, shares: list[Share], arguments: dict[str, Any]) -> list[Episode]:
        """Plays shares until each is played or given up."""
        if not self._sent:
            # They were built with these; but one that was sent none is, from now on, one that was restarted.
            self._sync()
        episodes: list[Episode] = []
        most_deaths, deaths = _DEATHS_OF_A_SHARE * len(shares), 0
        while shares:
            now = assigned(shares, self._wait_for_runners())
            results = self._runners.foreach_env_runner(
                ["try_collect"] * len(now),
                kwargs=[{"requests": share.requests, "ticket": worker, **arguments} for worker, share in now.items()],
                local_env_runner=False,
                remote_worker_ids=[*now],
            )
            left = [share for share in shares if share not in now.values()]
            for result in results:
                if isinstance(result, NoWeights):
                    left.append(now.pop(result.ticket))
                    self._note_death(result.ticket)
                    deaths += 1
                else:
                    episodes += self._received(result)
                    del now[result.ticket]
            for runner, share in now.items():
                deaths += 1
                self._note_death(runner)
                self._faults["episodes_again"] += len(share.requests)
                if share.deaths + 1 >= _DEATHS_OF_A_SHARE:
                    episodes += [failed_episode(request, deaths=_DEATHS_OF_A_SHARE) for request in share.requests]
                else:
                    left += after_a_death(share, last=share.deaths + 2 >= _DEATHS_OF_A_SHARE)
            shares = left
            if any(isinstance(result, NoWeights) for result in results):
                self._sync()
            if deaths >= most_deaths and not any(episode.turns for episode in episodes):
                raise RolloutError(
                    f"No episode came back, and env runners died {deaths} times before they had played. The logs of "
                    "Ray's workers say why (memory?); go on with --resume."
                )
        return episodes

    def _received(self, result: PlayedShare | RolloutFailure) -> list[Episode]:
        """The episodes of a share.

        Raises:
            RolloutError: The runner could not play.
        """
        if isinstance(result, RolloutFailure):
            logger.debug("%s", result.trace)
            raise RolloutError(result.message)
        self._faults.update(result.faults)
        self._note_process(result.ticket, result.process)
        return result.episodes

    def _runner_ids(self) -> list[int]:
        """Remote runners, lost ones included."""
        return sorted(self._runners._worker_manager.actor_ids())

    def _wait_for_runners(self) -> list[int]:
        """Healthy remote runners; where all were lost, the first that comes back, with the present weights."""
        deadline = time.monotonic() + _RESTART_SECONDS
        while not self._runners.healthy_worker_ids():
            if self._abandoned:
                raise RolloutError("The env runners were ended.")
            if time.monotonic() > deadline:
                raise RolloutError(
                    f"All env runners were lost, and none came back within {_RESTART_SECONDS:g} s. The logs of Ray's "
                    "workers say why; go on with --resume."
                )
            time.sleep(0.5)
            self.bring_back()
        return self._runners.healthy_worker_ids()

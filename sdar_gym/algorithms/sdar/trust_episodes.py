"""Trust episodes: an update's tasks played with skills in the prompt, to weight the distillation by what they bring."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.algorithms.sdar.rollout_dispatcher import RolloutDispatcher
from sdar_gym.configs.sections import RolloutSettings
from sdar_gym.rollout.collector import EpisodeRequest
from sdar_gym.rollout.engines.base import SamplingParams
from sdar_gym.rollout.trajectory import Episode
from sdar_gym.training.teacher_trust import TeacherTrust


class TrustEpisodes:
    """Plays them and keeps the trust in the teacher.

    Args:
        dispatcher: Plays the episodes.
        objective: The method's settings.
        rollout: How episodes are sampled.

    Attributes:
        trust: What was learned.
    """

    def __init__(self, dispatcher: RolloutDispatcher, objective: Objective, rollout: RolloutSettings):
        self.trust = TeacherTrust(None if objective.distill is None else objective.distill.trust_confidence)
        self._dispatcher = dispatcher
        self._objective = objective
        self._params = SamplingParams(rollout.max_response_tokens, rollout.temperature)

    def play(
        self,
        step: int,
        requests: Sequence[EpisodeRequest],
        group_size: int,
        episodes: Sequence[Episode],
        settled: Collection[str],
    ) -> list[Episode] | None:
        """Plays an update's tasks with skills.

        Args:
            step: Number of completed updates.
            requests: The update's, whole groups.
            group_size: Episodes of a group.
            episodes: What came of them.
            settled: Task types that need no more such episodes: `trust.settled` when the update's rollout began.

        Returns:
            The episodes; None where the method distils in full, or not at this update.

        Raises:
            RolloutError: The episodes cannot be played.
        """
        distill = self._objective.distill
        if distill is None or distill.trust_episodes is None or not self._objective.distills_at(step):
            return None
        types = {episode.group_id: episode.task_type for episode in episodes}
        wanted = [
            # Other draws than those of the group's own episodes.
            replace(request, member=group_size + number)
            for request in requests[::group_size]
            if types.get(request.group_id) not in settled
            for number in range(distill.trust_episodes)
        ]
        if not wanted:
            return []
        return self._dispatcher.collect(
            wanted, self._params, distill.trust_episodes, skills_in_prompt=True, teacher_prompts=False
        )

    def weigh(
        self, episodes: Sequence[Episode], played: Sequence[Episode] | None
    ) -> tuple[dict[str, float], dict[str, float]] | None:
        """Weighs the distillation of an update's task types.

        Args:
            episodes: The update's.
            played: Of `play`.

        Returns:
            The trust in each task type of the update, and metrics; None without such episodes.
        """
        if played is None:
            return None
        self.trust.observe(episodes, played)
        outcomes = [float(episode.won) for episode in played if not episode.error]
        metrics = {"trust_episodes": float(len(played)), **self.trust.metrics()}
        if outcomes:
            metrics["success_with_skills"] = sum(outcomes) / len(outcomes)
        return self.trust.of({episode.task_type for episode in episodes}), metrics

"""The panel evaluator: plays the fixed evaluation set with the student, and with the teacher where it can act."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sdar_gym.algorithms.objectives.teacher import Teacher, View, Weights
from sdar_gym.algorithms.sdar.rollout_dispatcher import RolloutDispatcher, RolloutError
from sdar_gym.configs.sections import EvaluationSettings, RolloutSettings
from sdar_gym.envs.tasks import TaskPanel, freeze_panel
from sdar_gym.evaluation.panels import panel_requests
from sdar_gym.evaluation.summary import context_of_result, summarize
from sdar_gym.rollout.collector import EpisodeRequest
from sdar_gym.rollout.engines.base import SamplingParams
from sdar_gym.rollout.privileged_context import requests_with_view
from sdar_gym.rollout.trajectory import Episode


class PanelEvaluator:
    """Evaluates the current weights on a fixed set of tasks.

    Args:
        panel: The evaluation set.
        dispatcher: Plays episodes.
        settings: Sampling and number of tasks.
        rollout: How episodes are played.
        teacher: The method's teacher, or None.

    Attributes:
        last_episodes: The episodes of the last evaluation.
        frozen_teacher: The result of a frozen teacher, which does not change during a run; None before it was measured.
        latest: Success of the last evaluation, and the number of updates before it.
    """

    def __init__(
        self,
        panel: TaskPanel,
        dispatcher: RolloutDispatcher,
        settings: EvaluationSettings,
        rollout: RolloutSettings,
        teacher: Teacher | None,
    ):
        self.panel = panel
        self.last_episodes: list[Episode] = []
        self.frozen_teacher: dict[str, Any] | None = None
        self.latest: dict[str, float] = {}
        self._dispatcher = dispatcher
        self._settings = settings
        self._rollout = rollout
        self._teacher = teacher

    @property
    def needs_teacher_weights(self) -> bool:
        """Whether a teacher plays as well whose weights follow the student's."""
        teacher = self._teacher
        if teacher is None or not self._settings.teacher_tasks or teacher.view is View.NONE:
            return False
        return teacher.weights in (Weights.EMA, Weights.STALE)

    def evaluate(self, updates: int) -> dict[str, Any]:
        """Plays the evaluation set.

        Args:
            updates: Number of completed updates.

        Returns:
            Success with a 95 % interval, over all and by task type, with the set's name and hash.

        Raises:
            RolloutError: A task cannot be played.
        """
        settings = self._settings
        if not self._dispatcher.holds:
            self._dispatcher.sync_weights()
        requests = panel_requests(self.panel, settings.seed, settings.repeats)
        self.last_episodes = self._play(self.panel, requests, settings.with_skills)
        result = summarize(self.last_episodes, self.panel, settings.temperature, settings.seed, settings.with_skills)
        result |= context_of_result(self._rollout, settings)
        self.latest = {"success": float(result["success"]), "update": float(updates)}
        teacher = self._evaluate_teacher(updates)
        return {**result, "teacher": teacher} if teacher else result

    def _play(self, panel: TaskPanel, requests: Sequence[EpisodeRequest], with_skills: bool) -> list[Episode]:
        """Plays tasks of a panel.

        Raises:
            RolloutError: A task cannot be played.
        """
        settings = self._settings
        params = SamplingParams(self._rollout.max_response_tokens, settings.temperature, settings.top_p, settings.top_k)
        played = self._dispatcher.collect(requests, params, 1, skills_in_prompt=with_skills, teacher_prompts=False)
        for episode in played:
            if episode.error:
                raise RolloutError(f"Panel {panel.name!r} cannot be played. {episode.error}")
        return played

    def _evaluate_teacher(self, updates: int) -> dict[str, Any] | None:
        """Success of the teacher with its view in the prompt: one that shares weights can lose what it teaches.

        Returns:
            Its result on the first tasks of the panel, or None where there is no teacher that could act.
        """
        teacher, dispatcher = self._teacher, self._dispatcher
        if not self._settings.teacher_tasks or teacher is None or teacher.view is View.NONE:
            return None
        if teacher.view is not View.SKILLS and not self._teacher_requests(teacher):
            return None
        if teacher.weights is Weights.EXTERNAL:
            return None
        if teacher.weights is Weights.LIVE:
            return self._teacher_result(teacher)
        if teacher.weights is Weights.FROZEN:
            # Before the first update it is the student with the view.
            if updates == 0:
                self.frozen_teacher = self._teacher_result(teacher)
            return self.frozen_teacher
        try:
            dispatcher.sync_teacher_weights()
            return self._teacher_result(teacher)
        finally:
            dispatcher.sync_weights()

    def _teacher_requests(self, teacher: Teacher) -> list[EpisodeRequest]:
        """The first tasks of the panel with the teacher's view of the student's episodes; one request a task."""
        found = requests_with_view(str(teacher.view), self.last_episodes, self._settings.seed)
        first = {request.task_id: request for request in reversed(found)}
        return [first[task_id] for task_id in self.panel.task_ids if task_id in first][: self._settings.teacher_tasks]

    def _teacher_result(self, teacher: Teacher) -> dict[str, Any]:
        settings, whole = self._settings, self.panel
        name = f"{whole.name}-teacher"
        if teacher.view is View.SKILLS:
            panel = freeze_panel(name, whole.env_id, whole.task_ids, settings.teacher_tasks)
            requests = panel_requests(panel, settings.seed)
        else:
            requests = self._teacher_requests(teacher)
            panel = TaskPanel(name, whole.env_id, tuple(request.task_id for request in requests))
        episodes = self._play(panel, requests, teacher.view is View.SKILLS)
        summary = summarize(episodes, panel, settings.temperature, settings.seed, teacher.view is View.SKILLS)
        return {name: summary[name] for name in ("success", "success_low", "success_high", "tasks", "skill_coverage")}

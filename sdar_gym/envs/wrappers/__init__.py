"""Gymnasium wrappers for text environments: skills in `info`, budgets, history, task sequences, recording."""

from sdar_gym.envs.wrappers.record_episodes import RecordEpisodes, RecordError
from sdar_gym.envs.wrappers.skill_context import SkillContext
from sdar_gym.envs.wrappers.task_sequence import TaskSequence
from sdar_gym.envs.wrappers.text_history import TextHistory
from sdar_gym.envs.wrappers.turn_budget import Budget, TurnBudget, count_words

__all__ = [
    "Budget",
    "RecordEpisodes",
    "RecordError",
    "SkillContext",
    "TaskSequence",
    "TextHistory",
    "TurnBudget",
    "count_words",
]

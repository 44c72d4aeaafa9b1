"""Text environments: the `TextEnv` contract, the registry, task panels, and the built-in benchmarks."""

from sdar_gym.envs.policies import ScriptedPolicy
from sdar_gym.envs.registry import EnvEntry, entries, entry_of, load_plugins, register
from sdar_gym.envs.spaces import FreeText
from sdar_gym.envs.tasks import TaskPanel, freeze_panel, load_panel
from sdar_gym.envs.text_env import Task, TaskNotFoundError, TextEnv, Turn

__all__ = [
    "EnvEntry",
    "FreeText",
    "ScriptedPolicy",
    "Task",
    "TaskNotFoundError",
    "TaskPanel",
    "TextEnv",
    "Turn",
    "entries",
    "entry_of",
    "freeze_panel",
    "load_panel",
    "load_plugins",
    "register",
]

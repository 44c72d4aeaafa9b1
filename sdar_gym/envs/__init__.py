"""Text environments: the base class, the registry, and everything an environment of your own needs."""

from sdar_gym.envs.policies import RandomPolicy, ScriptedPolicy, expert_of
from sdar_gym.envs.prompting import (
    ActionTags,
    EpisodeView,
    ParsedAction,
    PastTurn,
    PrivilegedContext,
    PromptTemplate,
    WindowTemplate,
    prompt_template,
)
from sdar_gym.envs.registry import EnvEntry, PluginWarning, entries, entry_of, register
from sdar_gym.envs.spaces import FreeText
from sdar_gym.envs.tasks import PanelError, TaskPanel, freeze_panel, load_panel
from sdar_gym.envs.text_env import Task, TaskNotFoundError, TextEnv, Turn
from sdar_gym.text import well_formed
from sdar_gym.validation import finite_number, flag, one_of, whole_number

__all__ = [
    "ActionTags",
    "EnvEntry",
    "EpisodeView",
    "FreeText",
    "PanelError",
    "ParsedAction",
    "PastTurn",
    "PluginWarning",
    "PrivilegedContext",
    "PromptTemplate",
    "RandomPolicy",
    "ScriptedPolicy",
    "Task",
    "TaskNotFoundError",
    "TaskPanel",
    "TextEnv",
    "Turn",
    "WindowTemplate",
    "entries",
    "entry_of",
    "expert_of",
    "finite_number",
    "flag",
    "freeze_panel",
    "load_panel",
    "one_of",
    "prompt_template",
    "register",
    "well_formed",
    "whole_number",
]

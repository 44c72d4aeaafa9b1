"""Text environments: the contract, the registry, and the benchmarks themselves."""

from sdar_gym.envs.registry import EnvEntry, entries, entry_of, load_plugins, register
from sdar_gym.envs.spaces import FreeText
from sdar_gym.envs.tasks import TaskPanel, freeze_panel, load_panel
from sdar_gym.envs.text_env import Task, TaskNotFoundError, TextEnv, Turn

__all__ = [
    "EnvEntry",
    "FreeText",
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


def register_builtin() -> None:
    """Register the environments that ship with the gym."""
    register(
        "sdar/ALFWorld-v0",
        "sdar_gym.envs.alfworld.env:ALFWorldEnv",
        prompt="sdar_gym.envs.alfworld.prompt:TEMPLATES",
        skills="alfworld",
        expert="sdar_gym.envs.alfworld.expert:Expert",
    )
    register(
        "sdar/SearchQA-v0",
        "sdar_gym.envs.searchqa.env:SearchQAEnv",
        prompt="sdar_gym.envs.searchqa.prompt:TEMPLATES",
        skills="searchqa",
        expert="sdar_gym.envs.searchqa.expert:Expert",
    )
    register(
        "sdar/WebShop-v0",
        "sdar_gym.envs.webshop.env:WebShopEnv",
        prompt="sdar_gym.envs.webshop.prompt:TEMPLATES",
        skills="webshop",
        expert="sdar_gym.envs.webshop.expert:Expert",
    )

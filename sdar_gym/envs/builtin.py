"""Registration of the built-in environments."""

from __future__ import annotations

from sdar_gym.envs.registry import register


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
        "sdar/Code-v0",
        "sdar_gym.envs.code.env:CodeEnv",
        prompt="sdar_gym.envs.code.prompt:TEMPLATES",
        skills="code",
        expert="sdar_gym.envs.code.expert:Expert",
    )
    register(
        "sdar/Math-v0",
        "sdar_gym.envs.math.env:MathEnv",
        prompt="sdar_gym.envs.math.prompt:TEMPLATES",
        skills="math",
        expert="sdar_gym.envs.math.expert:Expert",
    )
    register(
        "sdar/Science-v0",
        "sdar_gym.envs.science.env:ScienceEnv",
        prompt="sdar_gym.envs.science.prompt:TEMPLATES",
        skills="science",
        expert="sdar_gym.envs.science.expert:Expert",
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

"""The plug-in: `register` gives SDAR Gym the environment's id, class, prompt, skills and expert."""

from pathlib import Path


def register() -> None:
    """Register the environment; the entry point in pyproject.toml names this function.

    It runs on every `import sdar_gym`, so it registers names and imports nothing large.
    """
    # Imported here: `import sdar_gym` calls this function, and may do so while this module is being imported.
    from sdar_gym.envs import register as register_env

    register_env(
        "my_game/MyGame-v0",
        "my_game.env:MyGameEnv",
        prompt="my_game.env:PROMPTS",
        skills=str(Path(__file__).parent / "skills"),
        expert="my_game.env:Expert",
    )

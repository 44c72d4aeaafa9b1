"""A text maze for SDAR Gym: what a plug-in of your own looks like."""

from pathlib import Path


def register() -> None:
    """Called by SDAR Gym through the entry point; everything is named by text and loaded when it is used."""
    # Imported here: `import sdar_gym` calls this function, and may do so while this module is being imported.
    from sdar_gym.envs import register as register_env

    register_env(
        "examples/Maze-v0",
        "maze_env.env:MazeEnv",
        prompt="maze_env.prompt:TEMPLATES",
        skills=str(Path(__file__).parent / "skills"),
        expert="maze_env.expert:Expert",
    )

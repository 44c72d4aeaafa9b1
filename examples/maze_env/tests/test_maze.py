"""The maze keeps the contract of text environments, and its expert solves it."""

from __future__ import annotations

import gymnasium
import maze_env
import pytest
from maze_env.env import MazeEnv
from maze_env.generator import make_maze, task_ids, way

from sdar_gym.envs.policies import expert_of
from sdar_gym.envs.prompting import EpisodeView, prompt_template
from sdar_gym.skills import SkillQuery, load_library, make_retriever
from sdar_gym.testing import CheckSettings, check_text_env

ID = "examples/Maze-v0"
maze_env.register()  # Once it is installed, `import sdar_gym` does this.


@pytest.mark.parametrize("size", [3, 4, 9])
def test_the_contract_holds(size: int) -> None:
    check_text_env(ID, settings=CheckSettings(fresh_process=size == 4), size=size)


def test_every_room_can_be_reached() -> None:
    for task_id in task_ids("train")[:20]:
        maze = make_maze(task_id, 6)
        assert len(maze.doors) == 2 * (36 - 1)
        assert all(way(maze, maze.start, (x, y)) is not None for x in range(6) for y in range(6))


def test_the_expert_solves_every_test_maze() -> None:
    env, expert = gymnasium.make(ID, max_steps=60), expert_of(ID)
    assert expert is not None
    inner = env.unwrapped
    assert isinstance(inner, MazeEnv)
    for task_id in inner.task_ids("test"):
        observation, info = env.reset(options={"task_id": task_id})
        expert.begin(inner, observation, info)
        over = False
        while not over:
            observation, reward, terminated, truncated, info = env.step(expert.act(observation, info))
            over = terminated or truncated
        assert info["won"], task_id
        assert reward == 1.0


def test_walls_hold_and_the_key_counts() -> None:
    env = MazeEnv()
    _, info = env.reset(options={"task_id": "train/001"})
    wall = next(
        f"go {name}" for name in ("north", "east", "south", "west") if f"go {name}" not in info["admissible_actions"]
    )
    observation, *_, info = env.step(wall)
    assert observation.startswith("That does not work.")
    assert not info["action_valid"]
    maze = env.maze
    assert maze.key is not None
    for name in way(maze, maze.start, maze.key):
        info = env.step(f"go {name}")[4]
    assert env.step("take key")[4]["score"] == 0.5
    assert "take key" not in env.step("take key")[4]["admissible_actions"]
    with pytest.raises(ValueError, match="size must lie between 3 and 20, got 2"):
        MazeEnv(size=2)


def test_skills_and_prompt_are_found() -> None:
    from sdar_gym.envs import entry_of

    library = load_library(entry_of(ID).skills or "")
    found = make_retriever("oracle_type", library, k=1, include_general=False).retrieve(
        SkillQuery("maze", "fetch_key", "find the key, then leave the maze by the exit.", "")
    )
    assert found.ids == ("key.procedure",)
    view = EpisodeView("find the exit of the maze.", (), "Doors lead north.", ("go north",))
    (message,) = prompt_template(ID, "window").messages(view, window=2, think=False)
    assert "walking through a maze" in message["content"]

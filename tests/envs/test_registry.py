"""The registry and plug-ins: loading, errors, and imports that survive broken plug-ins."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from sdar_gym.envs import entries, entry_of, register, registry
from sdar_gym.envs.policies import expert_of
from sdar_gym.envs.prompting import WindowTemplate, prompt_template
from sdar_gym.envs.registry import PluginWarning, load_plugins

pytestmark = pytest.mark.usefixtures("clean_registry")
POINT = "sdar_gym.envs.alfworld.env:ALFWorldEnv"
MAZE = """
import sys

from sdar_gym.envs import Task, TextEnv, Turn, register
from sdar_gym.envs.prompting import WindowTemplate

TEMPLATES = {"maze": WindowTemplate("You are in a maze.")}


class Maze(TextEnv):
    def __init__(self, length=2, render_mode=None):
        super().__init__(5, render_mode)
        self.left = length

    @property
    def splits(self):
        return ("train",)

    def task_ids(self, split=None):
        return ("only",)

    def task_type(self, task_id):
        return "walk"

    def _load_task(self, task_id):
        return Task("only", "walk", "train", "get out.")

    def _begin(self, task):
        return self._now()

    def _act(self, action):
        self.left -= action == "east"
        return self._now()

    def _now(self):
        done = self.left == 0
        return Turn(f"{self.left} to go", float(done), done, True, ("east",), float(done), done)


def plug_in():
    register("mylab/Maze-v0", "my_maze:Maze", prompt="my_maze:TEMPLATES")


def broken():
    raise OSError("no maze today")


def exits():
    sys.exit("no licence found")


def panics():
    class Panic(BaseException):
        pass

    raise Panic("from a compiled module")


def interrupted():
    raise KeyboardInterrupt


def clears_the_screen():
    raise OSError("\\x1b[2J\\ud800" + "x" * 5000)


def talks():
    print("Thank you for choosing My Maze!")
    sys.stdout.write("42\\n")
    plug_in()
"""


@pytest.fixture
def maze(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of another project, as if installed."""
    (tmp_path / "my_maze.py").write_text(MAZE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_maze", raising=False)
    return tmp_path


def install(folder: Path, points: str) -> None:
    """Metadata of an installed distribution with entry points."""
    info = folder / "my_maze-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-maze\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[sdar_gym.envs]\n{points}")


def test_an_environment_of_another_project_is_made_played_and_prompted(maze: Path) -> None:
    register("mylab/Maze-v0", "my_maze:Maze", prompt="my_maze:TEMPLATES")
    assert "my_maze" not in sys.modules
    env = gymnasium.make("mylab/Maze-v0", length=1)
    assert env.reset(seed=0)[0] == "1 to go"
    observation, reward, terminated, truncated, info = env.step("east")
    assert (observation, reward, terminated, truncated, info["won"]) == ("0 to go", 1.0, True, False, True)
    assert isinstance(prompt_template("mylab/Maze-v0", "maze"), WindowTemplate)
    with pytest.raises(ValueError, match="mylab/Maze-v0 has no prompt template 'window'; it has maze"):
        prompt_template("mylab/Maze-v0", "window")


def test_the_generic_prompts_serve_who_has_none() -> None:
    register("mylab/Maze-v0", POINT)
    assert entry_of("mylab/Maze-v0").skills is None
    assert isinstance(prompt_template("mylab/Maze-v0", "window"), WindowTemplate)


def test_registering_twice_is_fine_and_otherwise_is_not() -> None:
    register("mylab/Maze-v0", POINT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        register("mylab/Maze-v0", POINT)
    with pytest.raises(ValueError, match=r"'mylab/Maze-v0' is registered already, for sdar_gym.*choose another"):
        register("mylab/Maze-v0", "my_maze:Maze")
    with pytest.raises(ValueError, match="registered already"):
        register("mylab/Maze-v0", POINT, skills="alfworld")
    assert entry_of("mylab/Maze-v0").entry_point == POINT


def test_an_id_that_gymnasium_gave_to_another_class_is_refused() -> None:
    before = gymnasium.registry["CartPole-v1"]
    with pytest.raises(ValueError, match="'CartPole-v1' is registered already, for gymnasium"):
        register("CartPole-v1", "my_maze:Maze")
    assert gymnasium.registry["CartPole-v1"] is before


def test_an_entry_point_needs_its_form() -> None:
    with pytest.raises(ValueError, match=r"'my_maze.Maze' of 'mylab/Maze-v0' must have the form 'module:Class'"):
        register("mylab/Maze-v0", "my_maze.Maze")
    assert "mylab/Maze-v0" not in gymnasium.registry


def test_a_mistyped_id_gets_the_closest_one() -> None:
    with pytest.raises(ValueError, match=r"No environment 'sdar/AlfWorld-v0'.*Did you mean 'sdar/ALFWorld-v0'"):
        entry_of("sdar/AlfWorld-v0")
    with pytest.raises(ValueError, match=r"registered: .*sdar/ALFWorld-v0") as refused:
        entry_of("qqqqqqqq")
    assert "Did you mean" not in str(refused.value)


def test_entries_come_sorted() -> None:
    register("a/First-v0", POINT)
    ids = [entry.id for entry in entries()]
    assert ids == sorted(ids)
    assert {"a/First-v0", "sdar/ALFWorld-v0"} <= set(ids)


def test_plug_ins_of_installed_packages_are_loaded(maze: Path) -> None:
    install(maze, "maze = my_maze:plug_in\n")
    load_plugins()
    load_plugins()
    assert gymnasium.make("mylab/Maze-v0").reset()[0] == "2 to go"


@pytest.mark.parametrize(
    "target",
    ["my_maze:broken", "my_maze:missing", "no_such_module:plug_in", "my_maze:exits", "my_maze:panics", "my_maze",
     "my_exit:plug_in"],
)  # fmt: skip
def test_a_broken_plug_in_warns_and_takes_nothing_else_away(maze: Path, target: str) -> None:
    (maze / "my_exit.py").write_text("raise SystemExit\n")
    install(maze, f"bad = {target}\nmaze = my_maze:plug_in\n")
    with pytest.warns(PluginWarning, match="Plug-in 'bad'.*failed to load") as caught:
        load_plugins()
    assert len(caught) == 1
    assert entry_of("mylab/Maze-v0").entry_point == "my_maze:Maze"


def test_the_message_says_what_the_plug_in_said_in_one_harmless_line(maze: Path) -> None:
    install(maze, "exits = my_maze:exits\nclears = my_maze:clears_the_screen\n")
    with pytest.warns(PluginWarning) as caught:
        load_plugins()
    messages = sorted(str(warning.message) for warning in caught)
    assert messages[1] == "Plug-in 'exits' (my_maze:exits) failed to load: SystemExit('no licence found')."
    assert "\x1b" not in messages[0] and "\\x1b[2J" in messages[0]
    assert messages[0].isascii() and len(messages[0]) < 500


def test_an_interruption_goes_through(maze: Path) -> None:
    install(maze, "bad = my_maze:interrupted\n")
    with pytest.raises(KeyboardInterrupt):
        load_plugins()


def test_what_a_plug_in_prints_is_no_output_of_ours(maze: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(maze, "talks = my_maze:talks\n")
    load_plugins()
    assert capsys.readouterr() == ("", "Thank you for choosing My Maze!\n42\n")
    print("ours")
    assert capsys.readouterr().out == "ours\n"
    assert entry_of("mylab/Maze-v0").entry_point == "my_maze:Maze"


def test_a_slow_plug_in_is_named(maze: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(maze, "maze = my_maze:plug_in\n")
    monkeypatch.setattr(registry, "_SLOW_S", -1.0)
    with pytest.warns(
        PluginWarning, match=r"Plug-in 'maze' \(my_maze:plug_in\) took \d+\.\d s to load, and every import"
    ):
        load_plugins()
    assert entry_of("mylab/Maze-v0").entry_point == "my_maze:Maze"


def test_a_package_whose_files_are_damaged_is_a_warning(maze: Path) -> None:
    install(maze, "maze = my_maze:plug_in\n")
    (maze / "my_maze-1.0.dist-info" / "entry_points.txt").write_bytes(b"[sdar_gym.envs]\nmaze = \xff\n")
    with pytest.warns(PluginWarning, match="entry points cannot be read: UnicodeDecodeError"):
        load_plugins()


def test_importing_the_gym_survives_a_plug_in_that_exits(maze: Path) -> None:
    install(maze, "exits = my_maze:exits\ntalks = my_maze:talks\n")
    program = "import sdar_gym; print([entry.id for entry in sdar_gym.envs.entries() if 'Maze' in entry.id])"
    paths = os.pathsep.join([str(maze), *filter(None, sys.path)])
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (ran.returncode, ran.stdout) == (0, "['mylab/Maze-v0']\n")
    assert "Plug-in 'exits'" in ran.stderr and "Thank you" in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"id": 3}, "The id of an environment must be a text"),
        ({"entry_point": dict}, "entry_point <class 'dict'> .* must have the form 'module:Class', as a text"),
        ({"entry_point": "my_maze:"}, "must have the form 'module:Class'"),
        ({"prompt": "my_maze"}, "prompt 'my_maze' of 'mylab/Maze-v0' must have the form 'module:ATTRIBUTE'"),
        ({"prompt": None}, "prompt None"),
        ({"expert": "Expert"}, "expert 'Expert' of 'mylab/Maze-v0' must have the form 'module:Class'"),
    ],
)
def test_arguments_of_another_form_are_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        register(**{"id": "mylab/Maze-v0", "entry_point": POINT, **arguments})
    assert "mylab/Maze-v0" not in gymnasium.registry


def test_prompts_and_experts_that_are_not_there_are_named(maze: Path) -> None:
    register("mylab/Maze-v0", "my_maze:Maze", prompt="my_maze:TEMPLATE", expert="my_maze:Expert")
    with pytest.raises(
        ValueError, match=r"prompt templates of mylab/Maze-v0, 'my_maze:TEMPLATE': .*Did you mean 'TEMPLATES'"
    ):
        prompt_template("mylab/Maze-v0", "maze")
    with pytest.raises(
        ValueError, match="expert of mylab/Maze-v0, 'my_maze:Expert': the module 'my_maze' has no 'Expert'"
    ):
        expert_of("mylab/Maze-v0")
    with pytest.raises(ValueError, match="No environment 3; registered"):
        entry_of(3)  # pyright: ignore[reportArgumentType]

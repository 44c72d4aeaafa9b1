"""The example plug-in as its users have it: installed, found through its entry point, played, trained on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import sdar_gym

ROOT = Path(sdar_gym.__file__).parents[1]
MAZE = ROOT / "examples" / "maze_env"
FOUND = """
import json, sys, warnings
warnings.simplefilter("error")
import gymnasium, sdar_gym
from sdar_gym.envs import entry_of
from sdar_gym.testing import CheckSettings, check_text_env
early = "maze_env.env" in sys.modules
check_text_env("examples/Maze-v0", settings=CheckSettings(fresh_process=True), size=3)
entry = entry_of("examples/Maze-v0")
text = gymnasium.make("examples/Maze-v0").reset(seed=0)[0]
print(json.dumps({"early": early, "expert": entry.expert, "text": text, "file": sys.modules["maze_env"].__file__}))
"""


def run(command: list[str], cwd: Path, timeout: int = 500, **environment: str) -> subprocess.CompletedProcess[str]:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")} | environment
    return subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=timeout)


def test_its_entry_point_is_found_and_it_keeps_the_contract(tmp_path: Path) -> None:
    # What pip leaves of it, without building a wheel.
    shutil.copytree(MAZE / "src" / "maze_env", tmp_path / "maze_env")
    info = tmp_path / "maze_env-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: maze-env\nVersion: 0.1.0\n")
    declared = (MAZE / "pyproject.toml").read_text().partition('[project.entry-points."sdar_gym.envs"]\n')[2]
    (info / "entry_points.txt").write_text("[sdar_gym.envs]\n" + declared.splitlines()[0].replace('"', "") + "\n")
    done = run([sys.executable, "-c", FOUND], tmp_path, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["text"].startswith("You are in a maze. Your task: ")
    assert told["expert"] == "maze_env.expert:Expert"
    assert told["file"].startswith(str(tmp_path))
    assert not told["early"]  # Registering imports the package, not its environment.
    # Imported first, the plug-in imports the gym, which loads the plug-in.
    first = "import maze_env.env, gymnasium; gymnasium.make('examples/Maze-v0')"
    done = run([sys.executable, "-W", "error", "-c", first], tmp_path, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with all that this one has, and the example installed by pip."""
    folder = tmp_path_factory.mktemp("plugin") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=300)
    packages = next(folder.glob("lib/python*/site-packages"))
    # addsitedir, so that an editable install of the gym counts as well.
    here = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    (packages / "all-of-the-other.pth").write_text(here)
    python = folder / "bin" / "python"
    done = run([str(python), "-m", "pip", "install", "-q", "--no-deps", str(MAZE)], folder)
    if done.returncode and "hatchling" in done.stderr:
        pytest.skip(f"no hatchling to build the example with: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return python


@pytest.mark.slow
def test_pip_installs_it_and_its_own_tests_pass(installed: Path, tmp_path: Path) -> None:
    done = run([str(installed), "-c", FOUND], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "site-packages" in json.loads(done.stdout)["file"]
    listed = run([str(installed), "-m", "sdar_gym", "envs"], tmp_path, COLUMNS="200")
    assert "examples/Maze-v0" in listed.stdout
    shutil.copytree(MAZE / "tests", tmp_path / "tests")
    tested = run([str(installed), "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"], tmp_path)
    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
@pytest.mark.parametrize("runners", [0, 2])
def test_it_trains_for_an_update_in_this_process_and_with_remote_runners(
    installed: Path, tmp_path: Path, runners: int
) -> None:
    changes = [
        "training.iterations=1", "training.group_size=2", "training.tasks_per_iteration=2", "evaluation.tasks=4",
        f"resources.num_env_runners={runners}", f"runs_dir={tmp_path}",
    ]  # fmt: skip
    command = [str(installed), "-m", "sdar_gym", "train", str(MAZE / "maze.yaml"), *changes]
    done = run(command, tmp_path, HF_HUB_OFFLINE="1", RAY_USAGE_STATS_ENABLED="0")
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "maze-sdar"
    assert json.loads((folder / "summary.json").read_text())["updates"] == 1
    files = (folder / "episodes").glob("*.jsonl")
    episodes = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert len(episodes) >= 4
    assert {episode["task_type"] for episode in episodes} <= {"find_exit", "fetch_key"}
    assert all(episode["skills"] for episode in episodes if episode["split"] == "train")

"""The base install alone, with the newest Gymnasium that pip finds, from outside the repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import sdar_gym

ROOT = Path(sdar_gym.__file__).parents[1]
CHECKS = """
import json, sys, warnings
import gymnasium, sdar_gym
from gymnasium.utils.env_checker import check_env
from sdar_gym.envs import entries
from sdar_gym.testing import CheckSettings, check_text_env

warnings.filterwarnings("error")
warnings.filterwarnings("ignore", message=r".*(render|spec|Not able to test).*")
for entry in entries():
    check_env(gymnasium.make(entry.id).unwrapped)
    check_text_env(entry.id, settings=CheckSettings(fresh_process=True, async_vector=True))
heavy = sorted({"torch", "ray", "transformers", "jnius"} & set(sys.modules))
ids = [entry.id for entry in entries()]
print(json.dumps({"gymnasium": gymnasium.__version__, "file": sdar_gym.__file__, "heavy": heavy, "ids": ids}))
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_environment_keeps_both_contracts_there(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True, timeout=300)
    python = str(tmp_path / "venv" / "bin" / "python")
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    done = subprocess.run([*pip, "-U", str(ROOT), "gymnasium"], capture_output=True, text=True, timeout=600)
    if done.returncode and ("No matching distribution" in done.stderr or "Could not find a version" in done.stderr):
        pytest.skip(f"no package index to install from: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    # Nothing of the repository, nor of this process, may be what is tested.
    environ = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "ALFWORLD_DATA")}
    checked = subprocess.run(
        [python, "-c", CHECKS], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=600
    )
    assert checked.returncode == 0, checked.stderr
    told = json.loads(checked.stdout.splitlines()[-1])
    assert told["file"].startswith(str(tmp_path))
    assert told["heavy"] == []
    assert "sdar/ALFWorld-v0" in told["ids"]
    assert tuple(map(int, told["gymnasium"].split(".")[:2])) >= (1, 2)

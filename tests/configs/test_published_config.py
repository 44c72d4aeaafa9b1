"""What a language model is evaluated with: the published prompt and lengths, in any environment."""

from __future__ import annotations

import pytest

from sdar_gym.configs import load_config
from sdar_gym.configs.sections import RolloutSettings
from sdar_gym.envs.prompting import prompt_template


@pytest.mark.parametrize(
    ("env", "split"),
    [("sdar/ALFWorld-v0", "valid_seen"), ("sdar/WebShop-v0", "valid"), ("sdar/SearchQA-v0", "dev")],
)
def test_prompts_and_lengths_are_the_published_ones_in_every_environment(env: str, split: str) -> None:
    run = load_config("published", [f"env={env}", "rollout.max_response_tokens=256"])
    assert run.rollout == RolloutSettings(max_response_tokens=256)
    assert (run.env_config, run.evaluation.split, run.evaluation.temperature) == ({}, split, 0.4)
    prompt_template(env, run.rollout.prompt)

"""AgileRL: GRPO with multi-turn rollouts in an environment of SDAR Gym."""

import sys

from agilerl.algorithms.grpo import GRPO
from agilerl.llm_envs import RolloutHarness
from agilerl.training.llm.rollout import train_llm_rollout
from transformers import AutoTokenizer

from sdar_gym.integrations.agilerl import AgileEnv

ENV = {"env_id": "sdar/ALFWorld-v0", "games": "generated", "scene": "small", "max_steps": 20}


def train(model: str, max_steps: int = 10_000, **settings: object) -> GRPO:
    """Trains a chat model; the settings are those of AgileRL's `GRPO`."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    length = {"max_model_len": 4096}
    agent = GRPO(
        tokenizer.pad_token_id,
        tokenizer.pad_token,
        model_name=model,
        **{"batch_size": 4, "group_size": 8, "max_output_tokens": 64, **length, **settings},
    )

    def harness() -> RolloutHarness:
        return RolloutHarness.local(AgileEnv(**ENV), tokenizer, max_turns=ENV["max_steps"], **length)

    train_llm_rollout([agent], ENV["max_steps"], harness, max_steps=max_steps)
    return agent


if __name__ == "__main__":
    train(sys.argv[1] if len(sys.argv) > 1 else "Qwen/Qwen3-0.6B")

"""TRL: GRPO on an environment of SDAR Gym, by `GRPOTrainer`'s `environment_factory`."""

import sys
from functools import partial

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from sdar_gym.integrations.trl import TrlEnvironment, task_rows

ENV = {"env_id": "sdar/ALFWorld-v0", "games": "generated", "scene": "small", "max_steps": 20}


def train(model: str, output: str = "trl-grpo", **settings: object) -> GRPOTrainer:
    """Trains a model whose chat template has tools; the settings are those of `GRPOConfig`."""
    trainer = GRPOTrainer(
        model=model,
        args=GRPOConfig(output, **{"max_completion_length": 2048, "num_generations": 8, **settings}),
        train_dataset=Dataset.from_list(task_rows(tasks=1000, **ENV)),
        environment_factory=partial(TrlEnvironment, **ENV),
    )
    trainer.train()
    return trainer


if __name__ == "__main__":
    train(sys.argv[1] if len(sys.argv) > 1 else "Qwen/Qwen3-0.6B")

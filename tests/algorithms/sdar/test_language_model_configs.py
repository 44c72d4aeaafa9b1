"""Every configuration for a language model plays and updates once, with a small random model of its architecture."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import equal, learner_metrics, weights_of  # pyright: ignore[reportMissingImports]
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from sdar_gym.algorithms.sdar import SDAR, SDARConfig
from sdar_gym.configs import builtin_configs, load_config
from sdar_gym.policy.saving import save_model

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_instance")]
NAMES = [name for name in builtin_configs() if "/" in name or name in ("alfworld", "webshop", "searchqa", "published")]
# One of each environment and architecture; the others are with the slow tests.
QUICK = ("alfworld", "webshop", "searchqa", "paper/alfworld-qwen3-1.7b", "paper/alfworld-qwen2.5-7b")
SMALL = [
    "rollout.engine=transformers",
    # The test's tokenizer has 400 tokens, so that its prompts are several times longer.
    "rollout.max_prompt_tokens=8192",
    "rollout.max_teacher_prompt_tokens=16384",
    "rollout.max_response_tokens=6",
    "training.group_size=2",
    "training.tasks_per_iteration=2",
    "training.iterations=1",
    "training.num_minibatches=2",
    "env_config.max_steps=2",
    "evaluation.tasks=2",
    "evaluation.teacher_tasks=0",
]
# As Qwen3's: without thinking, the template writes an empty thought before the response.
THINKING = """
{%- if add_generation_prompt and enable_thinking is defined and not enable_thinking %}{{ '<think>

</think>

' }}{% endif %}"""


@pytest.fixture(scope="module")
def model_folder(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders of small models of an architecture: attention, tied weights and biases as in the real ones."""
    folders: dict[str, Path] = {}

    def folder_of(hub_name: str) -> Path:
        kind = "qwen3" if "Qwen3" in hub_name else "qwen2 untied" if "7B" in hub_name else "qwen2"
        if kind not in folders:
            sizes: dict[str, Any] = {
                "vocab_size": len(tokenizer) + 7,  # Heads are padded to a round size.
                "hidden_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "intermediate_size": 48,
                "max_position_embeddings": 32_768,
                "tie_word_embeddings": "untied" not in kind,
                "bos_token_id": None,
                "eos_token_id": tokenizer.eos_token_id,
                "pad_token_id": tokenizer.pad_token_id,
            }
            own = deepcopy(tokenizer)
            torch.manual_seed(0)
            if kind == "qwen3":
                model: Any = Qwen3ForCausalLM(Qwen3Config(**sizes, head_dim=16))
                own.chat_template += THINKING
            else:
                model = Qwen2ForCausalLM(Qwen2Config(**sizes))
            folders[kind] = tmp_path_factory.mktemp("models") / kind.replace(" ", "-")
            save_model(model, own, folders[kind])
        return folders[kind]

    return folder_of


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_a_configuration_plays_and_updates(
    name: str, model_folder: Callable[[str], Path], build: Callable[[SDARConfig], SDAR]
) -> None:
    hub_name = load_config(name).policy.model
    run = load_config(name, [f"policy.model={model_folder(hub_name)}", *SMALL])
    algorithm = build(SDARConfig.from_run(run).debugging(log_level="ERROR"))
    before = weights_of(algorithm)
    result = algorithm.train()
    played = result["env_runners"]
    assert (played["episodes"], played["failed_episodes"], played["prompt_too_long"]) == (4, 0, 0)
    assert played["teacher_too_long"] == 0 and played["response_tokens"] > 0
    learned = learner_metrics(result)
    assert math.isfinite(learned["policy_loss"])
    # Without a cost of it nobody reads the reference.
    assert math.isfinite(learned["kl"]) if run.objective.kl_coeff else "kl" not in learned
    assert not equal(before, weights_of(algorithm))

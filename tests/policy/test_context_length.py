"""Context length from a model's configuration, with scaled RoPE."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, LlamaConfig, PreTrainedConfig

from sdar_gym.policy.context_length import context_length, scales_by_length


def llama(length: int = 128, **rope: Any) -> PreTrainedConfig:
    settings = {"rope_parameters": {"rope_theta": 10_000.0, **rope}} if rope else {}
    return LlamaConfig(
        vocab_size=20,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=length,
        **settings,
    )


FACTORS = {"long_factor": [2.0] * 8, "short_factor": [1.0] * 8}


@pytest.mark.parametrize(
    ("rope", "length"),
    [
        ({}, 128),
        ({"rope_type": "default"}, 128),
        ({"rope_type": "linear", "factor": 4.0}, 512),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}, 512),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}, 128),
        (
            {
                "rope_type": "llama3",
                "factor": 8.0,
                "original_max_position_embeddings": 32,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
            },
            128,
        ),
        # Beyond the original length these follow the longest row of a batch.
        ({"rope_type": "dynamic", "factor": 4.0}, 128),
        ({"rope_type": "longrope", "factor": 4.0, "original_max_position_embeddings": 32, **FACTORS}, 32),
    ],
    ids=["none", "default", "linear", "yarn", "yarn, told already", "llama3", "dynamic", "longrope"],
)
def test_scaled_positions_count_where_the_scale_is_fixed(rope: Any, length: int) -> None:
    config = llama(**rope)
    assert context_length(config) == length
    assert scales_by_length(config) == (rope["rope_type"] if rope.get("rope_type") in ("dynamic", "longrope") else None)


@pytest.mark.parametrize(
    ("kind", "settings", "length"),
    [
        ("gpt2", {"n_positions": 64}, 64),
        ("mpt", {"max_seq_len": 96}, 96),
        ("opt", {"max_position_embeddings": 80}, 80),
        ("bloom", {}, None),
    ],
)
def test_other_architectures_have_other_names_for_it(kind: str, settings: Any, length: int | None) -> None:
    assert context_length(AutoConfig.for_model(kind, **settings)) == length


def test_what_is_said_per_kind_of_layer_is_read() -> None:
    config = AutoConfig.for_model("gemma3_text", max_position_embeddings=100)
    assert any("full_attention" in str(key) for key in config.rope_parameters)
    config.rope_parameters["full_attention"] = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    assert scales_by_length(config) == "dynamic"
    assert context_length(config) == 100


def test_dynamic_positions_depend_on_the_batch_beyond_that_length() -> None:
    """Why the original length is the limit: the same row beside a longer one has other logits."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(llama(16, rope_type="dynamic", factor=4.0)).eval()
    ids = torch.randint(20, (1, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        within, longer = model(input_ids=ids[:, :16]).logits, model(input_ids=ids).logits[:, :16]
    assert not torch.allclose(within, longer, atol=1e-4)

"""The contract of engines, for the `transformers` engine with several architectures, precisions and adapters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from engine_contract import LONGEST, SIZES, VOCABULARY, EngineContract, with_random_weights
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from sdar_gym.policy.lora import Adapters
from sdar_gym.rollout.engines import Engine
from sdar_gym.rollout.engines.transformers_engine import TransformersEngine


class TestQwen2(EngineContract):
    def make(self, model: PreTrainedModel, stop_ids: Sequence[int]) -> Engine:
        return TransformersEngine(model, stop_ids=stop_ids, pad_id=0)


class TestQwen3(TestQwen2):
    """Norms of queries and keys, and a head width that is not the hidden size by the number of heads."""

    def model(self, *, tied: bool = True, seed: int = 0) -> Any:
        sizes: dict[str, Any] = {**SIZES, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
        config = Qwen3Config(**sizes, tie_word_embeddings=tied)
        return with_random_weights(Qwen3ForCausalLM, config, seed)


class TestLlama(TestQwen2):
    """Scaled rotary positions, biases, and no groups of queries."""

    def model(self, *, tied: bool = True, seed: int = 0) -> Any:
        rope = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 2.0, "original_max_position_embeddings": 160}
        sizes: dict[str, Any] = {**SIZES, "num_key_value_heads": 2, "attention_bias": True, "rope_parameters": rope}
        config = LlamaConfig(**sizes, tie_word_embeddings=tied)
        return with_random_weights(LlamaForCausalLM, config, seed)


class TestGPT2(TestQwen2):
    """Learned positions: the module's own forward pass."""

    def model(self, *, tied: bool = True, seed: int = 0) -> Any:
        config = GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=LONGEST,
            n_embd=64,
            n_layer=2,
            n_head=4,
            bos_token_id=None,
            eos_token_id=1,
            tie_word_embeddings=tied,
        )
        return with_random_weights(GPT2LMHeadModel, config, seed)


class TestEagerAttention(TestQwen2):
    """Attention that adds its mask, in the module's own forward pass."""

    def model(self, *, tied: bool = True, seed: int = 0) -> Any:
        sizes: dict[str, Any] = {**SIZES, "attn_implementation": "eager"}
        config = GPTNeoXConfig(**sizes, tie_word_embeddings=tied)
        return with_random_weights(GPTNeoXForCausalLM, config, seed)


class TestSmallCache(TestQwen2):
    """So little room that conversations wait for each other in the middle of their responses."""

    def make(self, model: PreTrainedModel, stop_ids: Sequence[int]) -> Engine:
        return TransformersEngine(model, stop_ids=stop_ids, pad_id=0, max_batch_tokens=200, max_cache_tokens=420)


class TestBfloat16(TestQwen2):
    tolerance = 0.25
    exact = False

    def model(self, *, tied: bool = True, seed: int = 0) -> Any:
        return torch.nn.Module.to(super().model(tied=tied, seed=seed), dtype=torch.bfloat16)


class TestAdapters(TestQwen2):
    """LoRA adapters, which replace the linear layers."""

    def test_weights_of_another_model_are_refused_and_nothing_changes(self, engine: Engine) -> None:
        pytest.skip("tests/policy/test_lora.py has it: weights that are frozen may be missing.")

    def model(self, *, tied: bool = True, seed: int = 0) -> Any:
        model = super().model(tied=tied, seed=0)
        adapters = Adapters(model, r=4, alpha=8.0)
        torch.manual_seed(seed)
        for parameter in adapters.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        return model

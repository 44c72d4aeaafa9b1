"""Memory-based defaults: batch sizes, gradient checkpointing, threads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sdar_gym.policy.load import load_model, load_model_config
from sdar_gym.policy.sizing import (
    Machine,
    Shape,
    activation_bytes,
    choose_training_sizes,
    default_batch_tokens,
    empty_model,
    model_shape,
    set_threads,
    shape_of,
)

GIB = 1 << 30
SMOLLM2 = Shape(134_515_008, 30, 576, 1536, 2 * 3 * 64)
QWEN_1_5B = Shape(1_543_714_304, 28, 1536, 8960, 2 * 2 * 128)
TINY = Shape(200_000, 2, 64, 128, 64)
WHOLE: dict[str, Any] = {
    "half": False,
    "lora": False,
    "models_beside": 1,
    "micro_batch_tokens": None,
    "gradient_checkpointing": None,
}


def test_the_sizes_of_a_model_are_known_without_its_weights(policy_folder: Path) -> None:
    assert model_shape(str(policy_folder)) == shape_of(load_model(str(policy_folder)))
    assert model_shape(str(policy_folder)).parameters == load_model(str(policy_folder)).num_parameters()


def test_activations_are_near_what_was_measured() -> None:
    # 2.3 MB a token of SmolLM2-135M in single precision without recomputation.
    assert activation_bytes(SMOLLM2, 4, recomputed=False) == pytest.approx(2.3e6, rel=0.1)
    assert activation_bytes(SMOLLM2, 4, recomputed=True) < 0.1 * activation_bytes(SMOLLM2, 4, recomputed=False)


def test_a_small_model_has_the_published_micro_batch_and_no_recomputation() -> None:
    sizes = choose_training_sizes(TINY, Machine(8 * GIB), **WHOLE)
    assert (sizes.micro_batch_tokens, sizes.gradient_checkpointing) == (16_384, False)
    assert "training.micro_batch_tokens=16384" in sizes.note and "0.2M parameters" in sizes.note


def test_what_would_not_fit_is_recomputed_or_cut() -> None:
    # At the former defaults 16,384 tokens of this model wanted 35 GB.
    sizes = choose_training_sizes(SMOLLM2, Machine(24 * GIB), **WHOLE)
    own = SMOLLM2.parameters * 20
    needed = own + sizes.micro_batch_tokens * activation_bytes(SMOLLM2, 4, recomputed=sizes.gradient_checkpointing)
    assert needed < 0.8 * 24 * GIB
    gpu = choose_training_sizes(QWEN_1_5B, Machine(128 * GIB, 80 * GIB), **{**WHOLE, "half": True})
    assert gpu.micro_batch_tokens >= 4096
    small = choose_training_sizes(QWEN_1_5B, Machine(128 * GIB, 40 * GIB), **{**WHOLE, "half": True})
    assert small.gradient_checkpointing and not gpu.gradient_checkpointing


def test_what_was_set_stays_and_what_is_too_much_is_said() -> None:
    asked = {**WHOLE, "micro_batch_tokens": 777, "gradient_checkpointing": False}
    sizes = choose_training_sizes(QWEN_1_5B, Machine(16 * GIB), **asked)
    assert (sizes.micro_batch_tokens, sizes.gradient_checkpointing) == (777, False)
    assert "more than is available: use policy.lora" in sizes.note


def test_threads_are_one_for_small_models(policy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)))
    small, large = load_model(str(policy_folder)), torch.nn.Linear(10_000, 6_000, device="meta")
    set_threads(None, small, 1)
    set_threads(None, large, 1)
    set_threads(None, large, 2)
    set_threads(3, large, 2)
    assert chosen == [1, 8, 4, 3]


def test_an_engine_s_batch_is_bounded_on_the_cpu_too(policy_folder: Path) -> None:
    assert default_batch_tokens(load_model(str(policy_folder))) == 32_768


def test_an_empty_model_has_names_and_no_weights(policy_folder: Path) -> None:
    model = empty_model(load_model_config(str(policy_folder)))
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    assert "model.layers.0.self_attn.q_proj.weight" in dict(model.named_parameters())
    # The default device is as it was.
    assert torch.zeros(1).device.type == "cpu"

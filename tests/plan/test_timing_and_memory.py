"""Time and memory of a plan against numbers worked out by hand, and the table of GPUs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from transformers import Qwen2Config, Qwen3Config

from sdar_gym.algorithms.methods import get_method
from sdar_gym.configs.sections import LoraSettings, PolicySettings, TrainingSettings
from sdar_gym.plan.gpus import GPUS, Efficiency, Gpu, gpu_of
from sdar_gym.plan.memory import memory_of
from sdar_gym.plan.model_size import ModelSize, size_of
from sdar_gym.plan.timing import EAGER_SECONDS_PER_LAYER, compute_seconds, decoding, step_overhead
from sdar_gym.plan.work import Work
from sdar_gym.policy.sizing import Shape, activation_bytes, empty_model

SIZE = ModelSize(Shape(parameters=1000, layers=2, hidden=4, intermediate=8, kv=4), 700, 300, 4, 40)
PLAIN = Gpu("plain", flops=1e6, bandwidth=1e4, memory=1e6, source="")


def qwen_15b() -> ModelSize:
    """Qwen2.5-1.5B by its configuration."""
    config = Qwen2Config(
        hidden_size=1536,
        num_hidden_layers=28,
        num_attention_heads=12,
        num_key_value_heads=2,
        intermediate_size=8960,
        vocab_size=151_936,
        tie_word_embeddings=True,
    )
    return size_of(empty_model(config))


def test_sizes_are_those_of_the_model() -> None:
    size = qwen_15b()
    # Published: 1.54B parameters, 1.31B without the embedding.
    assert size.shape.parameters == 1_543_714_304
    assert size.head == 151_936 * 1536
    # A layer: queries and output 1536 x 1536, keys and values 1536 x 256, three times 1536 x 8960.
    assert size.body == 28 * (2 * 1536 * 1536 + 2 * 1536 * 256 + 3 * 1536 * 8960)
    assert size.query_width == 1536
    assert size.linear_ends == 28 * (2 * (1536 + 1536) + 2 * (1536 + 256) + 3 * (1536 + 8960))
    # Heads may be wider than the hidden size: 16 x 128 on 1024.
    config = Qwen3Config(hidden_size=1024, num_attention_heads=16, num_key_value_heads=8, head_dim=128)
    assert size_of(empty_model(config)).query_width == 2048


def test_matrix_products_take_their_share_of_the_peak() -> None:
    assert compute_seconds(3e6, PLAIN, Efficiency(mfu=0.5)) == pytest.approx(6.0)


def test_a_decoding_step_reads_all_weights_and_the_keys_and_values_of_all_episodes() -> None:
    # 40 tokens at a mean context of 5, four episodes at once: ten steps.
    work = Work(tokens=40, predicted=40, pairs=200)
    found = decoding(
        work, SIZE, PLAIN, Efficiency(mfu=1.0, bandwidth=0.5), concurrent=4, longest=10, width=2, overhead=0.25
    )
    moved = 2 * (1000 + 4 * 5 * 2 * 4)
    assert found.steps == 10
    assert found.step_seconds == pytest.approx(moved / 5e3 + 0.25)
    assert found.seconds == pytest.approx(10 * found.step_seconds)


def test_an_episode_cannot_be_decoded_faster_than_token_by_token() -> None:
    work = Work(tokens=40, predicted=40, pairs=200)
    found = decoding(work, SIZE, PLAIN, Efficiency(), concurrent=100, longest=25, width=2, overhead=0.0)
    assert found.steps == 25


def test_a_step_waits_for_the_matrix_products_where_they_are_slower() -> None:
    work = Work(tokens=40, predicted=40, pairs=200)
    slow = replace(PLAIN, flops=1e3)
    found = decoding(work, SIZE, slow, Efficiency(mfu=1.0), concurrent=4, longest=1, width=2, overhead=0.0)
    assert found.step_seconds == pytest.approx(work.flops(SIZE) / 10 / 1e3)


def test_the_transformers_engine_pays_for_every_layer() -> None:
    assert step_overhead("transformers", SIZE, Efficiency()) == 2 * EAGER_SECONDS_PER_LAYER
    assert step_overhead("vllm", SIZE, Efficiency()) < 0.01
    assert step_overhead("transformers", SIZE, Efficiency(step_seconds=0.5)) == 0.5


def test_memory_of_qwen_15b_on_80_gb() -> None:
    policy = PolicySettings(model="x", dtype="bfloat16", gradient_checkpointing=True)
    memory = memory_of(qwen_15b(), policy, TrainingSettings(), get_method("sdar").objective, 80e9)
    gigabytes = {name: value / 1e9 for name, value in memory.gpu.items()}
    weights = 1.543714304
    assert gigabytes["weights in single precision"] == pytest.approx(4 * weights)
    assert gigabytes["gradients"] == pytest.approx(4 * weights)
    assert gigabytes["AdamW, two moments"] == pytest.approx(8 * weights)
    assert gigabytes["copies in half precision for matrix products"] == pytest.approx(2 * weights)
    assert gigabytes["weights of the engine"] == pytest.approx(2 * weights)
    # A token: 28 layers of keys and values, two heads of 128 each, two bytes.
    assert memory.kv_token == 2 * 28 * 2 * 2 * 128
    # The reference is kept in main memory, in single precision; the teacher's weights are the student's.
    assert memory.main == {"reference weights": pytest.approx(4 * weights * 1e9)}
    assert memory.fits
    tokens, kept, recomputed = memory.activations[0]
    assert tokens == 2048 and recomputed < kept / 10
    assert kept == 2048 * activation_bytes(qwen_15b().shape, 2, recomputed=False)


def test_adapters_need_moments_for_themselves_only() -> None:
    size = qwen_15b()
    policy = PolicySettings(model="x", dtype="bfloat16", lora=LoraSettings(r=8))
    memory = memory_of(size, policy, TrainingSettings(), get_method("grpo").objective, 24e9)
    assert memory.gpu["AdamW, two moments"] == 8 * 8 * size.linear_ends
    assert "copies in half precision for matrix products" not in memory.gpu
    assert memory.fits and memory.main == {}


def test_a_model_that_does_not_fit_is_planned_with_an_engine_of_its_own() -> None:
    memory = memory_of(
        qwen_15b(), PolicySettings(dtype="bfloat16"), TrainingSettings(), get_method("grpo").objective, 24e9
    )
    assert not memory.fits
    assert memory.kv_room == pytest.approx(0.9 * 24e9 - 2 * 1_543_714_304)
    # The micro-batch is that of a GPU with room for activations.
    assert memory.micro_batch_tokens == 16_384


def test_keys_and_values_get_what_weights_gradients_and_moments_leave() -> None:
    policy = PolicySettings(dtype="bfloat16")
    memory = memory_of(qwen_15b(), policy, TrainingSettings(), get_method("grpo").objective, 80e9)
    # 4 + 4 + 8 bytes a weight in the learner, 2 in the engine; copies in half precision are gone while it samples.
    assert memory.kv_room == pytest.approx(0.9 * 80e9 - (4 + 4 + 8 + 2) * 1_543_714_304)


def test_gpus_are_found_by_name() -> None:
    assert gpu_of("rtx 4090") is GPUS["RTX4090"]
    with pytest.raises(ValueError, match=r"No numbers of a GPU 'H10'\. Did you mean 'H100'\?"):
        gpu_of("H10")
    with pytest.raises(ValueError, match="mfu is a share of the peak"):
        Efficiency(mfu=30)

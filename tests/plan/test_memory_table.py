"""The memory table against numbers worked out by hand: bytes a weight by way of training, and what fits 80 GB."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import sdar_gym
from sdar_gym.plan.memory_table import (
    DDP,
    HALF_SHARDED,
    LORA,
    MICRO_BATCH_TOKENS,
    SCHEMES,
    SHARDED,
    memory_rows,
    peaks_of,
    qwen_size,
)
from sdar_gym.policy.learner_memory import (
    COPIES,
    HALF,
    Scheme,
    pass_memory,
    standing_memory,
    step_memory,
)
from sdar_gym.policy.sizing import Shape, activation_bytes

# A hundred weights, of which the largest tensor has ten.
SHAPE = Shape(parameters=100, layers=2, hidden=4, intermediate=8, kv=4, largest=10)
ROWS = {(row.model, row.scheme): row for row in memory_rows()}


def bytes_a_weight(**scheme: object) -> float:
    made = Scheme(width=HALF, **scheme)  # pyright: ignore[reportArgumentType]
    return sum((standing_memory(SHAPE, made) | pass_memory(SHAPE, made)).values()) / 100


def test_bytes_a_weight_are_those_of_the_terms() -> None:
    # Weights 4, gradients 4, moments 8, copies 2.
    assert bytes_a_weight() == bytes_a_weight(learners=8) == 18
    assert bytes_a_weight(learners=4, sharded=True) == 4 + 4 + 8 / 4 + 2
    # Weights 2, gradients 2, master weights 4, moments 8.
    assert bytes_a_weight(half_weights=True) == bytes_a_weight(half_weights=True, sharded=True) == 16
    assert bytes_a_weight(half_weights=True, sharded=True, learners=4) == 2 + 2 + 12 / 4
    # Nothing is shared more evenly than by whole tensors.
    assert bytes_a_weight(half_weights=True, sharded=True, learners=50) == pytest.approx(2 + 2 + 12 * 10 / 100)
    # Frozen weights 2; weights, gradients and moments of twenty weights of adapters 16.
    assert bytes_a_weight(adapters=20) == pytest.approx(2 + 16 * 20 / 100)
    assert COPIES not in pass_memory(SHAPE, Scheme(width=4))


def test_a_step_needs_arrays_of_the_largest_tensor() -> None:
    assert step_memory(SHAPE, Scheme(width=HALF)) == 8 * 10
    assert step_memory(SHAPE, Scheme(width=HALF, half_weights=True)) == 12 * 10
    assert step_memory(SHAPE, Scheme(width=HALF, adapters=20)) == 0


def test_sizes_are_those_of_qwen() -> None:
    published = {"0.5B": 494_032_768, "1.5B": 1_543_714_304, "3B": 3_085_938_688, "7B": 7_615_616_512}
    assert {size: qwen_size(size).shape.parameters for size in published} == published
    assert qwen_size("7B").shape.largest == 152_064 * 3584


def test_seven_billion_weights_fit_eight_gpus_of_80_gb_by_half_weights() -> None:
    row = ROWS["7B", HALF_SHARDED]
    weights = 7.615616512
    activations = MICRO_BATCH_TOKENS * activation_bytes(qwen_size("7B").shape, HALF, recomputed=True) / 1e9
    logits = 3 * 64 * 2**20 / 1e9
    expected = weights * (2 + 2 + 12 / 8) + max(activations + logits, 12 * 152_064 * 3584 / 1e9)
    assert row.recomputed[8] / 1e9 == pytest.approx(expected)
    assert row.fits(8, 80e9) and not row.fits(1, 80e9) and not row.fits(2, 80e9)
    assert not any(ROWS["7B", way].fits(8, 80e9) for way in (DDP, SHARDED))
    assert ROWS["7B", LORA].fits(1, 80e9)


def test_rows_are_of_all_ways_and_fewer_bytes_with_more_gpus() -> None:
    assert len(ROWS) == 4 * len(SCHEMES)
    for (_, way), row in ROWS.items():
        one, two, eight = row.recomputed.values()
        assert (one > two > eight) if way in (SHARDED, HALF_SHARDED) else (one == two == eight)
        assert all(row.kept[gpus] > row.recomputed[gpus] for gpus in row.kept)
        assert row.engine == 2 * row.parameters
    own = memory_rows(qwen_size("0.5B"), "mine")
    assert [row.model for row in own[-len(SCHEMES) :]] == ["mine"] * len(SCHEMES)


def test_the_committed_table_is_this_one() -> None:
    path = Path(sdar_gym.__file__).parents[1] / "benchmarks" / "results" / "memory.json"
    committed = json.loads(path.read_text(encoding="utf-8"))
    assert committed["table"] == json.loads(json.dumps([row.to_json() for row in ROWS.values()]))
    assert committed["table_tokens"] == MICRO_BATCH_TOKENS
    assert len(committed["cases"]) == 3


def test_few_tokens_have_few_logits() -> None:
    size, scheme = qwen_size("0.5B"), Scheme(width=HALF)
    passes = [peaks_of(size, scheme, tokens, recomputed=True)[0] for tokens in (10, 20)]
    a_token = activation_bytes(size.shape, HALF, recomputed=True) + 3 * 4 * 151_936
    assert passes[1] - passes[0] == pytest.approx(10 * a_token)

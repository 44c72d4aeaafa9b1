"""Learners that share the optimizer's state: unsharded training bit for bit, and resumed by other numbers of them."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import (  # pyright: ignore[reportMissingImports]
    Weights,
    equal,
    learner_state,
    moments_of,
    remote,
    small_config,
    weights_of,
)

from sdar_gym.algorithms.sdar import SDAR, SDARConfig
from sdar_gym.runs.checkpoint import read_manifest, read_state, verify_checkpoint, write_checkpoint
from sdar_gym.training.sharded_adamw import BY_NAME

# Three algorithms with two remote learners each take minutes to start where the processor is shared.
pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_instance"), pytest.mark.timeout(1200)]
Build = Callable[[SDARConfig], SDAR]
HALF = {"dtype": "bfloat16", "half_weights": True}


def config(learners: int, *, sharded: bool | None = None, **policy: Any) -> SDARConfig:
    made = remote(small_config(max_steps=3, micro_batch_tokens=400), learners=learners)
    return made.learners(shard_optimizer=sharded).policy(**policy)


def trained(algorithm: SDAR, updates: int = 2) -> SDAR:
    while algorithm.training_iteration < updates:
        algorithm.train()
    return algorithm


def saved(algorithm: SDAR, folder: Path) -> Path:
    folder.mkdir()
    write_checkpoint(folder, algorithm.resumable_state(), run="r", settings={}, panel="p")
    return folder


def restored(algorithm: SDAR, folder: Path) -> SDAR:
    algorithm.set_state(read_state(folder, verify_checkpoint(folder)))
    return algorithm


def assert_same(one: SDAR, other: SDAR) -> None:
    assert equal(weights_of(one), weights_of(other))
    for left, right in zip(moments_of(one), moments_of(other), strict=True):
        np.testing.assert_array_equal(left, right)


def distance(one: Weights, other: Weights) -> float:
    return max(float((one[name].float() - other[name].float()).abs().max()) for name in one)


def test_half_weights_train_and_resume_exactly(build: Build, tmp_path: Path) -> None:
    """With one learner in this process, which has all master weights."""
    algorithm = trained(build(config(0, **HALF)), 1)
    folder = saved(algorithm, tmp_path / "checkpoint")
    assert {each.dtype for each in weights_of(algorithm).values()} == {torch.bfloat16}
    masters = {name: each["master"] for name, each in learner_state(algorithm)["optimizer"][BY_NAME].items()}
    assert {each.dtype for each in masters.values()} == {torch.float32}
    assert any(not torch.equal(each, each.bfloat16().float()) for each in masters.values())
    assert all(torch.equal(weights_of(algorithm)[name], each.bfloat16()) for name, each in masters.items())
    resumed = restored(build(config(0, **HALF)), folder)
    assert_same(trained(algorithm), trained(resumed))


def test_senseless_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"policy\.half_weights=True has no effect.*policy\.dtype is float32"):
        config(0, half_weights=True)
    average = small_config(objective={"teacher": {"weights": "ema", "rate": 0.3}}).policy(**HALF)
    with pytest.raises(ValueError, match=r"teacher\.weights='ema' needs trained weights in single precision"):
        average.check()


@pytest.mark.slow
def test_two_learners_with_shares_are_two_without_and_go_on_as_one() -> None:
    """Two processes with gloo; what they check is in `two_learners.py`."""
    script = Path(__file__).with_name("two_learners.py")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    processes = [
        subprocess.Popen([sys.executable, str(script), str(rank), port], stderr=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    for process in processes:
        try:
            _, errors = process.communicate(timeout=600)
        finally:
            process.kill()
        assert process.returncode == 0, errors[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after", "policy"), [(2, 0, {}), (0, 2, HALF)], ids=["two-to-one", "one-to-two"])
def test_a_run_s_checkpoint_goes_on_with_another_number_of_learners(
    before: int, after: int, policy: dict[str, Any], build: Build, tmp_path: Path
) -> None:
    first = trained(build(config(before, **policy)), 1)
    folder = saved(first, tmp_path / "checkpoint")
    parts = [name for name in read_manifest(folder).files if name.startswith("optimizer-")]
    assert sorted(parts) == ["optimizer-1-of-2.safetensors", "optimizer-2-of-2.safetensors"] if before else not parts
    then = restored(build(config(after, **policy)), folder)
    assert_same(first, then)
    before_update = weights_of(first)
    ends = [weights_of(trained(algorithm, 2)) for algorithm in (first, then)]
    # A learning rate of 1e-3 moves weights by about as much.
    assert distance(before_update, ends[0]) > 5e-4
    assert distance(*ends) < (0.02 if policy else 1e-4)


@pytest.mark.slow
def test_tune_s_checkpoints_hold_the_shares_of_all_learners(build: Build, tmp_path: Path) -> None:
    first = trained(build(config(2)), 1)
    path = first.save_to_path(str(tmp_path / "tune"))
    then = build(config(2))
    then.restore_from_path(path)
    assert_same(first, then)
    assert_same(trained(first), trained(then))

"""Two learners with gloo, without Ray: `python two_learners.py RANK PORT` for ranks 0 and 1; fails with an assertion.

What is checked is in `check`; `test_sharded_optimizer.py` starts both processes.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import torch.distributed as dist
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from sdar_gym.algorithms.sdar import SDARConfig
from sdar_gym.algorithms.sdar.learner import SDARLearner
from sdar_gym.training.sharded_adamw import BY_NAME, ShardedAdamW, merged_state

HALF: dict[str, Any] = {"dtype": "bfloat16", "half_weights": True}
ROWS, TOKENS, RESPONSE, LR = 8, 24, 8, 1e-3
Weights = dict[str, torch.Tensor]


def learner_of(learners: int, policy: dict[str, Any], *, sharded: bool | None = None) -> SDARLearner:
    """The learner of a run with the tiny policy, as RLlib builds it in each process."""
    config = SDARConfig().environment("sdar/ALFWorld-v0")
    config.training(method="grpo", micro_batch_tokens=2 * TOKENS, lr=LR, grad_clip=0.05)
    config.policy(gradient_checkpointing=False, **policy).learners(num_learners=learners, shard_optimizer=sharded)
    space = gym.spaces.Discrete(1)
    spec = config.get_multi_rl_module_spec(spaces={DEFAULT_MODULE_ID: (space, space)})
    learner = SDARLearner(config=config, module_spec=spec)
    learner.build()
    return learner


def update(learner: SDARLearner, number: int, rows: slice) -> None:
    """An update on some rows of a batch that follows from its number."""
    rng = np.random.default_rng(number)
    shape = (ROWS, RESPONSE)
    columns = {
        "input_ids": rng.integers(10, 400, (ROWS, TOKENS)),
        "response_position": np.tile(np.arange(TOKENS - RESPONSE, TOKENS), (ROWS, 1)),
        "response_mask": np.ones(shape, dtype=bool),
        "span": np.zeros(shape, dtype=np.int64),
        "old_logp": np.full(shape, -7.0, dtype=np.float32),
        "advantage": rng.standard_normal(shape).astype(np.float32),
        "weight": np.full(shape, 1 / (ROWS * RESPONSE), dtype=np.float32),
    }
    columns = {name: column[rows] for name, column in columns.items()}
    batch = MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch(columns)}, env_steps=ROWS)
    size = len(columns["input_ids"])
    learner.update(
        training_data=TrainingData(batch=batch), timesteps={}, num_epochs=1, minibatch_size=size, update_number=number
    )


def weights_of(learner: SDARLearner) -> Weights:
    return learner.module[DEFAULT_MODULE_ID].unwrapped().get_state()


def whole_state(learner: SDARLearner, learners: int) -> dict[str, Any]:
    """Weights and the optimizer's whole state, as a checkpoint of all learners holds them."""
    state = {"rl_module": learner.get_state(components="rl_module")["rl_module"]}
    optimizer: Any = learner._get_optimizer_state()
    if BY_NAME in optimizer and learners > 1:
        parts: list[Any] = [None] * learners
        dist.all_gather_object(parts, optimizer)
        optimizer = merged_state(parts)
    return {**state, "optimizer": optimizer}


def assert_same(one: Weights, other: Weights) -> None:
    assert one.keys() == other.keys()
    wrong = [name for name in one if not torch.equal(one[name], other[name])]
    assert not wrong, wrong


def check(rank: int, policy: dict[str, Any]) -> None:
    """Sharded is unsharded bit for bit; a state goes on with two learners, with one, and from one with two."""
    half = bool(policy)
    mine, everything = slice(rank, None, 2), slice(None)
    whole, shared = learner_of(2, policy, sharded=False), learner_of(2, policy)
    start = weights_of(whole)
    for number in range(2):
        update(whole, number, mine)
        update(shared, number, mine)
    assert_same(weights_of(whole), weights_of(shared))
    moved = max(float((each.float() - start[name].float()).abs().max()) for name, each in weights_of(shared).items())
    assert moved > LR / 2, moved
    optimizer = shared._optimizer
    assert isinstance(optimizer, ShardedAdamW)
    elements = sum(parameter.numel() for parameter in shared._trained.values())
    assert 0.3 < optimizer.nbytes / ((12 if half else 8) * elements) < 0.7
    # Gradients stay in the buckets of DDP, where micro-batches add to them, and are zero between updates.
    gradients = [parameter.grad for parameter in shared._trained.values()]
    assert all(gradient is not None and not gradient.any() for gradient in gradients)

    state = whole_state(shared, 2)
    resumed, unsharded = learner_of(2, policy), learner_of(2, policy, sharded=False)
    for learner in (resumed, unsharded):
        learner.set_state(state)
    for learner in (shared, resumed, unsharded):
        update(learner, 2, mine)
    assert_same(weights_of(shared), weights_of(resumed))
    assert_same(weights_of(shared), weights_of(unsharded))

    alone = learner_of(0, policy)
    alone.set_state(state)
    update(alone, 2, everything)
    assert_close(weights_of(shared), weights_of(alone), half)

    state = whole_state(alone, 1)
    again = learner_of(2, policy)
    again.set_state(state)
    assert_same(weights_of(again), weights_of(alone))
    update(alone, 3, everything)
    update(again, 3, mine)
    assert_close(weights_of(again), weights_of(alone), half)


def assert_close(one: Weights, other: Weights, half: bool) -> None:
    """Weights after one more update: gradients are summed in another order, those in half precision to three digits.

    AdamW divides by the gradient's size, so that where gradients are almost zero a weight's step may differ wholly.
    """
    differences = torch.cat([(each.float() - other[name].float()).abs().flatten() for name, each in one.items()])
    assert float(differences.max()) <= 2.1 * LR + (0.02 if half else 0.0), float(differences.max())
    assert float(differences.mean()) < LR * (0.1 if half else 1e-3), float(differences.mean())


def main() -> None:
    rank, port = int(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    for policy in ({}, HALF):
        check(rank, policy)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    main()

"""Random float64 batches, for identities that hold to rounding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import pytest
import torch
from made_turns import turns_of

from sdar_gym.algorithms.losses.aggregation import token_mean_weights
from sdar_gym.algorithms.losses.total import TokenBatch
from sdar_gym.training.turn_batch import TurnBatch

Batch = dict[str, torch.Tensor]
LEAVES = ("logp_BT", "entropy_BT", "divergence_BT")


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    """Returns the fields of a TokenBatch, all of them: what a method does not read must not disturb it."""

    def make(rows: int = 12, tokens: int = 7, *, seed: int = 0, drift: float = 0.3) -> Batch:
        rng = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=rng, dtype=torch.float64)

        lengths = torch.randint(1, tokens + 1, (rows,), generator=rng)
        mask = torch.arange(tokens) < lengths[:, None]
        logp = -1.5 + 0.5 * normal(rows, tokens)
        return {
            "logp_BT": logp,
            "old_logp_BT": logp + drift * normal(rows, tokens),
            "teacher_logp_BT": logp + 0.4 * normal(rows, tokens),
            "ref_logp_BT": logp + 0.4 * normal(rows, tokens),
            "entropy_BT": normal(rows, tokens).abs(),
            "advantage_BT": normal(rows, 1).expand(rows, tokens).clone(),
            "response_mask_BT": mask,
            "weight_BT": token_mean_weights(mask, int(mask.sum()), dtype=torch.float64),
            "divergence_BT": normal(rows, tokens).abs(),
            "agreement_BT": torch.rand(rows, tokens, generator=rng) < 0.5,
            "distill_mask_BT": torch.ones_like(mask),
        }

    return make


@pytest.fixture
def to_tokens() -> Callable[..., TokenBatch]:
    """Returns a TokenBatch of some rows, as a shard or micro-batch has them; the model's outputs collect gradients."""

    def build(batch: Batch, rows: slice | list[int] = slice(None)) -> TokenBatch:
        part = {name: tensor[rows].clone() for name, tensor in batch.items()}
        for name in LEAVES:
            if name in part:
                part[name].requires_grad_()
        assert set(part) <= {field.name for field in fields(TokenBatch)}
        return TokenBatch(**part)

    return build


@pytest.fixture
def make_turns() -> Callable[..., TurnBatch]:
    """Returns the turns of some groups of episodes of unequal length, rows in random order, ids with gaps.

    `spread` is the size of the gaps in nats. Returns and successes differ within each group.
    """

    def make(
        groups: int = 3, members: int = 4, longest: int = 5, tokens: int = 6, *, seed: int = 0, spread: float = 1.0
    ) -> TurnBatch:
        rng = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=rng, dtype=torch.float64)

        turns_E = torch.randint(1, longest + 1, (groups * members,), generator=rng)
        episode_B = torch.arange(groups * members).repeat_interleave(turns_E)
        turn_B = torch.cat([torch.arange(int(count)) for count in turns_E])
        rows = len(episode_B)
        return_E = torch.arange(groups * members) % members / (members - 1.0)
        lengths = torch.randint(1, tokens + 1, (rows,), generator=rng)
        logp = -1.5 + 0.5 * normal(rows, tokens)
        order_B = torch.randperm(rows, generator=rng)
        return turns_of(
            base_advantage_B=normal(rows)[order_B],
            response_mask_BT=(torch.arange(tokens) < lengths[:, None])[order_B],
            student_logp_BT=logp[order_B],
            teacher_logp_BT=(logp + spread * normal(rows, tokens))[order_B],
            control_logp_BT=(logp + spread * normal(rows, tokens))[order_B],
            group_B=(7 * (episode_B // members) - 3)[order_B],
            episode_B=(episode_B * 10 + 1)[order_B],
            turn_B=turn_B[order_B],
            return_B=return_E[episode_B].double()[order_B],
            won_B=(return_E[episode_B] > 0.5)[order_B],
            cost_BT=normal(rows, tokens).abs(),
        )

    return make

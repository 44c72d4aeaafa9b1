"""Random float64 batches, so that every identity can be checked to rounding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import pytest
import torch

from sdar_gym.algorithms import TokenBatch, token_mean_weights

Batch = dict[str, torch.Tensor]


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    """Returns the fields of a TokenBatch; `rows` keeps a part of them, as a shard or micro-batch would."""

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
            "adv_B": normal(rows),
            "mask_BT": mask,
            "weight_BT": token_mean_weights(mask, int(mask.sum()), dtype=torch.float64),
        }

    return make


@pytest.fixture
def to_tokens() -> Callable[..., TokenBatch]:
    """Returns a TokenBatch of some rows whose log-probabilities and entropies are leaves that collect gradients."""

    def build(batch: Batch, rows: slice | list[int] = slice(None)) -> TokenBatch:
        part = {name: tensor[rows].clone() for name, tensor in batch.items()}
        for name in ("logp_BT", "entropy_BT"):
            if name in part:
                part[name].requires_grad_()
        assert set(part) <= {field.name for field in fields(TokenBatch)}
        return TokenBatch(**part)

    return build

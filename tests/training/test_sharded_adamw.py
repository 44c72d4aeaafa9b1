"""Sharded AdamW: the weights of the unsharded optimizer bit for bit, small steps in half precision, states by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sdar_gym.training import sharded_adamw
from sdar_gym.training.sharded_adamw import (
    BY_NAME,
    ShardedAdamW,
    global_norm,
    load_unsharded,
    merged_state,
    shares_of,
    state_by_name,
)

SHAPES = {"embed": (40, 8), "gate": (16, 8), "up": (16, 8), "down": (8, 16), "norm": (8,), "scale": ()}
SETTINGS: dict[str, Any] = {"lr": 1e-2, "betas": (0.9, 0.95), "weight_decay": 0.1}
Named = dict[str, torch.nn.Parameter]


def weights(dtype: torch.dtype = torch.float32) -> Named:
    rng = torch.Generator().manual_seed(0)
    return {name: torch.nn.Parameter(torch.randn(shape, generator=rng).to(dtype)) for name, shape in SHAPES.items()}


def put_gradients(named: Named, step: int) -> None:
    rng = torch.Generator().manual_seed(100 + step)
    for parameter in named.values():
        parameter.grad = torch.randn(parameter.shape, generator=rng).to(parameter.dtype)


class Ranks:
    """Several ranks in one process: what a rank would send is copied after all have stepped."""

    def __init__(self, count: int, dtype: torch.dtype = torch.float32):
        self.named = [weights(dtype) for _ in range(count)]
        self.optimizers = [
            ShardedAdamW(named, rank=rank, count=count, **SETTINGS) for rank, named in enumerate(self.named)
        ]
        self.owner = shares_of({name: parameter.numel() for name, parameter in self.named[0].items()}, count)

    def step(self, number: int) -> None:
        for named, optimizer in zip(self.named, self.optimizers, strict=True):
            put_gradients(named, number)
            optimizer.step()
        for named in self.named:
            for name, parameter in named.items():
                parameter.data.copy_(self.named[self.owner[name]][name].data)

    def load(self, state: dict[str, Any], values: Named) -> None:
        for named, optimizer in zip(self.named, self.optimizers, strict=True):
            for name, parameter in named.items():
                parameter.data.copy_(values[name].data)
            optimizer.load_named_state(state)

    def state(self) -> dict[str, Any]:
        return merged_state([optimizer.named_state() for optimizer in self.optimizers])


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharded_adamw.ShardedAdamW, "_exchange", lambda self: None)


def equal(left: Named, right: Named) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left)


def test_shares_cover_all_tensors_and_are_even() -> None:
    sizes = {f"layer{number}": 10 + number for number in range(24)} | {"embed": 100}
    owner = shares_of(sizes, 4)
    assert owner == shares_of(dict(reversed(sizes.items())), 4)
    loads = [sum(size for name, size in sizes.items() if owner[name] == rank) for rank in range(4)]
    assert sum(loads) == sum(sizes.values())
    assert max(loads) - min(loads) <= max(size for name, size in sizes.items() if name != "embed")
    # Nothing can be shared more evenly than the largest tensor allows.
    assert max(shares_of({"embed": 100, "norm": 1}, 8).values()) == 1


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_weights_are_those_of_adamw_bit_for_bit(count: int) -> None:
    plain, ranks = weights(), Ranks(count)
    optimizer = torch.optim.AdamW(plain.values(), **SETTINGS)
    for number in range(5):
        put_gradients(plain, number)
        optimizer.step()
        ranks.step(number)
    assert all(equal(named, plain) for named in ranks.named)
    # Two moments in single precision, once over all ranks.
    elements = sum(parameter.numel() for parameter in plain.values())
    assert sum(each.nbytes for each in ranks.optimizers) == 8 * elements
    moments = ranks.state()[BY_NAME]
    for name, parameter in plain.items():
        assert torch.equal(moments[name]["exp_avg"], optimizer.state[parameter]["exp_avg"])


def test_small_steps_are_not_lost_in_half_precision() -> None:
    lr, steps = 1e-6, 400
    lost, kept = (torch.nn.Parameter(torch.ones(16, dtype=torch.bfloat16)) for _ in range(2))
    plain = torch.optim.AdamW([lost], lr=lr, weight_decay=0.0)
    sharded = ShardedAdamW({"weight": kept}, lr=lr, weight_decay=0.0)
    for _ in range(steps):
        for parameter, optimizer in ((lost, plain), (kept, sharded)):
            parameter.grad = torch.ones_like(parameter)
            optimizer.step()
    # Numbers below 1 are 0.004 apart in bfloat16.
    assert torch.equal(lost, torch.ones_like(lost))
    master = sharded.named_state()[BY_NAME]["weight"]["master"]
    torch.testing.assert_close(master, torch.full((16,), 1 - lr * steps), rtol=1e-5, atol=0)
    assert sharded.nbytes == 12 * 16
    for _ in range(1_700):
        kept.grad = torch.ones_like(kept)
        sharded.step()
    assert bool((kept < 1).all())


def test_half_precision_is_shared_out_bit_for_bit_too() -> None:
    alone, shared = Ranks(1, torch.bfloat16), Ranks(3, torch.bfloat16)
    for number in range(3):
        alone.step(number)
        shared.step(number)
    assert all(equal(named, alone.named[0]) for named in shared.named)
    one, other = alone.state()[BY_NAME], shared.state()[BY_NAME]
    assert all(torch.equal(one[name]["master"], other[name]["master"]) for name in SHAPES)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 3)])
def test_a_state_goes_on_with_another_number_of_ranks(before: int, after: int, dtype: torch.dtype) -> None:
    straight, first, then = Ranks(1, dtype), Ranks(before, dtype), Ranks(after, dtype)
    for number in range(4):
        straight.step(number)
    for number in range(2):
        first.step(number)
    then.load(first.state(), first.named[0])
    for number in range(2, 4):
        then.step(number)
    assert all(equal(named, straight.named[0]) for named in then.named)


def test_an_unsharded_optimizer_reads_and_writes_the_same_state() -> None:
    plain, ranks = weights(), Ranks(2)
    optimizer = torch.optim.AdamW(plain.values(), **SETTINGS)
    for number in range(2):
        put_gradients(plain, number)
        optimizer.step()
    ranks.load(state_by_name([*plain], optimizer.state_dict()["state"]), plain)
    other = weights()
    resumed = torch.optim.AdamW(other.values(), **SETTINGS)
    for name, parameter in other.items():
        parameter.data.copy_(plain[name].data)
    for part in [each.named_state() for each in ranks.optimizers]:
        load_unsharded(resumed, other, part)
    for named, each in ((plain, optimizer), (other, resumed)):
        put_gradients(named, 2)
        each.step()
    ranks.step(2)
    assert equal(plain, other)
    assert equal(plain, ranks.named[0])


def test_weights_that_were_loaded_since_the_last_step_replace_the_master_weights() -> None:
    ranks = Ranks(1, torch.bfloat16)
    ranks.step(0)
    [named] = ranks.named
    named["gate"].data.fill_(3.0)
    named["gate"].grad = torch.zeros_like(named["gate"])
    ranks.optimizers[0].step()
    assert float((named["gate"].detach() - 3.0).abs().max()) < 0.1


def test_the_scale_of_gradients_is_for_one_step() -> None:
    one, other = Ranks(1, torch.bfloat16), Ranks(1, torch.bfloat16)
    one.optimizers[0].gradient_scale = torch.tensor(0.5)
    for ranks in (one, other):
        ranks.step(0)
    first, second = one.state()[BY_NAME], other.state()[BY_NAME]
    torch.testing.assert_close(2 * first["gate"]["exp_avg"], second["gate"]["exp_avg"])
    assert one.optimizers[0].gradient_scale == 1.0


def test_a_state_that_does_not_fit_is_refused() -> None:
    ranks = Ranks(2)
    ranks.step(0)
    part = ranks.optimizers[0].named_state()
    with pytest.raises(ValueError, match=r"parts of ranks \[0\] of 2 learners"):
        merged_state([part])
    whole = ranks.state()
    whole[BY_NAME]["other"] = whole[BY_NAME].pop("gate")
    with pytest.raises(ValueError, match="1 tensors are unknown to it or have another shape, other among them"):
        ranks.optimizers[0].load_named_state(whole)
    with pytest.raises(ValueError, match="no closure"):
        ranks.optimizers[0].step(lambda: 0.0)


def test_the_global_norm_is_added_up_in_single_precision() -> None:
    rng = torch.Generator().manual_seed(0)
    gradients = [torch.randn(200, 7, generator=rng).bfloat16() for _ in range(30)]
    exact = float(torch.cat([gradient.double().flatten() for gradient in gradients]).norm())
    assert float(global_norm(gradients)) == pytest.approx(exact, rel=1e-6)
    assert float(global_norm([])) == 0.0

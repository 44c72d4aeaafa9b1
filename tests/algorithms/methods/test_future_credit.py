"""DistIL on a tree of three steps with three actions each: the surrogate's gradient is that of the true objective."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from made_turns import shape, turns_of

from sdar_gym.algorithms.losses.full_divergences import forward_ce, forward_kl, full_divergence
from sdar_gym.algorithms.losses.total import TokenBatch, compute_loss
from sdar_gym.algorithms.methods.distil import Cost, CostBaseline, FutureCredit, future_costs
from sdar_gym.algorithms.objectives.distillation import Distillation, Divergence, Support
from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.algorithms.objectives.schedule import Schedule
from sdar_gym.algorithms.objectives.teacher import Teacher

STEPS, ACTIONS = 3, 3
PATHS = list(itertools.product(range(ACTIONS), repeat=STEPS))
PREFIXES = [prefix for length in range(STEPS) for prefix in itertools.product(range(ACTIONS), repeat=length)]
# [27 trajectories, 3 steps]: the state before each action, as a row of the tables, and the action.
STATES = torch.tensor([[PREFIXES.index(path[:step]) for step in range(STEPS)] for path in PATHS])
TAKEN = torch.tensor(PATHS)

_RNG = torch.Generator().manual_seed(3)
LOGITS = torch.randn(len(PREFIXES), ACTIONS, generator=_RNG, dtype=torch.float64)
TEACHER = torch.randn(len(PREFIXES), ACTIONS, generator=_RNG, dtype=torch.float64).log_softmax(-1)

Divergences = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def true_objective(logits: torch.Tensor, cost: Divergences) -> torch.Tensor:
    """E over the policy's own trajectories of the summed cost of their states."""
    logp = logits.log_softmax(-1)
    probability = logp[STATES, TAKEN].sum(dim=1).exp()
    return (probability * cost(logp, TEACHER)[STATES].sum(dim=1)).sum()


def finite_differences(cost: Divergences, step: float = 1e-4) -> torch.Tensor:
    """Central differences of fourth order, good to about 1e-11 here."""
    result = torch.zeros_like(LOGITS)
    for index in itertools.product(range(len(PREFIXES)), range(ACTIONS)):
        for offset, weight in ((1, 8.0), (2, -1.0)):
            for sign in (1, -1):
                moved = LOGITS.clone()
                moved[index] += sign * offset * step
                result[index] += sign * weight * true_objective(moved, cost) / (12 * step)
    return result


def surrogate_gradient(
    divergence: Divergence,
    future: FutureCredit | None,
    *,
    turns: bool = False,
    shift_T: torch.Tensor | None = None,
) -> torch.Tensor:
    """The gradient that training follows, with every trajectory once, weighted by its probability.

    With `turns` each step is a turn of its own; else a trajectory is one turn of three tokens.
    """
    logits = LOGITS.clone().requires_grad_()
    logp = logits.log_softmax(-1)
    logp_BT, divergence_BT = logp[STATES, TAKEN], full_divergence(divergence, logp, TEACHER)[STATES]
    weight_BT = logp_BT.detach().sum(dim=1, keepdim=True).exp().expand_as(logp_BT)
    episode_B, turn_B = torch.arange(len(PATHS)), torch.zeros(len(PATHS), dtype=torch.int64)
    cost = forward_kl if future is not None and future.cost is Cost.KL else forward_ce
    cost_BT = cost(logp.detach(), TEACHER)[STATES]
    if shift_T is not None:
        cost_BT = cost_BT + shift_T
    if turns:
        logp_BT, divergence_BT, weight_BT, cost_BT = (
            x.reshape(-1, 1) for x in (logp_BT, divergence_BT, weight_BT, cost_BT)
        )
        episode_B, turn_B = episode_B.repeat_interleave(STEPS), torch.arange(STEPS).repeat(len(PATHS))
    objective = Objective(
        policy_coeff=Schedule.constant(0.0),
        teacher=Teacher(),
        distill=Distillation(Schedule.constant(1.0), divergence, Support.FULL),
        shaping=future,
    )
    nothing_B = torch.zeros(len(episode_B), dtype=torch.float64)
    rows = turns_of(
        base_advantage_B=nothing_B,
        response_mask_BT=torch.ones_like(logp_BT, dtype=torch.bool),
        student_logp_BT=logp_BT.detach(),
        teacher_logp_BT=logp_BT.detach(),
        cost_BT=cost_BT,
        group_B=torch.zeros_like(episode_B),
        episode_B=episode_B,
        turn_B=turn_B,
        return_B=nothing_B,
        won_B=nothing_B.bool(),
    )
    tokens = TokenBatch(
        logp_BT=logp_BT,
        old_logp_BT=logp_BT.detach(),
        advantage_BT=shape(objective, rows),
        response_mask_BT=rows.response_mask_BT,
        weight_BT=weight_BT,
        divergence_BT=divergence_BT,
    )
    compute_loss(objective, tokens).loss.backward()
    assert logits.grad is not None
    return logits.grad


CASES = [
    (Divergence.FORWARD_CE, Cost.CE, forward_ce),
    (Divergence.FORWARD_CE, Cost.KL, forward_kl),
    (Divergence.FORWARD_KL, Cost.KL, forward_kl),
]


@pytest.mark.parametrize("turns", [False, True], ids=["tokens", "turns"])
@pytest.mark.parametrize(("divergence", "cost", "measure"), CASES)
def test_surrogate_has_the_gradient_of_the_expected_sum_of_costs(
    divergence: Divergence, cost: Cost, measure: Divergences, turns: bool
):
    true_gradient = finite_differences(measure)
    found = surrogate_gradient(divergence, FutureCredit(cost=cost), turns=turns)
    torch.testing.assert_close(found, true_gradient, rtol=0, atol=1e-9)
    local = surrogate_gradient(divergence, None, turns=turns)
    assert (local - true_gradient).abs().max() > 1e-2  # what leaving out the future term costs


def test_cross_entropy_and_kl_are_different_objectives_with_the_same_local_term():
    assert torch.equal(
        surrogate_gradient(Divergence.FORWARD_CE, None), surrogate_gradient(Divergence.FORWARD_CE, None, turns=True)
    )
    assert (finite_differences(forward_ce) - finite_differences(forward_kl)).abs().max() > 1e-2
    torch.testing.assert_close(
        surrogate_gradient(Divergence.FORWARD_CE, None), surrogate_gradient(Divergence.FORWARD_KL, None)
    )


def test_a_baseline_that_depends_on_the_position_alone_leaves_the_expected_gradient():
    shift_T = torch.tensor([5.0, -2.0, -7.0], dtype=torch.float64)
    plain = surrogate_gradient(Divergence.FORWARD_CE, FutureCredit())
    shifted = surrogate_gradient(Divergence.FORWARD_CE, FutureCredit(), shift_T=shift_T)
    torch.testing.assert_close(shifted, plain, rtol=0, atol=1e-13)


def future_part(episodes: torch.Tensor, weight_G: torch.Tensor, baseline: CostBaseline) -> torch.Tensor:
    """Σ over groups of weight · mean over members of ∇log p·G; `episodes` are trajectories, [groups, members]."""
    logits = LOGITS.clone().requires_grad_()
    flat = episodes.flatten()
    logp_BT = logits.log_softmax(-1)[STATES[flat], TAKEN[flat]]
    cost_BT = forward_ce(LOGITS.log_softmax(-1), TEACHER)[STATES[flat]]
    to_go_BT = future_costs(
        FutureCredit(baseline=baseline),
        cost_BT,
        torch.ones_like(cost_BT, dtype=torch.bool),
        torch.arange(len(flat)),
        torch.zeros(len(flat), dtype=torch.int64),
        torch.arange(len(episodes)).repeat_interleave(episodes.shape[1]),
    )
    weight_B = (weight_G / episodes.shape[1]).repeat_interleave(episodes.shape[1])
    (weight_B[:, None] * to_go_BT * logp_BT).sum().backward()
    assert logits.grad is not None
    return logits.grad


def test_the_groups_mean_holds_the_own_sample_and_so_shortens_the_future_term():
    # Exact over all groups of two: (G-1)/G of the gradient without a baseline, as with GRPO's mean. Same direction.
    pairs = torch.cartesian_prod(torch.arange(len(PATHS)), torch.arange(len(PATHS)))
    probability = LOGITS.log_softmax(-1)[STATES, TAKEN].sum(dim=1).exp()
    weight = probability[pairs].prod(dim=1)
    plain = future_part(pairs, weight, CostBaseline.NONE)
    grouped = future_part(pairs, weight, CostBaseline.GROUP)
    assert plain.abs().max() > 1e-2
    torch.testing.assert_close(grouped, plain / 2, rtol=0, atol=1e-13)
    alone = future_part(torch.arange(len(PATHS))[:, None], probability, CostBaseline.NONE)
    torch.testing.assert_close(plain, alone, rtol=0, atol=1e-13)


# Two episodes of one group; rows out of order, the first episode in two turns, the second in one.
COSTS = torch.tensor([[5.0, 7.0, 99.0], [1.0, 2.0, 3.0], [10.0, 20.0, 99.0]], dtype=torch.float64)
KEPT = torch.tensor([[True, True, False], [True, True, True], [True, True, False]])
EPISODE, TURN, GROUP = torch.tensor([4, 4, 9]), torch.tensor([1, 0, 0]), torch.tensor([2, 2, 2])


@pytest.mark.parametrize(
    ("future", "expected"),
    [
        # Episode 4 in order: 1 2 3 5 7. Episode 9: 10 20.
        (FutureCredit(), [[7.0, 0.0, 0.0], [17.0, 15.0, 12.0], [20.0, 0.0, 0.0]]),
        (FutureCredit(gamma=0.5), [[7.0, 0.0, 0.0], [5.625, 7.25, 8.5], [20.0, 0.0, 0.0]]),
        # Means by position: 5.5 11 3 5 7, the last three of episode 4 alone.
        (FutureCredit(baseline=CostBaseline.GROUP), [[0.0, 0.0, 0.0], [-9.0, 0.0, 0.0], [9.0, 0.0, 0.0]]),
    ],
)
def test_costs_to_go_hand_computed(future: FutureCredit, expected: list[list[float]]):
    costs = COSTS.masked_fill(~KEPT, torch.nan).requires_grad_()
    found = future_costs(future, costs, KEPT, EPISODE, TURN, GROUP)
    assert not found.requires_grad
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_groups_do_not_share_a_baseline():
    alone = future_costs(FutureCredit(baseline=CostBaseline.GROUP), COSTS, KEPT, EPISODE, TURN, torch.tensor([2, 2, 3]))
    assert not alone.any()  # each trajectory is its own mean


@pytest.mark.parametrize("baseline", CostBaseline)
def test_the_order_of_rows_does_not_matter(baseline: CostBaseline):
    future, order = FutureCredit(gamma=0.9, baseline=baseline), [2, 0, 1]
    found = future_costs(future, COSTS, KEPT, EPISODE, TURN, GROUP)
    moved = future_costs(future, COSTS[order], KEPT[order], EPISODE[order], TURN[order], GROUP[order])
    torch.testing.assert_close(moved, found[order], rtol=0, atol=1e-14)

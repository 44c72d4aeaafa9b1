"""Advantage shapers, one by one, against the published formulas written out in loops."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from dataclasses import replace
from statistics import median_low

import pytest
import torch
from made_turns import plain, shape, turns_of

from sdar_gym.algorithms.methods import METHODS
from sdar_gym.algorithms.methods.adrs import AlignmentBonus
from sdar_gym.algorithms.methods.agent_opsd import belief_changes
from sdar_gym.training.turn_batch import TurnBatch

Rows = list[list[float]]


def tokens(values_BT: torch.Tensor | None, turns: TurnBatch) -> Rows:
    """The values of each row's response tokens."""
    assert values_BT is not None
    return [values_BT[row][turns.response_mask_BT[row]].tolist() for row in range(len(values_BT))]


def gaps(turns: TurnBatch) -> Rows:
    return tokens(turns.teacher_logp_BT - turns.student_logp_BT, turns)


def sign(x: float) -> float:
    return float((x > 0) - (x < 0))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def clip(x: float, bound: float) -> float:
    return max(-bound, min(bound, x))


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def agrees(name: str, turns: TurnBatch, expected: Rows, step: int = 0) -> None:
    found = shape(METHODS[name].objective, turns, step)
    assert not found.requires_grad
    assert not found[~turns.response_mask_BT].any()
    for row, values in zip(tokens(found, turns), expected, strict=True):
        assert row == pytest.approx(values, rel=1e-10, abs=1e-13)
    assert (found - plain(turns)).abs().max() > 1e-5  # it did something


@pytest.mark.parametrize("step", [0, 30, 99])
def test_rlsd(step: int, make_turns):
    turns = make_turns()
    lam = 0.5 * (1 - step / 100)
    expected = [
        [a * ((1 - lam) + lam * max(0.8, min(1.2, math.exp(sign(a) * gap)))) for gap in row]
        for a, row in zip(turns.base_advantage_B.tolist(), gaps(turns), strict=True)
    ]
    agrees("rlsd", turns, expected, step)


def test_agent_opsd(make_turns):
    turns = make_turns()
    rows: dict[int, list[int]] = defaultdict(list)
    for row in sorted(range(len(turns.base_advantage_B)), key=lambda row: int(turns.turn_B[row])):
        rows[int(turns.episode_B[row])].append(row)
    expected: Rows = [[] for _ in turns.base_advantage_B]
    for numbers in rows.values():
        own = turns.group_B == turns.group_B[numbers[0]]
        # Two of four members are above one half in every group.
        members = {int(e): bool(w) for e, w in zip(turns.episode_B[own], turns.won_B[own], strict=True)}
        prior = mean([float(won) for won in members.values()])
        assert prior == 0.5
        carried, before, moves = 0.0, prior, []
        for row in numbers:
            carried = 0.95 * carried + sum(gaps(turns)[row])
            after = sigmoid(math.log(prior / (1 - prior)) + carried)
            moves.append(sign(turns.base_advantage_B[row].item()) * (after - before))
            before = after
        center = mean(moves)
        deviation = math.sqrt(mean([(move - center) ** 2 for move in moves])) + 1e-6
        for row, move in zip(numbers, moves, strict=True):
            z = (move - center) / deviation
            weight = 0.5 + 0.5 * max(0.8, min(1.2, 1 + 0.2 * z))
            expected[row] = [turns.base_advantage_B[row].item() * weight] * int(turns.response_mask_BT[row].sum())
    agrees("agent_opsd", turns, expected)


def test_agent_opsd_two_episodes_of_three_turns():
    # One token a turn. The first episode won, so the prior is one half; its advantage is 1, the other's -1.
    gap = torch.tensor([[1.0], [-0.5], [2.0], [1.0], [0.0], [-1.0]], dtype=torch.float64)
    turns = turns_of(
        base_advantage_B=torch.tensor([1.0, 1, 1, -1, -1, -1], dtype=torch.float64),
        response_mask_BT=torch.ones(6, 1, dtype=torch.bool),
        student_logp_BT=torch.zeros(6, 1, dtype=torch.float64),
        teacher_logp_BT=gap,
        group_B=torch.zeros(6, dtype=torch.int64),
        episode_B=torch.tensor([0, 0, 0, 1, 1, 1]),
        turn_B=torch.tensor([0, 1, 2, 0, 1, 2]),
        return_B=torch.tensor([1.0, 1, 1, 0, 0, 0], dtype=torch.float64),
        won_B=torch.tensor([True, True, True, False, False, False]),
    )
    # c: 1, 0.45, 2.4275 and 1, 0.95, -0.0975.
    beliefs = [0.5, sigmoid(1), sigmoid(0.45), sigmoid(2.4275)], [0.5, sigmoid(1), sigmoid(0.95), sigmoid(-0.0975)]
    expected = []
    for a, walk in zip((1.0, -1.0), beliefs, strict=True):
        q = [a * (after - before) for before, after in itertools.pairwise(walk)]
        center = mean(q)
        deviation = math.sqrt(mean([(x - center) ** 2 for x in q])) + 1e-6
        expected += [[a * (1 + 0.5 * clip(0.2 * (x - center) / deviation, 0.2))] for x in q]
    agrees("agent_opsd", turns, expected)


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_belief_walk_hand_computed():
    episode, turn = torch.tensor([8, -3, 8, 8, -3]), torch.tensor([2, 1, 0, 1, 0])
    evidence, prior = f64(0.5, -1, 2, 0.25, 1), f64(0.8, 0.5, 0.8, 0.8, 0.5)
    found = belief_changes(evidence, prior, episode, turn, 0.5)
    start = math.log(0.8 / 0.2)
    # Episode 8: evidence 2, 0.25, 0.5, of which half is forgotten each turn: c = 2, 1.25, 1.125.
    walk = [sigmoid(start + c) for c in (0, 2, 1.25, 1.125)]
    # Episode -3: 1, -1: c = 1, -0.5.
    other = [sigmoid(c) for c in (0, 1, -0.5)]
    expected = [walk[3] - walk[2], other[2] - other[1], walk[1] - walk[0], walk[2] - walk[1], other[1] - other[0]]
    torch.testing.assert_close(found, f64(*expected))


def test_the_prior_belief_is_kept_off_zero_and_one():
    one = torch.zeros(2, dtype=torch.int64)
    found = belief_changes(f64(1, 1), f64(0, 1), torch.tensor([0, 1]), one, 1.0)
    ends = [math.log(p / (1 - p)) for p in (0.05, 0.95)]
    torch.testing.assert_close(found, f64(*(sigmoid(x + 1) - sigmoid(x) for x in ends)))


def test_grsd(make_turns):
    turns = make_turns()
    q = [math.expm1(sign(a) * mean(row)) for a, row in zip(turns.base_advantage_B.tolist(), gaps(turns), strict=True)]
    sizes: dict[int, list[float]] = defaultdict(list)
    for group, value in zip(turns.group_B.tolist(), q, strict=True):
        sizes[group].append(abs(value))
    expected = []
    for row, value in enumerate(q):
        g = clip(value / (mean(sizes[int(turns.group_B[row])]) + 1e-6), 0.2)
        weight = max(0.1, 1 + 0.5 * g)  # the published floor is out of reach
        expected.append([turns.base_advantage_B[row].item() * weight] * int(turns.response_mask_BT[row].sum()))
    agrees("grsd", turns, expected)


@pytest.mark.parametrize("step", [0, 25])
def test_step_opsd(step: int, make_turns):
    turns = make_turns(spread=20.0)
    lam, expected = 0.2 * (1 - step / 50), []
    for a, row in zip(turns.base_advantage_B.tolist(), gaps(turns), strict=True):
        # The sigmoid projected on [0.8, 1.2], mixed in with λ; then the turn's mean is set to one.
        weights = [(1 - lam) + lam * (0.8 + 0.4 * sigmoid(sign(a) * gap)) for gap in row]
        expected.append([a * weight / mean(weights) for weight in weights])
    agrees("step_opsd", turns, expected, step)
    found = shape(METHODS["step_opsd"].objective, turns, step)
    budget = [mean([abs(value) for value in row]) for row in tokens(found, turns)]
    assert budget == pytest.approx(turns.base_advantage_B.abs().tolist(), rel=1e-12)


def test_ocsd_changes_a_fifth_of_the_turns(make_turns):
    turns = make_turns(longest=9)
    rows = len(turns.base_advantage_B)
    found = shape(METHODS["ocsd"].objective, turns, 0)
    nll = [-mean(row) for row in tokens(turns.student_logp_BT, turns)]
    chosen = sorted(range(rows), key=lambda row: -nll[row])[: round(0.2 * rows)]
    assert turns.control_logp_BT is not None
    contrast = tokens(turns.teacher_logp_BT - turns.control_logp_BT, turns)
    expected = [
        [a * (1 + 0.5 * sign(a) * math.tanh(e / 2) * (row in chosen)) for e in contrast[row]]
        for row, a in enumerate(turns.base_advantage_B.tolist())
    ]
    agrees("ocsd", turns, expected)
    moved = [
        row for row in range(rows) if (found[row] != turns.base_advantage_B[row])[turns.response_mask_BT[row]].any()
    ]
    assert sorted(moved) == sorted(chosen) and 3 < len(chosen) < rows / 4
    with pytest.raises(ValueError, match="'ocsd' needs the scores of the blanked prompt"):
        shape(METHODS["ocsd"].objective, replace(turns, control_logp_BT=None), 0)


def test_opid(make_turns):
    turns = make_turns()
    expected = [
        [a + 1e-3 * gap for gap in row] for a, row in zip(turns.base_advantage_B.tolist(), gaps(turns), strict=True)
    ]
    agrees("opid", turns, expected)


def adrs_by_hand(turns: TurnBatch) -> Rows:
    logp, groups = tokens(turns.teacher_logp_BT, turns), turns.group_B.tolist()
    episodes: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row, (group, episode) in enumerate(zip(groups, turns.episode_B.tolist(), strict=True)):
        episodes[group][episode].append(row)
    level = {e: mean([mean(logp[row]) for row in rows]) for own in episodes.values() for e, rows in own.items()}
    typical_level = mean([level[episode] for episode in turns.episode_B.tolist()])
    value, spread = {}, {}
    for group, own in episodes.items():
        returns = {episode: turns.return_B[rows[0]].item() for episode, rows in own.items()}
        alignment = {episode: sigmoid(level[episode] - typical_level) for episode in own}
        aligned = sum(alignment[e] * returns[e] for e in own) / sum(alignment.values())
        divergent = sum((1 - alignment[e]) * returns[e] for e in own) / sum(1 - alignment[e] for e in own)
        value[group] = aligned - divergent
        spread[group] = math.sqrt(mean([(r - mean(list(returns.values()))) ** 2 for r in returns.values()]))
    live = [s for s in spread.values() if s > 0]
    result = []
    for row, group in enumerate(groups):
        limit = 0.2 * min(1.0, spread[group] / median_low(live))
        center = mean(logp[row])
        deviation = math.sqrt(mean([(x - center) ** 2 for x in logp[row]])) + 1e-6
        weight = 0.02 * sigmoid(2 * value[group])
        result.append(
            [turns.base_advantage_B[row].item() + clip(weight * (x - center) / deviation, limit) for x in logp[row]]
        )
    return result


def test_adrs(make_turns):
    turns = make_turns(groups=4, tokens=9)
    agrees("adrs", turns, adrs_by_hand(turns), step=20)
    # One group's returns spread little, so that its limit binds.
    first = turns.group_B == turns.group_B[0]
    narrow = replace(turns, return_B=torch.where(first, 1e-2 * turns.return_B, turns.return_B))
    agrees("adrs", narrow, adrs_by_hand(narrow), step=20)
    bonus = shape(METHODS["adrs"].objective, narrow, 20) - plain(turns)
    assert bonus[first].abs().max() == pytest.approx(0.2 * 1e-2)
    assert bonus[~first].abs().max() > 0.01


def test_adrs_compares_spreads_group_by_group_however_many_rows_they_have():
    # Groups of two episodes with returns 0 and 1, 0 and 2, 0 and 4; the last one has most of the rows. The typical
    # spread is the second group's, so the first is limited to half of 0.2, and eight rows change nothing about it.
    rows = [(0, 1), (1, 1), (2, 1), (3, 1), (4, 4), (5, 4)]
    episode = torch.tensor([e for e, count in rows for _ in range(count)])
    returns = torch.tensor([0.0, 1, 0, 2, 0, 4], dtype=torch.float64)[episode]
    wild = torch.tensor([[0.0] * 200 + [-1e3]], dtype=torch.float64).expand(len(episode), 201)
    turns = turns_of(
        base_advantage_B=torch.zeros(len(episode), dtype=torch.float64),
        response_mask_BT=torch.ones_like(wild, dtype=torch.bool),
        student_logp_BT=torch.zeros_like(wild),
        teacher_logp_BT=wild,
        group_B=episode // 2,
        episode_B=episode,
        turn_B=torch.cat([torch.arange(count) for _, count in rows]),
        return_B=returns,
        won_B=returns > 0.5,
    )
    largest = shape(AlignmentBonus(scale=1.0), turns, 20).abs().amax(dim=1)
    torch.testing.assert_close(largest, torch.where(episode < 2, 0.1, 0.2).double())


def test_adrs_gives_more_where_the_teacher_assigns_the_better_episodes_a_higher_probability(make_turns):
    turns = make_turns(groups=1)
    preference = 2.0 * turns.return_B[:, None] * torch.ones_like(turns.student_logp_BT)
    wavy = 0.1 * torch.arange(turns.student_logp_BT.shape[1], dtype=torch.float64)

    def size(slope: float) -> float:
        shaped = shape(METHODS["adrs"].objective, replace(turns, teacher_logp_BT=slope * preference - wavy), 20)
        return (shaped - plain(turns)).abs().sum().item()

    assert size(1.0) > 1.1 * size(0.0) > 1.1 * 1.1 * size(-1.0)


def test_adrs_gives_groups_without_spread_exactly_nothing(make_turns):
    turns = make_turns()
    # A plain mean can miss 0.1 by a rounding error, which is no spread.
    flat = turns.group_B == turns.group_B[0]
    mixed = replace(turns, return_B=torch.where(flat, torch.full_like(turns.return_B, 0.1), turns.return_B))
    assert torch.equal(shape(METHODS["adrs"].objective, mixed, 20)[flat], plain(turns)[flat])
    assert (shape(METHODS["adrs"].objective, mixed, 20) - plain(turns))[~flat].abs().max() > 1e-3
    for value in (0.1, 0.7, 1 / 3):
        nothing = replace(turns, return_B=torch.full_like(turns.return_B, value))
        assert torch.equal(shape(METHODS["adrs"].objective, nothing, 20), plain(turns))


SCHEDULES = {
    "rlsd": ([0, 50, 99], [100, 101, 1000]),
    "step_opsd": ([0, 49], [50, 51, 1000]),
    "adrs": ([20, 45, 69], [0, 19, 70, 1000]),
    "opid": ([0, 1000], []),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_switch_it_off(name: str, make_turns):
    turns = make_turns()
    on, off = SCHEDULES[name]
    for step in on:
        assert not torch.equal(shape(METHODS[name].objective, turns, step), plain(turns))
    broken = replace(turns, teacher_logp_BT=turns.teacher_logp_BT * torch.nan)
    for step in off:
        assert torch.equal(shape(METHODS[name].objective, turns, step), plain(turns))
        assert torch.equal(shape(METHODS[name].objective, broken, step), plain(turns))

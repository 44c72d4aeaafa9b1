"""Reductions over the tokens of a turn, the turns of an episode and the turns with one key, against loops."""

from __future__ import annotations

import math

import pytest
import torch

from sdar_gym.algorithms.losses.sampled_divergences import teacher_gap
from sdar_gym.algorithms.losses.turn_reductions import (
    discounted_to_go,
    episodes_in_order,
    group_mean_over_episodes,
    mean_by,
    turn_mean,
    turn_sum,
    turn_z_scores,
    window_mean,
    z_scores_by,
)


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


NAN = float("nan")
VALUES = torch.tensor([[1.0, 4.0, NAN], [2.0, 2.0, 2.0], [NAN, NAN, NAN]], dtype=torch.float64)
MASK = torch.tensor([[True, True, False], [True, True, True], [False, False, False]])


def test_sums_and_means_of_turns():
    assert torch.equal(turn_sum(VALUES, MASK), f64(5, 6, 0))
    assert torch.equal(turn_mean(VALUES, MASK), f64(2.5, 2, 0))


def test_z_scores_of_turns_hand_computed():
    found = turn_z_scores(VALUES, MASK)
    torch.testing.assert_close(found[0], f64(-1.5, 1.5, 0) / (1.5 + 1e-6))
    assert not found[1:].any()


def test_the_gap_is_zero_where_masked_whatever_padding_holds():
    gap = teacher_gap(VALUES + 1.0, VALUES, MASK)
    assert torch.equal(gap, MASK.double())


@pytest.mark.parametrize("width", [1, 2, 3, 7, 20])
def test_window_mean_against_a_loop(width: int):
    rng = torch.Generator().manual_seed(width)
    values = torch.randn(6, 7, generator=rng, dtype=torch.float64)
    mask = torch.arange(7) < torch.tensor([7, 1, 3, 5, 0, 6])[:, None]
    found = window_mean(values.masked_fill(~mask, NAN), mask, width)
    for row in range(6):
        for place in range(7):
            last = values[row, max(0, place - width + 1) : place + 1]
            expected = last.mean() if mask[row, place] else torch.zeros((), dtype=torch.float64)
            torch.testing.assert_close(found[row, place], expected, rtol=1e-12, atol=1e-14)


EPISODE, TURN = torch.tensor([8, -3, 8, 8, -3]), torch.tensor([2, 1, 0, 1, 0])


def test_episodes_come_with_their_turns_in_order():
    assert [rows.tolist() for rows in episodes_in_order(EPISODE, TURN)] == [[4, 1], [2, 3, 0]]


def test_discounted_to_go_hand_computed():
    reward = f64(16, 3, 1, 4, 2)
    # Episode 8 in order: 1 4 16; episode -3: 2 3.
    assert torch.equal(discounted_to_go(reward, EPISODE, TURN, 0.5), f64(16, 3, 7, 12, 3.5))
    assert torch.equal(discounted_to_go(reward, EPISODE, TURN, 1.0), f64(16, 3, 21, 20, 5))
    assert torch.equal(discounted_to_go(reward, EPISODE, TURN, 0.0), reward)


def test_means_and_z_scores_by_key():
    key = torch.tensor([5, -1, 5, 5, -1])
    assert torch.equal(mean_by(f64(1, 4, 2, 6, 0), key), f64(3, 2, 3, 3, 2))
    found = z_scores_by(f64(1, 4, 2, 6, 4), key)
    deviation = math.sqrt((4 + 1 + 9) / 3)
    torch.testing.assert_close(found, f64(-2, 0, -1, 3, 0) / (deviation + 1e-6))


def test_the_mean_over_episodes_counts_an_episode_once_however_many_turns_it_has():
    # Group 1: episode 8 with value 6 in three turns, episode -3 with 2 in two. Group 2: one episode.
    value, group = f64(6, 2, 6, 6, 2, 9), torch.tensor([1, 1, 1, 1, 1, 2])
    found = group_mean_over_episodes(value, torch.cat([EPISODE, torch.tensor([5])]), group)
    torch.testing.assert_close(found, f64(4, 4, 4, 4, 4, 9))


def test_the_order_of_rows_does_not_matter():
    rng = torch.Generator().manual_seed(0)
    episode, rows = torch.arange(6).repeat_interleave(torch.tensor([3, 1, 4, 2, 5, 1])), 16
    turn = torch.cat([torch.arange(int(count)) for count in episode.bincount()])
    value, order = torch.randn(rows, generator=rng, dtype=torch.float64), torch.randperm(rows, generator=rng)
    for reduce in (
        lambda value, episode, turn: discounted_to_go(value, episode, turn, 0.9),
        lambda value, episode, turn: z_scores_by(value, episode),
        lambda value, episode, turn: group_mean_over_episodes(mean_by(value, episode), episode, episode // 2),
    ):
        straight, mixed = reduce(value, episode, turn), reduce(value[order], episode[order], turn[order])
        torch.testing.assert_close(mixed, straight[order], rtol=1e-12, atol=1e-14)

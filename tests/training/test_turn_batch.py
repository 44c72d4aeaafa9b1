"""The turns of an update: advantages and group statistics, and which turns have a teacher and are distilled."""

from __future__ import annotations

import pytest
import torch
from made_episodes import (  # pyright: ignore[reportMissingImports]
    SDAR,
    batch_of,
    conversation,
    episode,
    failed,
    numbers_of,
    played,
    turn,
)

from sdar_gym.algorithms.losses.advantages import base_advantages
from sdar_gym.algorithms.losses.group_statistics import turn_advantages
from sdar_gym.algorithms.methods import get_method
from sdar_gym.algorithms.objectives.advantage import AdvantageEstimator
from sdar_gym.algorithms.objectives.teacher import View
from sdar_gym.rollout.trajectory import Episode


@pytest.mark.parametrize("statistics", ["turn", "trajectory"])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("penalty", [0.0, 0.1])
def test_advantages_are_those_of_the_loss_functions(statistics: str, normalize: bool, penalty: float) -> None:
    changes = {"statistics": statistics, "normalize_by_std": normalize}
    objective = get_method("sdar").with_overrides({"advantage": changes}).objective
    found = batch_of(played(), objective, invalid_action_penalty=penalty).base_advantage_B
    rewards = torch.tensor([1.0, 1.0, -penalty, 0.0, 0.0, 1.0 - penalty, 1.0, 1.0, 1.0])
    groups, members = torch.tensor([4, 4, 4, 4, 7, 7, 7, 7, 7]), torch.tensor([0, 0, 1, 1, 2, 3, 4, 4, 4])
    expected = turn_advantages(
        rewards, groups, members, normalize_by_std=normalize, statistics=objective.advantage.statistics
    )
    assert expected.abs().max() > 0.4
    torch.testing.assert_close(found, expected)


def test_the_coefficient_of_the_advantage_is_that_of_the_step() -> None:
    objective = get_method("sdar").with_overrides({"policy_coeff": [[0, 0.5], [10, 0.25]]}).objective
    plain = batch_of(played()).base_advantage_B
    assert torch.equal(batch_of(played(), objective).base_advantage_B, 0.5 * plain)
    assert torch.equal(batch_of(played(), objective, step=10).base_advantage_B, 0.25 * plain)


def test_every_row_has_its_episode_turn_and_outcome() -> None:
    batch = batch_of(played())
    assert numbers_of(batch) == list(range(1, 10))
    assert batch.episode_B.tolist() == [0, 0, 1, 1, 2, 3, 4, 4, 4]
    assert batch.turn_B.tolist() == [0, 1, 0, 1, 0, 0, 0, 1, 2]
    assert batch.group_B.tolist() == [4, 4, 4, 4, 7, 7, 7, 7, 7]
    assert batch.return_B.tolist() == [1, 1, 0, 0, 0, 1, 1, 1, 1]
    assert batch.won_B.tolist() == [True, True, False, False, False, True, True, True, True]
    assert batch.tokens == sum(1 + number % 4 for number in range(1, 10))
    for row, record in enumerate(batch.turns):
        length = len(record.response_ids)
        assert batch.response_mask_BT[row].tolist() == [place < length for place in range(4)]
        assert batch.old_logp_BT[row, :length].tolist() == pytest.approx(record.old_logp)
        assert not batch.old_logp_BT[row, length:].any()


def test_a_fresh_prompt_a_turn_is_one_sequence_a_turn() -> None:
    batch = batch_of(played())
    assert batch.sequence_B.tolist() == list(range(9))
    assert batch.offset_B.tolist() == [0] * 9


def test_the_turns_of_one_sequence_follow_each_other_in_it() -> None:
    episodes = [
        conversation(0, 0, [turn(3), turn(2), turn(1)], won=True),
        episode(0, 1, [turn(4), turn(5)], won=False),
    ]
    batch = batch_of(episodes)
    assert numbers_of(batch) == [3, 2, 1, 4, 5]
    assert batch.sequence_B.tolist() == [0, 0, 0, 1, 2]
    # Responses have 1 + number % 4 tokens.
    assert batch.offset_B.tolist() == [0, 4, 7, 0, 0]


def test_a_turn_without_tokens_is_an_error() -> None:
    episodes = [conversation(0, member, [turn(3), turn(2)], won=member == 0) for member in range(2)]
    episodes[1].sequences[0].spans.pop()
    with pytest.raises(ValueError, match=r"Episode 0/1 has no tokens of turn 1\."):
        batch_of(episodes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_have_the_requested_precision(dtype: torch.dtype) -> None:
    batch = batch_of(played(), dtype=dtype)
    assert {batch.base_advantage_B.dtype, batch.old_logp_BT.dtype, batch.return_B.dtype} == {dtype}


def test_a_group_that_lost_members_keeps_the_others_and_a_single_one_is_dropped() -> None:
    whole = played()
    batch = batch_of([whole[0], *whole[2:4]])
    assert numbers_of(batch) == [5, 6]
    assert batch.metrics["dropped_episodes"] == 1
    two_of_three = batch_of([*whole[:2], *whole[3:]])
    assert numbers_of(two_of_three) == [1, 2, 3, 4, 6, 7, 8, 9]
    assert two_of_three.metrics["dropped_episodes"] == 0
    # What is left is compared as if the others had never been.
    torch.testing.assert_close(two_of_three.base_advantage_B[:4], batch_of(whole[:2]).base_advantage_B)


def test_an_episode_without_turns_is_no_member() -> None:
    whole = played()
    batch = batch_of([*whole[:2], whole[2], episode(7, 1, [], won=False)])
    assert numbers_of(batch) == [1, 2, 3, 4]
    assert batch.metrics["dropped_episodes"] == 2


@pytest.mark.parametrize("episodes", [[], [played()[0], played()[2]]])
def test_nothing_to_compare_is_an_error(episodes: list[Episode]) -> None:
    with pytest.raises(ValueError, match=f"None of {len(episodes)} episodes has another episode of its group"):
        batch_of(episodes)


def test_the_metrics_count_groups() -> None:
    solved = [episode(2, member, [turn(30 + member, reward=1.0)], won=True) for member in range(2)]
    assert batch_of([*played(), *failed(1, 20), *solved]).metrics == {
        "live_group_fraction": 0.5,
        "no_spread_fraction": 0.5,
        "all_fail_fraction": 0.25,
        "all_success_fraction": 0.25,
        "dropped_episodes": 0.0,
    }


def test_equal_observations_of_a_group_are_one_state() -> None:
    """GiGPO compares what followed from the same state; another group's states are others."""

    def group(number: int) -> list[Episode]:
        return [
            episode(number, 0, [turn(1, observation="door"), turn(2, observation="room", reward=1.0)], won=True),
            episode(number, 1, [turn(3, observation="door"), turn(4, observation="door")], won=False),
        ]

    gigpo = get_method("gigpo").objective
    batch = batch_of([*group(0), *group(1)], gigpo, invalid_action_penalty=0.0)
    expected = base_advantages(
        gigpo.advantage,
        reward_B=batch.return_B,
        step_reward_B=torch.tensor([0.0, 1.0, 0.0, 0.0] * 2),
        group_B=batch.group_B,
        episode_B=batch.episode_B,
        turn_B=batch.turn_B,
        anchor_B=torch.tensor([0, 1, 0, 0] * 2),
    )
    torch.testing.assert_close(batch.base_advantage_B, expected)
    plain = batch_of([*group(0), *group(1)], get_method("dr_grpo").objective, invalid_action_penalty=0.0)
    assert (batch.base_advantage_B - plain.base_advantage_B).abs().max() > 0.1
    assert gigpo.advantage != AdvantageEstimator()


def test_a_turn_has_a_teacher_where_it_has_a_context_or_the_weights_are_others() -> None:
    episodes = played()
    episodes[0].sequences[1].teacher_ids = None
    batch = batch_of(episodes)
    assert batch.has_teacher_B(View.SKILLS).tolist() == [True, False, *[True] * 7]
    assert batch.has_teacher_B(View.NONE).all()


@pytest.mark.parametrize(("groups", "distilled"), [("all", [1, 2, 3, 4, 20, 21, 31]), ("all_fail", [20, 21])])
def test_which_groups_are_distilled(groups: str, distilled: list[int]) -> None:
    solved = [episode(2, member, [turn(30 + member, reward=1.0)], won=True) for member in range(2)]
    solved[0].sequences[0].teacher_ids = None
    batch = batch_of([*played()[:2], *failed(1, 20), *solved])
    objective = get_method("sdar").with_overrides({"distill": {"groups": groups}}).objective
    rows_B = batch.distilled_B(objective)
    assert [number for number, row in zip(numbers_of(batch), rows_B.tolist(), strict=True) if row] == distilled


def test_without_a_distillation_loss_nothing_is_distilled() -> None:
    batch = batch_of(played())
    assert batch.distilled_B(SDAR).all()
    for name in ("grpo", "rlsd"):
        assert not batch.distilled_B(get_method(name).objective).any()

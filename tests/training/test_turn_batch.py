"""The table of turns: advantages and group statistics over all of them, and which turns have a teacher."""

from __future__ import annotations

import pytest
import torch
from made_episodes import SDAR, episode, failed, played, table_of, turn  # pyright: ignore[reportMissingImports]

from sdar_gym.algorithms.losses.advantages import base_advantages
from sdar_gym.algorithms.losses.group_statistics import turn_advantages
from sdar_gym.algorithms.methods import get_method
from sdar_gym.algorithms.objectives.advantage import AdvantageEstimator
from sdar_gym.algorithms.objectives.teacher import View
from sdar_gym.rollout.trajectory import Episode
from sdar_gym.training.turn_batch import TurnBatch, distilled_rows


def numbers(table: TurnBatch) -> list[int]:
    return [turn.prompt_ids[0] for turn in table.turns]


@pytest.mark.parametrize("statistics", ["row", "trajectory"])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("penalty", [0.0, 0.1])
def test_advantages_are_those_of_the_algorithms(statistics: str, normalize: bool, penalty: float) -> None:
    changes = {"statistics": statistics, "normalize_by_std": normalize}
    objective = get_method("sdar").with_overrides(baseline=changes).objective
    found = table_of(played(), objective, invalid_action_penalty=penalty).adv_B
    rewards = torch.tensor([1.0, 1.0, -penalty, 0.0, 0.0, 1.0 - penalty, 1.0, 1.0, 1.0])
    groups, members = torch.tensor([4, 4, 4, 4, 7, 7, 7, 7, 7]), torch.tensor([0, 0, 1, 1, 2, 3, 4, 4, 4])
    expected = turn_advantages(
        rewards, groups, members, normalize_by_std=normalize, statistics=objective.baseline.statistics
    )
    assert expected.abs().max() > 0.4
    torch.testing.assert_close(found, expected)


def test_every_row_knows_its_episode_its_turn_and_how_it_ended() -> None:
    table = table_of(played())
    assert numbers(table) == list(range(1, 10))
    assert table.episode_B.tolist() == [0, 0, 1, 1, 2, 3, 4, 4, 4]
    assert table.turn_B.tolist() == [0, 1, 0, 1, 0, 0, 0, 1, 2]
    assert table.group_B.tolist() == [4, 4, 4, 4, 7, 7, 7, 7, 7]
    assert table.return_B.tolist() == [1, 1, 0, 0, 0, 1, 1, 1, 1]
    assert table.won_B.tolist() == [True, True, False, False, False, True, True, True, True]
    assert table.tokens == sum(1 + number % 4 for number in range(1, 10))
    for row, turn_ in enumerate(table.turns):
        answer = len(turn_.response_ids)
        assert table.mask_BT[row].tolist() == [place < answer for place in range(4)]
        assert table.old_logp_BT[row, :answer].tolist() == pytest.approx(turn_.logprobs)
        assert not table.old_logp_BT[row, answer:].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_have_the_asked_precision(dtype: torch.dtype) -> None:
    table = table_of(played(), dtype=dtype)
    assert {table.adv_B.dtype, table.old_logp_BT.dtype, table.return_B.dtype} == {dtype}


def test_a_group_that_lost_members_keeps_the_others_and_a_single_one_is_dropped() -> None:
    whole = played()
    table = table_of([whole[0], *whole[2:4]])
    assert numbers(table) == [5, 6]
    assert table.metrics["dropped_episodes"] == 1
    two_of_three = table_of([*whole[:2], *whole[3:]])
    assert numbers(two_of_three) == [1, 2, 3, 4, 6, 7, 8, 9]
    assert two_of_three.metrics["dropped_episodes"] == 0
    # What is left is compared as if the others had never been.
    torch.testing.assert_close(two_of_three.adv_B[:4], table_of(whole[:2]).adv_B)


def test_an_episode_without_turns_is_no_member() -> None:
    whole = played()
    table = table_of([*whole[:2], whole[2], episode(7, 1, [], won=False)])
    assert numbers(table) == [1, 2, 3, 4]
    assert table.metrics["dropped_episodes"] == 2


@pytest.mark.parametrize("episodes", [[], [played()[0], played()[2]]])
def test_nothing_to_compare_is_an_error(episodes: list[Episode]) -> None:
    with pytest.raises(ValueError, match=f"None of {len(episodes)} episodes has a group of at least two"):
        table_of(episodes)


def test_the_metrics_count_groups() -> None:
    solved = [episode(2, member, [turn(30 + member, reward=1.0)], won=True) for member in range(2)]
    assert table_of([*played(), *failed(1, 20), *solved]).metrics == {
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
    table = table_of([*group(0), *group(1)], gigpo, invalid_action_penalty=0.0)
    expected = base_advantages(
        gigpo.baseline,
        reward_B=table.return_B,
        step_reward_B=torch.tensor([0.0, 1.0, 0.0, 0.0] * 2),
        group_B=table.group_B,
        episode_B=table.episode_B,
        turn_B=table.turn_B,
        anchor_B=torch.tensor([0, 1, 0, 0] * 2),
    )
    torch.testing.assert_close(table.adv_B, expected)
    plain = table_of([*group(0), *group(1)], get_method("dr_grpo").objective, invalid_action_penalty=0.0).adv_B
    assert (table.adv_B - plain).abs().max() > 0.1
    assert gigpo.baseline != AdvantageEstimator()


def test_a_turn_has_a_teacher_where_it_has_a_context_or_the_weights_are_others() -> None:
    episodes = played()
    episodes[0].turns[1].teacher_prompt_ids = []
    table = table_of(episodes)
    assert table.context_B(View.SKILLS).tolist() == [True, False, *[True] * 7]
    assert table.context_B(View.NONE).all()


@pytest.mark.parametrize(
    ("groups", "distilled"), [("all", [1, 2, 3, 4, 20, 21, 31]), ("all_fail", [20, 21]), ("mixed", [1, 2, 3, 4])]
)
def test_which_groups_are_distilled(groups: str, distilled: list[int]) -> None:
    solved = [episode(2, member, [turn(30 + member, reward=1.0)], won=True) for member in range(2)]
    solved[0].turns[0].teacher_prompt_ids = []
    table = table_of([*played()[:2], *failed(1, 20), *solved])
    objective = get_method("sdar").with_overrides(distill={"groups": groups}).objective
    rows_B = distilled_rows(objective, table)
    assert [number for number, row in zip(numbers(table), rows_B.tolist(), strict=True) if row] == distilled


def test_without_a_distillation_loss_nothing_is_distilled() -> None:
    table = table_of(played())
    assert distilled_rows(SDAR, table).all()
    for name in ("grpo", "rlsd"):
        assert not distilled_rows(get_method(name).objective, table).any()

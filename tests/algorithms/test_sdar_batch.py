"""From episodes to the padded batch: every row keeps what belongs to it, and the whole batch is weighed at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from sdar_gym.algorithms import get_method, turn_advantages
from sdar_gym.algorithms.objective import Objective, TokenBatch, compute_loss
from sdar_gym.algorithms.sdar.batch import (
    ADVANTAGE,
    OLD_LOGP,
    TEACHER_INPUT_IDS,
    TEACHER_PROMPT_LENGTH,
    WEIGHT,
    PreparedBatch,
    prepare_batch,
)
from sdar_gym.algorithms.sdar.module import ANSWER_MASK, INPUT_IDS, PROMPT_LENGTH
from sdar_gym.rollout.episode import Episode, TurnRow

PAD = 99
SDAR = get_method("sdar").objective


def turn(number: int, *, reward: float = 0.0, form: bool = True, action: bool = True, skilled: bool = True) -> TurnRow:
    """A turn whose tokens tell its number; lengths differ."""
    prompt = [number, *range(100, 102 + number % 3)]
    answer = [number + 1000] * (1 + number % 4)
    logprobs = [-0.01 * number - 0.1 * place for place in range(len(answer))]
    teacher = [number, 555, 556, *prompt[1:]] if skilled else []
    return TurnRow("o", "r", "a", form, action, reward, prompt, answer, logprobs, teacher, 0)


def episode(group: int, member: int, turns: Sequence[TurnRow], *, won: bool) -> Episode:
    return Episode(f"{group}/{member}", group, f"task {group}", "kind", "train", "goal", list(turns), won, float(won))


def played(**settings: Any) -> list[Episode]:
    """Two groups of two and three episodes with nine turns in all, numbered 1 to 9; two of them are invalid."""
    return [
        episode(4, 0, [turn(1, **settings), turn(2, reward=1.0, **settings)], won=True),
        episode(4, 1, [turn(3, form=False, **settings), turn(4, **settings)], won=False),
        episode(7, 0, [turn(5, **settings)], won=False),
        episode(7, 1, [turn(6, reward=1.0, action=False, **settings)], won=True),
        episode(7, 2, [turn(7, **settings), turn(8, **settings), turn(9, reward=1.0, **settings)], won=True),
    ]


def prepare(episodes: Sequence[Episode], objective: Objective = SDAR, **settings: Any) -> PreparedBatch:
    defaults = {"teacher": True, "invalid_action_penalty": 0.1, "row_multiple": 4, "pad_id": PAD, "shuffle_seed": "a"}
    return prepare_batch(episodes, objective, **{**defaults, **settings})


def by_number(batch: PreparedBatch) -> dict[int, dict[str, np.ndarray[Any, Any]]]:
    """Real rows by the number of their turn."""
    rows = [{name: column[row] for name, column in batch.columns.items()} for row in range(batch.rows)]
    return {int(row[INPUT_IDS][0]): row for row in rows}


def all_turns(episodes: Sequence[Episode]) -> dict[int, tuple[Episode, TurnRow]]:
    return {turn.prompt_ids[0]: (episode, turn) for episode in episodes for turn in episode.turns}


def test_every_row_keeps_its_prompt_its_answer_and_its_log_probabilities() -> None:
    episodes = played()
    batch = prepare(episodes)
    rows = by_number(batch)
    assert set(rows) == set(range(1, 10))
    for number, (_, turn_) in all_turns(episodes).items():
        row = rows[number]
        length, answer = len(turn_.prompt_ids), len(turn_.response_ids)
        assert row[PROMPT_LENGTH] == length
        assert row[INPUT_IDS][: length + answer].tolist() == turn_.prompt_ids + turn_.response_ids
        assert (row[INPUT_IDS][length + answer :] == PAD).all()
        assert row[ANSWER_MASK].tolist() == [place < answer for place in range(4)]
        np.testing.assert_allclose(row[OLD_LOGP][:answer], turn_.logprobs, rtol=1e-6)
        assert not row[OLD_LOGP][answer:].any()


def test_the_teacher_reads_its_own_prompt_before_the_same_answer() -> None:
    episodes = played()
    for number, row in by_number(prepare(episodes)).items():
        turn_ = all_turns(episodes)[number][1]
        length = int(row[TEACHER_PROMPT_LENGTH])
        assert row[TEACHER_INPUT_IDS][:length].tolist() == turn_.teacher_prompt_ids
        answer = row[TEACHER_INPUT_IDS][length:][row[ANSWER_MASK][: len(row[TEACHER_INPUT_IDS]) - length].nonzero()]
        assert answer.tolist() == turn_.response_ids


def test_without_a_skill_the_teacher_reads_what_the_student_reads() -> None:
    batch = prepare(played(skilled=False))
    np.testing.assert_array_equal(batch.columns[TEACHER_INPUT_IDS], batch.columns[INPUT_IDS])
    np.testing.assert_array_equal(batch.columns[TEACHER_PROMPT_LENGTH], batch.columns[PROMPT_LENGTH])


def test_without_a_teacher_there_are_no_teacher_columns() -> None:
    assert set(prepare(played(), teacher=False).columns) == {
        INPUT_IDS,
        PROMPT_LENGTH,
        ANSWER_MASK,
        OLD_LOGP,
        ADVANTAGE,
        WEIGHT,
    }


@pytest.mark.parametrize("statistics", ["row", "trajectory"])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("penalty", [0.0, 0.1])
def test_advantages_are_those_of_the_algorithms(statistics: str, normalize: bool, penalty: float) -> None:
    episodes = played()
    objective = get_method("sdar").with_overrides(advantage_statistics=statistics, normalize_by_std=normalize).objective
    rows = by_number(prepare(episodes, objective, invalid_action_penalty=penalty))
    rewards = torch.tensor([1.0, 1.0, -penalty, 0.0, 0.0, 1.0 - penalty, 1.0, 1.0, 1.0])
    groups, members = torch.tensor([4, 4, 4, 4, 7, 7, 7, 7, 7]), torch.tensor([0, 0, 1, 1, 2, 3, 4, 4, 4])
    expected = turn_advantages(
        rewards, groups, members, normalize_by_std=normalize, statistics=objective.advantage_statistics
    )
    assert expected.abs().max() > 0.4
    assert [float(rows[number][ADVANTAGE]) for number in range(1, 10)] == pytest.approx(expected.tolist())


@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean"])
def test_weights_sum_to_one_over_the_whole_batch(aggregation: str) -> None:
    objective = get_method("sdar").with_overrides(aggregation=aggregation).objective
    batch = prepare(played(), objective)
    assert batch.columns[WEIGHT].sum() == pytest.approx(1.0)
    assert ((batch.columns[WEIGHT] > 0) == batch.columns[ANSWER_MASK]).all()
    rows = by_number(batch)
    answers = {number: 1 + number % 4 for number in range(1, 10)}
    for number, row in rows.items():
        weight = 1 / sum(answers.values()) if aggregation == "token_mean" else 1 / 9 / answers[number]
        assert row[WEIGHT][0] == pytest.approx(weight)


@pytest.mark.parametrize(("multiple", "count"), [(1, 9), (2, 10), (4, 12), (9, 9), (16, 16)])
def test_padding_rows_weigh_nothing(multiple: int, count: int) -> None:
    batch = prepare(played(), row_multiple=multiple)
    assert (batch.rows, batch.turns, batch.tokens) == (9, 9, sum(1 + number % 4 for number in range(1, 10)))
    for column in batch.columns.values():
        assert len(column) == count
    padding = {name: column[9:] for name, column in batch.columns.items()}
    for name in (ANSWER_MASK, WEIGHT, ADVANTAGE, OLD_LOGP):
        assert not padding[name].any()
    for ids, length in ((INPUT_IDS, PROMPT_LENGTH), (TEACHER_INPUT_IDS, TEACHER_PROMPT_LENGTH)):
        assert (padding[ids] == PAD).all()
        assert (padding[length] == 1).all()


def test_rows_are_shuffled_by_the_seed_alone() -> None:
    def order(seed: str) -> list[int]:
        return prepare(played(), shuffle_seed=seed).columns[INPUT_IDS][:9, 0].tolist()

    assert order("a") == order("a")
    assert order("a") != order("b")
    assert order("a") != sorted(order("a"))


def test_a_group_that_lost_members_keeps_the_others_and_a_single_one_is_dropped() -> None:
    whole = played()
    batch = prepare([whole[0], *whole[2:4]])
    assert set(by_number(batch)) == {5, 6}
    assert batch.metrics["dropped_episodes"] == 1
    assert batch.columns[WEIGHT].sum() == pytest.approx(1.0)
    two_of_three = prepare([*whole[:2], *whole[3:]])
    assert set(by_number(two_of_three)) == {1, 2, 3, 4, 6, 7, 8, 9}
    assert two_of_three.metrics["dropped_episodes"] == 0


def test_an_episode_without_turns_is_no_member() -> None:
    whole = played()
    batch = prepare([*whole[:2], whole[2], episode(7, 1, [], won=False)])
    assert set(by_number(batch)) == {1, 2, 3, 4}
    assert batch.metrics["dropped_episodes"] == 2


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(ValueError, match="None of 2 episodes has a group of at least two"):
        prepare([played()[0], played()[2]])


def test_the_metrics_count_groups() -> None:
    lost = [episode(1, member, [turn(20 + member)], won=False) for member in range(2)]
    solved = [episode(2, member, [turn(30 + member, reward=1.0)], won=True) for member in range(2)]
    assert prepare([*played(), *lost, *solved]).metrics == {
        "live_group_fraction": 0.5,
        "all_fail_fraction": 0.25,
        "all_success_fraction": 0.25,
        "dropped_episodes": 0.0,
    }


def twins() -> list[Episode]:
    """Two groups in which one turn, number 1, is played six times, with advantages of both signs."""
    wins = [episode(0, n, [turn(1), turn(2 + n, reward=1.0)], won=True) for n in range(2)]
    losses = [episode(0, 2, [turn(1), turn(4)], won=False)]
    others = [episode(1, n, [turn(1), turn(5 + n, reward=float(n == 2))], won=n == 2) for n in range(3)]
    return [*wins, *losses, *others]


@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean"])
def test_equal_turns_are_merged_without_changing_the_loss(aggregation: str) -> None:
    objective = get_method("sdar").with_overrides(aggregation=aggregation, kl_coeff=0.0).objective
    batch = prepare(twins(), objective)
    assert (batch.turns, batch.rows) == (12, 8)

    def parts(rows: Sequence[Any]) -> Any:
        """Loss and gradient where log-probabilities are functions of a turn's number, some far off the old ones."""
        numbers = torch.tensor([float(row[INPUT_IDS][0]) for row in rows])
        columns = {name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]}
        scale = torch.tensor(1.0, requires_grad=True)
        logp = columns[OLD_LOGP] + scale * 0.4 * torch.sin(numbers)[:, None] * torch.ones(4)
        output = compute_loss(
            objective,
            TokenBatch(
                logp_BT=logp,
                old_logp_BT=columns[OLD_LOGP],
                adv_B=columns[ADVANTAGE],
                mask_BT=columns[ANSWER_MASK],
                weight_BT=columns[WEIGHT],
                teacher_logp_BT=logp.detach() + 0.2 * torch.cos(numbers)[:, None],
                entropy_BT=logp.exp(),
            ),
        )
        output.loss.backward()
        return output.loss.item(), scale.grad.item(), {name: value.item() for name, value in output.metrics.items()}

    merged = parts([{name: column[row] for name, column in batch.columns.items()} for row in range(batch.rows)])
    # The same turns told apart by a token of their prompts that the loss here does not look at.
    distinct = twins()
    marked = [turn_ for episode_ in distinct for turn_ in episode_.turns]
    for number, turn_ in enumerate(marked):
        turn_.prompt_ids[-1] = 2000 + number
    separate = prepare(distinct, objective)
    assert separate.rows == separate.turns == 12
    plain = parts([{name: column[row] for name, column in separate.columns.items()} for row in range(separate.rows)])
    assert merged[0] == pytest.approx(plain[0], abs=1e-6)
    assert merged[1] == pytest.approx(plain[1], abs=1e-6)
    assert merged[2] == pytest.approx(plain[2], abs=1e-6)
    assert merged[2]["weight"] == pytest.approx(1.0)
    assert 0 < merged[2]["clip_fraction"] < 1

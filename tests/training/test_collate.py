"""From the table of turns to padded columns: every row keeps what belongs to it, and the whole batch is weighed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from made_episodes import PAD, episode, failed, played, prepare, table_of, turn  # pyright: ignore[reportMissingImports]
from sdar_gym.algorithms.sdar.scores import Scores

from sdar_gym.algorithms.methods import get_method
from sdar_gym.algorithms.objectives.teacher import View
from sdar_gym.algorithms.sdar.module import INPUT_IDS, RESPONSE_MASK, RESPONSE_POSITION
from sdar_gym.rollout.trajectory import Episode, TurnRecord
from sdar_gym.training.collate import (
    ADVANTAGE,
    CONTROL_INPUT_IDS,
    CONTROL_PROMPT_LENGTH,
    DISTILL,
    OLD_LOGP,
    TEACHER_INPUT_IDS,
    TEACHER_LOGP,
    TEACHER_PROMPT_LENGTH,
    WEIGHT,
    PreparedBatch,
    scoring_columns,
)

PLAIN = {INPUT_IDS, RESPONSE_POSITION, RESPONSE_MASK, OLD_LOGP, ADVANTAGE, WEIGHT}


def by_number(batch: PreparedBatch) -> dict[int, dict[str, np.ndarray[Any, Any]]]:
    """Real rows by the number of their turn."""
    rows = [{name: column[row] for name, column in batch.columns.items()} for row in range(batch.rows)]
    return {int(row[INPUT_IDS][0]): row for row in rows}


def all_turns(episodes: Sequence[Episode]) -> dict[int, tuple[Episode, TurnRecord]]:
    return {turn.prompt_ids[0]: (episode, turn) for episode in episodes for turn in episode.turns}


def known_scores(episodes: Sequence[Episode], **settings: Any) -> Scores:
    """A teacher whose log-probabilities tell the turn."""
    table = table_of(episodes, **settings)
    number_B = torch.tensor([float(turn.prompt_ids[0]) for turn in table.turns], dtype=table.old_logp_BT.dtype)
    teacher_BT = torch.where(table.mask_BT, -number_B[:, None], 0.0)
    return Scores(torch.ones(len(table.turns), dtype=torch.bool), table.old_logp_BT, teacher_BT)


def test_every_row_keeps_its_prompt_its_answer_and_its_log_probabilities() -> None:
    episodes = played()
    batch = prepare(episodes)
    rows = by_number(batch)
    assert set(rows) == set(range(1, 10))
    for number, (_, turn_) in all_turns(episodes).items():
        row = rows[number]
        length, answer = len(turn_.prompt_ids), len(turn_.response_ids)
        assert row[RESPONSE_POSITION] == length
        assert row[INPUT_IDS][: length + answer].tolist() == turn_.prompt_ids + turn_.response_ids
        assert (row[INPUT_IDS][length + answer :] == PAD).all()
        assert row[RESPONSE_MASK].tolist() == [place < answer for place in range(4)]
        np.testing.assert_allclose(row[OLD_LOGP][:answer], turn_.logprobs, rtol=1e-6)
        assert not row[OLD_LOGP][answer:].any()


def test_every_row_keeps_what_its_teacher_thinks() -> None:
    episodes = played()
    for number, row in by_number(prepare(episodes, scores=known_scores(episodes))).items():
        np.testing.assert_array_equal(row[TEACHER_LOGP], np.where(row[RESPONSE_MASK], -float(number), 0.0))


def test_a_dense_teacher_reads_its_own_prompt_before_the_same_answer() -> None:
    episodes = played()
    for number, row in by_number(prepare(episodes, dense=True)).items():
        turn_ = all_turns(episodes)[number][1]
        length = int(row[TEACHER_PROMPT_LENGTH])
        assert row[TEACHER_INPUT_IDS][:length].tolist() == turn_.teacher_prompt_ids
        answer = row[TEACHER_INPUT_IDS][length:][row[RESPONSE_MASK][: len(row[TEACHER_INPUT_IDS]) - length].nonzero()]
        assert answer.tolist() == turn_.response_ids


def test_without_a_skill_nothing_is_distilled_and_the_teacher_would_read_what_the_student_reads() -> None:
    batch = prepare(played(skilled=False), dense=True)
    np.testing.assert_array_equal(batch.columns[TEACHER_INPUT_IDS], batch.columns[INPUT_IDS])
    np.testing.assert_array_equal(batch.columns[TEACHER_PROMPT_LENGTH], batch.columns[RESPONSE_POSITION])
    assert not batch.columns[DISTILL].any()
    assert prepare(played()).columns[DISTILL][:9].all()


def test_a_teacher_without_a_view_reads_the_student_s_prompt_and_is_distilled() -> None:
    ema = get_method("sdar").with_overrides(teacher={"view": "none", "weights": "ema", "rate": 0.1}).objective
    batch = prepare(played(), ema, dense=True)
    np.testing.assert_array_equal(batch.columns[TEACHER_INPUT_IDS], batch.columns[INPUT_IDS])
    assert batch.columns[DISTILL][:9].all()


def test_there_are_no_more_columns_than_the_method_needs() -> None:
    teacher = {TEACHER_INPUT_IDS, TEACHER_PROMPT_LENGTH}
    assert set(prepare(played(), get_method("grpo").objective).columns) == PLAIN
    assert set(prepare(played()).columns) == PLAIN | {DISTILL}
    assert set(prepare(played(), dense=True).columns) == PLAIN | {DISTILL} | teacher
    assert set(prepare(played(), scores=known_scores(played())).columns) == PLAIN | {DISTILL, TEACHER_LOGP}


@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean"])
def test_weights_sum_to_one_over_the_whole_batch(aggregation: str) -> None:
    objective = get_method("sdar").with_overrides(aggregation=aggregation).objective
    batch = prepare(played(), objective)
    assert batch.columns[WEIGHT].sum() == pytest.approx(1.0)
    assert ((batch.columns[WEIGHT] > 0) == batch.columns[RESPONSE_MASK]).all()
    rows = by_number(batch)
    answers = {number: 1 + number % 4 for number in range(1, 10)}
    for number, row in rows.items():
        weight = 1 / sum(answers.values()) if aggregation == "token_mean" else 1 / 9 / answers[number]
        assert row[WEIGHT][0] == pytest.approx(weight)


@pytest.mark.parametrize(("multiple", "count"), [(1, 9), (2, 10), (4, 12), (9, 9), (16, 16)])
def test_padding_rows_weigh_nothing(multiple: int, count: int) -> None:
    batch = prepare(played(), row_multiple=multiple, dense=True, scores=known_scores(played()))
    assert batch.rows == 9
    for column in batch.columns.values():
        assert len(column) == count
    padding = {name: column[9:] for name, column in batch.columns.items()}
    for name in (RESPONSE_MASK, WEIGHT, ADVANTAGE, OLD_LOGP, DISTILL, TEACHER_LOGP):
        assert not padding[name].any()
    for ids, length in ((INPUT_IDS, RESPONSE_POSITION), (TEACHER_INPUT_IDS, TEACHER_PROMPT_LENGTH)):
        assert (padding[ids] == PAD).all()
        assert (padding[length] == 1).all()


def test_rows_are_shuffled_by_the_seed_alone() -> None:
    def order(seed: str) -> list[int]:
        return prepare(played(), shuffle_seed=seed).columns[INPUT_IDS][:9, 0].tolist()

    assert order("a") == order("a")
    assert order("a") != order("b")
    assert order("a") != sorted(order("a"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_keep_the_precision_of_the_table(dtype: torch.dtype) -> None:
    columns = prepare(played(), dtype=dtype, scores=known_scores(played(), dtype=dtype)).columns
    wanted = str(dtype).removeprefix("torch.")
    assert {columns[name].dtype.name for name in (OLD_LOGP, ADVANTAGE, WEIGHT, TEACHER_LOGP)} == {wanted}


def test_equal_turns_are_one_row_unless_something_tells_them_apart() -> None:
    def rows(**change: Any) -> int:
        """Two groups that both fail play the same two turns; one turn of the second group is changed."""
        twins = [*failed(0, 1), *failed(1, 1)]
        for name, value in change.items():
            setattr(twins[2].turns[0], name, value)
        return prepare(twins, get_method("allfail_ce").objective, row_multiple=1).rows

    assert rows() == 2
    assert rows(prompt_ids=[1, 7]) == 3
    assert rows(response_ids=[5, 5]) == 3
    assert rows(teacher_prompt_ids=[1, 7]) == 3
    # It is not distilled then.
    assert rows(teacher_prompt_ids=[]) == 3
    # What the sampler thought differs by rounding, as batches differ, and tells nothing apart.
    assert rows(logprobs=[-0.3, -0.4]) == 2


def test_a_turn_of_a_failed_and_of_a_solved_group_is_two_rows_where_only_one_is_distilled() -> None:
    solved = [episode(1, member, [turn(1, reward=1.0)], won=True) for member in range(2)]
    episodes = [*failed(0, 1), *solved]
    separate = prepare(episodes, get_method("allfail_ce").objective, row_multiple=1)
    assert separate.rows == 3
    rows = zip(separate.columns[INPUT_IDS][:, 0].tolist(), separate.columns[DISTILL].tolist(), strict=True)
    assert sorted(rows) == [(1, False), (1, True), (2, True)]
    assert prepare(episodes, get_method("frozen_ce").objective, row_multiple=1).rows == 2


def test_scores_are_asked_once_for_equal_turns_and_given_back_to_all() -> None:
    table = table_of([*failed(0, 1), *failed(1, 1), *failed(2, 3)])
    asked_B = torch.tensor([True, True, True, False, True, True])
    columns, index_B = scoring_columns(table, asked_B, View.SKILLS, PAD)
    assert index_B.tolist() == [0, 1, 0, -1, 2, 3]
    assert columns[INPUT_IDS][:, 0].tolist() == [1, 2, 3, 4]
    assert columns[RESPONSE_MASK].shape == (4, table.mask_BT.shape[1])
    assert CONTROL_INPUT_IDS not in columns
    for row, number in enumerate((1, 2, 3, 4)):
        turn_ = turn(number)
        for ids, lengths, prompt in (
            (INPUT_IDS, RESPONSE_POSITION, turn_.prompt_ids),
            (TEACHER_INPUT_IDS, TEACHER_PROMPT_LENGTH, turn_.teacher_prompt_ids),
        ):
            whole = [*prompt, *turn_.response_ids]
            assert columns[lengths][row] == len(prompt)
            assert columns[ids][row][: len(whole)].tolist() == whole


def test_a_blanked_prompt_is_asked_about_where_there_is_one() -> None:
    table = table_of(failed(0, 1))
    table.turns[0].control_prompt_ids = [7, 8]
    columns, _ = scoring_columns(table, torch.tensor([True, True]), View.FEEDBACK, PAD, control=True)
    assert columns[CONTROL_PROMPT_LENGTH].tolist() == [2, len(table.turns[1].prompt_ids)]
    assert columns[CONTROL_INPUT_IDS][0][:2].tolist() == [7, 8]
    assert columns[CONTROL_INPUT_IDS][1][0] == 2

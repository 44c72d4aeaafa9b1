"""From turns to padded columns: every row keeps what belongs to it, and weights are those of the whole update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from made_episodes import (  # pyright: ignore[reportMissingImports]
    PAD,
    SDAR,
    MadeTurn,
    batch_of,
    columns_of,
    conversation,
    episode,
    failed,
    numbers_of,
    pipeline_of,
    played,
    turn,
    with_teacher,
)

from sdar_gym.algorithms.methods import get_method
from sdar_gym.algorithms.objectives.teacher import View
from sdar_gym.rollout.trajectory import Episode
from sdar_gym.training.collate import (
    ADVANTAGE,
    CONTROL_INPUT_IDS,
    CONTROL_POSITION,
    DISTILL,
    INPUT_IDS,
    OLD_LOGP,
    RESPONSE_MASK,
    RESPONSE_POSITION,
    SPAN,
    TEACHER_INPUT_IDS,
    TEACHER_LOGP,
    TEACHER_POSITION,
    WEIGHT,
    Columns,
    SequenceRows,
    scoring_columns,
    to_turns,
)
from sdar_gym.training.turn_batch import TurnBatch

PLAIN = {INPUT_IDS, RESPONSE_POSITION, RESPONSE_MASK, SPAN, OLD_LOGP, ADVANTAGE, WEIGHT}
# Compares whole distributions, so its columns have the teacher's tokens.
FULL = get_method("sdar").with_overrides({"distill": {"divergence": "jsd", "support": "full", "alpha": 0.5}}).objective
CE = get_method("allfail_ce").objective


def by_number(columns: Columns, rows: int) -> dict[int, dict[str, np.ndarray[Any, Any]]]:
    """Rows before padding by the number of their turn."""
    made = [{name: column[row] for name, column in columns.items()} for row in range(rows)]
    return {int(row[INPUT_IDS][0]): row for row in made}


def made_turns() -> dict[int, MadeTurn]:
    """The turns of `played`."""
    return {number: turn(number) for number in range(1, 10)}


def scored(episodes: Sequence[Episode], **settings: Any) -> TurnBatch:
    """A teacher's log-probability is minus the number of the turn."""
    batch = batch_of(episodes, **settings)
    number_B = torch.tensor([float(number) for number in numbers_of(batch)], dtype=batch.old_logp_BT.dtype)
    return with_teacher(batch, torch.where(batch.response_mask_BT, -number_B[:, None], 0.0))


def test_every_row_keeps_its_prompt_its_response_and_its_log_probabilities() -> None:
    columns, count = columns_of(batch_of(played()))
    rows = by_number(columns, count)
    assert set(rows) == set(range(1, 10))
    for number, made in made_turns().items():
        row, response = rows[number], made.record.response_ids
        prompt, length = len(made.prompt), len(response)
        assert row[RESPONSE_POSITION].tolist() == [prompt + place if place < length else 1 for place in range(4)]
        assert row[INPUT_IDS][: prompt + length].tolist() == made.prompt + response
        assert (row[INPUT_IDS][prompt + length :] == PAD).all()
        assert row[RESPONSE_MASK].tolist() == [place < length for place in range(4)]
        assert not row[SPAN].any()
        np.testing.assert_allclose(row[OLD_LOGP][:length], made.record.old_logp, rtol=1e-6)
        assert not row[OLD_LOGP][length:].any()


def test_every_row_keeps_its_teacher_s_scores() -> None:
    for number, row in by_number(*columns_of(scored(played()))).items():
        np.testing.assert_array_equal(row[TEACHER_LOGP], np.where(row[RESPONSE_MASK], -float(number), 0.0))


def test_a_teacher_of_distributions_reads_its_prompt_before_the_same_response() -> None:
    for number, row in by_number(*columns_of(batch_of(played()), FULL)).items():
        made = turn(number)
        prompt = len(made.teacher)
        assert row[TEACHER_INPUT_IDS][:prompt].tolist() == made.teacher
        positions = row[TEACHER_POSITION][row[RESPONSE_MASK]]
        assert positions.tolist() == [prompt + place for place in range(len(made.record.response_ids))]
        assert row[TEACHER_INPUT_IDS][positions].tolist() == made.record.response_ids


def test_without_a_skill_nothing_is_distilled_and_the_teacher_would_read_the_student_s_tokens() -> None:
    columns, _ = columns_of(batch_of(played(skilled=False)), FULL)
    np.testing.assert_array_equal(columns[TEACHER_INPUT_IDS], columns[INPUT_IDS])
    np.testing.assert_array_equal(columns[TEACHER_POSITION], columns[RESPONSE_POSITION])
    assert not columns[DISTILL].any()
    columns, rows = columns_of(batch_of(played()))
    np.testing.assert_array_equal(columns[DISTILL][:rows], columns[RESPONSE_MASK][:rows])


def test_a_teacher_without_a_view_reads_the_student_s_prompt_and_is_distilled() -> None:
    changes = {
        "teacher": {"view": "none", "weights": "ema", "rate": 0.1},
        "distill": {"divergence": "jsd", "support": "full", "alpha": 0.5, "gate": None},
    }
    columns, rows = columns_of(batch_of(played()), get_method("sdar").with_overrides(changes).objective)
    np.testing.assert_array_equal(columns[TEACHER_INPUT_IDS], columns[INPUT_IDS])
    np.testing.assert_array_equal(columns[DISTILL][:rows], columns[RESPONSE_MASK][:rows])


def test_there_are_no_more_columns_than_the_method_needs() -> None:
    teacher = {TEACHER_INPUT_IDS, TEACHER_POSITION}
    assert set(columns_of(batch_of(played()), get_method("grpo").objective)[0]) == PLAIN
    assert set(columns_of(batch_of(played()))[0]) == PLAIN | {DISTILL}
    assert set(columns_of(batch_of(played()), FULL)[0]) == PLAIN | {DISTILL} | teacher
    assert set(columns_of(scored(played()))[0]) == PLAIN | {DISTILL, TEACHER_LOGP}


@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean"])
def test_weights_sum_to_one_over_the_whole_batch(aggregation: str) -> None:
    objective = get_method("sdar").with_overrides({"aggregation": aggregation}).objective
    columns, count = columns_of(batch_of(played()), objective)
    assert columns[WEIGHT].sum() == pytest.approx(1.0)
    assert ((columns[WEIGHT] > 0) == columns[RESPONSE_MASK]).all()
    lengths = {number: 1 + number % 4 for number in range(1, 10)}
    for number, row in by_number(columns, count).items():
        weight = 1 / sum(lengths.values()) if aggregation == "token_mean" else 1 / 9 / lengths[number]
        assert row[WEIGHT][0] == pytest.approx(weight)


@pytest.mark.parametrize(("multiple", "count"), [(1, 9), (2, 10), (4, 12), (9, 9), (16, 16)])
def test_padding_rows_weigh_nothing(multiple: int, count: int) -> None:
    columns, rows = columns_of(scored(played()), FULL, row_multiple=multiple)
    assert rows == 9
    for column in columns.values():
        assert len(column) == count
    padding = {name: column[9:] for name, column in columns.items()}
    for name in (RESPONSE_MASK, SPAN, WEIGHT, ADVANTAGE, OLD_LOGP, DISTILL, TEACHER_LOGP):
        assert not padding[name].any()
    for ids, position in ((INPUT_IDS, RESPONSE_POSITION), (TEACHER_INPUT_IDS, TEACHER_POSITION)):
        assert (padding[ids] == PAD).all()
        assert (padding[position] == 1).all()


def test_rows_are_shuffled_by_the_seed_alone() -> None:
    def order(seed: str) -> list[int]:
        return columns_of(batch_of(played()), shuffle_seed=seed)[0][INPUT_IDS][:9, 0].tolist()

    assert order("a") == order("a")
    assert order("a") != order("b")
    assert order("a") != sorted(order("a"))


def test_a_batch_without_advantages_is_refused() -> None:
    with pytest.raises(ValueError, match="has no advantages: shape it before"):
        pipeline_of().collate(batch_of(played()), 0, row_multiple=1, shuffle_seed="a")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_keep_the_precision_of_the_batch(dtype: torch.dtype) -> None:
    columns, _ = columns_of(scored(played(), dtype=dtype))
    expected = str(dtype).removeprefix("torch.")
    assert {columns[name].dtype.name for name in (OLD_LOGP, ADVANTAGE, WEIGHT, TEACHER_LOGP)} == {expected}


def test_equal_turns_are_one_row_unless_something_distinguishes_them() -> None:
    def rows(**change: Any) -> int:
        """Two groups that both fail play the same two turns; one turn of the second group is changed."""
        other = turn(1)
        for name, value in change.items():
            setattr(other if hasattr(other, name) else other.record, name, value)
        twins = [*failed(0, 1), episode(1, 0, [other], won=False), failed(1, 1)[1]]
        return columns_of(batch_of(twins), CE, row_multiple=1)[1]

    assert rows() == 2
    assert rows(prompt=[1, 7]) == 3
    assert rows(response_ids=[5, 5]) == 3
    assert rows(teacher=[1, 7]) == 3
    # It is not distilled then.
    assert rows(teacher=[]) == 3
    # The sampler's numbers differ by rounding, as batches differ, and distinguish nothing.
    assert rows(old_logp=[-0.3, -0.4]) == 2


def test_a_turn_of_a_failed_and_of_a_solved_group_is_two_rows_where_only_one_is_distilled() -> None:
    solved = [episode(1, member, [turn(1, reward=1.0)], won=True) for member in range(2)]
    episodes = [*failed(0, 1), *solved]
    columns, count = columns_of(batch_of(episodes), CE, row_multiple=1)
    assert count == 3
    rows = zip(columns[INPUT_IDS][:, 0].tolist(), columns[DISTILL].any(axis=1).tolist(), strict=True)
    assert sorted(rows) == [(1, False), (1, True), (2, True)]
    assert columns_of(batch_of(episodes), get_method("frozen_ce").objective, row_multiple=1)[1] == 2


def test_equal_turns_are_scored_once_and_all_of_them_get_the_scores() -> None:
    batch = batch_of([*failed(0, 1), *failed(1, 1), *failed(2, 3)])
    scored_B = torch.tensor([True, True, True, False, True, True])
    columns, row_B = scoring_columns(batch, scored_B, View.SKILLS, PAD)
    assert row_B.tolist() == [0, 1, 0, -1, 2, 3]
    assert columns[INPUT_IDS][:, 0].tolist() == [1, 2, 3, 4]
    assert columns[RESPONSE_MASK].shape == (4, batch.response_mask_BT.shape[1])
    assert CONTROL_INPUT_IDS not in columns
    for row, number in enumerate((1, 2, 3, 4)):
        made = turn(number)
        response = made.record.response_ids
        for ids, position, prompt in (
            (INPUT_IDS, RESPONSE_POSITION, made.prompt),
            (TEACHER_INPUT_IDS, TEACHER_POSITION, made.teacher),
        ):
            whole = [*prompt, *response]
            assert columns[position][row][: len(response)].tolist() == list(range(len(prompt), len(whole)))
            assert columns[ids][row][: len(whole)].tolist() == whole


def test_a_blanked_prompt_is_scored_where_there_is_one() -> None:
    episodes = failed(0, 1)
    first = episodes[0].sequences[0]
    first.control_ids = first.behind([7, 8])
    columns, _ = scoring_columns(batch_of(episodes), torch.tensor([True, True]), View.FEEDBACK, PAD, control=True)
    assert columns[CONTROL_POSITION][:, 0].tolist() == [2, len(turn(2).prompt)]
    assert columns[CONTROL_INPUT_IDS][0][:2].tolist() == [7, 8]
    assert columns[CONTROL_INPUT_IDS][1][0] == 2


def conversations() -> list[Episode]:
    """A group of three: two append-only sequences of three and two turns, and one episode with fresh prompts."""
    return [
        conversation(0, 0, [turn(3), turn(2), turn(1, reward=1.0)], won=True),
        conversation(0, 1, [turn(4), turn(7)], won=False),
        episode(0, 2, [turn(5), turn(6)], won=False),
    ]


def test_the_turns_of_a_sequence_are_spans_of_one_row() -> None:
    batch = batch_of(conversations())
    columns, count = columns_of(scored(conversations()), FULL, row_multiple=1)
    assert count == 4
    lengths = {number: 1 + number % 4 for number in range(1, 10)}
    (row,) = [row for row in range(count) if columns[RESPONSE_MASK][row].sum() == 4 + 3 + 2]
    assert columns[SPAN][row, :9].tolist() == [0] * 4 + [1] * 3 + [2] * 2
    for ids, position in ((INPUT_IDS, RESPONSE_POSITION), (TEACHER_INPUT_IDS, TEACHER_POSITION)):
        tokens = columns[ids][row][columns[position][row, :9]]
        assert tokens.tolist() == [1003] * 4 + [1002] * 3 + [1001] * 2
    # The teacher's sequence is two tokens longer, and they are the same from there on.
    np.testing.assert_array_equal(columns[TEACHER_POSITION][row, :9], columns[RESPONSE_POSITION][row, :9] + 2)
    assert columns[TEACHER_LOGP][row, :9].tolist() == [-3.0] * 4 + [-2.0] * 3 + [-1.0] * 2
    # Each turn has its advantage and its weight, as if it were a row.
    advantages = dict(zip(numbers_of(batch), batch.base_advantage_B.tolist(), strict=True))
    expected = [advantages[3]] * 4 + [advantages[2]] * 3 + [advantages[1]] * 2
    assert columns[ADVANTAGE][row, :9].tolist() == pytest.approx(expected)
    tokens = sum(lengths[number] for number in numbers_of(batch))
    np.testing.assert_allclose(columns[WEIGHT][columns[RESPONSE_MASK]], 1 / tokens, rtol=1e-6)


def test_sequence_mean_weights_count_the_turns_of_a_sequence() -> None:
    objective = replace(SDAR, aggregation=get_method("sdar").objective.aggregation.SEQUENCE_MEAN)
    columns, _ = columns_of(batch_of(conversations()), objective, row_multiple=1)
    sums = sorted(columns[WEIGHT].sum(axis=1).tolist())
    assert sums == pytest.approx([1 / 7, 1 / 7, 2 / 7, 3 / 7])


def test_values_of_turns_go_to_rows_of_sequences_and_back() -> None:
    batch = batch_of(conversations(), dtype=torch.float64)
    rng = torch.Generator().manual_seed(0)
    value_BT = torch.rand(batch.response_mask_BT.shape, generator=rng, dtype=torch.float64)
    value_BT = torch.where(batch.response_mask_BT, value_BT, 0.0)
    order = [2, 0, 3, 1]
    rows = SequenceRows(batch).take(order)
    value_SL = rows.gather(value_BT)
    assert value_SL.shape == (4, 9)
    assert not value_SL[torch.from_numpy(~rows.mask)].any()
    row_B = torch.tensor([order.index(sequence) for sequence in batch.sequence_B.tolist()])
    missing_BT = torch.full_like(value_BT, -1.0)
    assert torch.equal(
        to_turns(batch, row_B, value_SL, missing_BT)[batch.response_mask_BT], value_BT[batch.response_mask_BT]
    )
    row_B[[1, 5]] = -1
    back_BT = to_turns(batch, row_B, value_SL, missing_BT)
    assert (back_BT[[1, 5]] == -1).all()
    kept = torch.tensor([0, 2, 3, 4, 6])
    assert torch.equal(back_BT[kept][batch.response_mask_BT[kept]], value_BT[kept][batch.response_mask_BT[kept]])


def test_a_sequence_is_scored_whole_though_only_some_of_its_turns_are_requested() -> None:
    batch = batch_of(conversations())
    columns, row_B = scoring_columns(
        batch, torch.tensor([False, True, False, False, False, True, False]), View.SKILLS, PAD
    )
    assert row_B.tolist() == [-1, 0, -1, -1, -1, 1, -1]
    assert columns[RESPONSE_MASK].sum(axis=1).tolist() == [9, 2]


def test_equal_sequences_are_merged_and_different_spans_are_not() -> None:
    def group(member: int, *numbers: int) -> Episode:
        return conversation(0, member, [turn(number) for number in numbers], won=False)

    assert columns_of(batch_of([group(0, 3, 2), group(1, 3, 2), group(2, 2, 3)]), row_multiple=1)[1] == 2
    one, other = group(0, 3, 2), group(1, 3, 2)
    # The same tokens, of which the second response is shorter.
    span = other.sequences[0].spans[1]
    other.sequences[0].spans[1] = type(span)(1, span.start + 1, span.stop)
    other.turns[1].response_ids, other.turns[1].old_logp = [1002] * 2, [-0.1] * 2
    assert columns_of(batch_of([one, other]), row_multiple=1)[1] == 2

"""Scores in batches within a token budget are those of a plain forward pass."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from sdar_gym.algorithms.methods.distil import Cost
from sdar_gym.algorithms.objectives.distillation import Distillation, Divergence, Support, TopKSource
from sdar_gym.algorithms.objectives.schedule import Schedule
from sdar_gym.algorithms.objectives.teacher import Weights
from sdar_gym.policy.batching import budget_batches
from sdar_gym.policy.load import load_model
from sdar_gym.policy.teacher_weights import TeacherWeights
from sdar_gym.training.collate import (
    INPUT_IDS,
    RESPONSE_MASK,
    RESPONSE_POSITION,
    TEACHER_INPUT_IDS,
    TEACHER_POSITION,
)
from sdar_gym.training.scoring import Scorer, widths

LENGTHS = [(5, 3), (9, 1), (2, 6), (7, 4), (3, 2)]
TEMPERATURE = 0.7
WIDTH = 8  # Responses are shorter: other shards may have longer ones.
FULL = Distillation(Schedule.constant(1.0), Divergence.FORWARD_KL, Support.FULL)


def topk(k: int, source: str, tail_bucket: bool = True) -> Distillation:
    return Distillation(
        Schedule.constant(1.0),
        Divergence.FORWARD_KL,
        Support.TOPK,
        k=k,
        topk_source=TopKSource(source),
        tail_bucket=tail_bucket,
    )


def drawn(samples: int) -> Distillation:
    return Distillation(Schedule.constant(1.0), Divergence.FORWARD_CE, Support.TEACHER_SAMPLES, samples=samples)


@pytest.fixture(scope="module")
def student(policy_folder: Path) -> PreTrainedModel:
    return load_model(str(policy_folder), "float64")


@pytest.fixture
def teacher(student: PreTrainedModel) -> TeacherWeights:
    return TeacherWeights(Weights.LIVE, student)


@pytest.fixture(params=[10_000, 20, 1], ids=["one", "some", "single"])
def scorer(request: pytest.FixtureRequest) -> Scorer:
    return Scorer(request.param, TEMPERATURE, torch.device("cpu"), contextlib.nullcontext)


@pytest.fixture(scope="module")
def columns() -> dict[str, np.ndarray[Any, Any]]:
    """Five rows and one of padding; the teacher's prompts are two tokens longer."""
    rng = np.random.default_rng(0)
    count = len(LENGTHS) + 1
    columns = {
        RESPONSE_MASK: np.zeros((count, WIDTH), dtype=bool),
        INPUT_IDS: np.zeros((count, 16), dtype=np.int64),
        TEACHER_INPUT_IDS: np.zeros((count, 18), dtype=np.int64),
        RESPONSE_POSITION: np.ones((count, WIDTH), dtype=np.int64),
        TEACHER_POSITION: np.ones((count, WIDTH), dtype=np.int64),
    }
    for row, (prompt, length) in enumerate(LENGTHS):
        ids = rng.integers(5, 300, prompt + length)
        columns[RESPONSE_MASK][row, :length] = True
        columns[INPUT_IDS][row, : prompt + length] = ids
        columns[TEACHER_INPUT_IDS][row, : prompt + length + 2] = [7, 8, *ids]
        columns[RESPONSE_POSITION][row, :length] = np.arange(prompt, prompt + length)
        columns[TEACHER_POSITION][row, :length] = np.arange(prompt + 2, prompt + 2 + length)
    return columns


@torch.no_grad()
def full_logp(model: PreTrainedModel, columns: Any, row: int, ids: str, positions: str) -> tuple[torch.Tensor, Any]:
    """Of one row: log-probabilities of the vocabulary at each response token, and the tokens."""
    prompt, length = int(columns[positions][row, 0]), int(columns[RESPONSE_MASK][row].sum())
    tokens = torch.as_tensor(columns[ids][row])[: prompt + length]
    logits = model(input_ids=tokens[None]).logits[0, prompt - 1 : -1] / TEMPERATURE
    return logits.log_softmax(-1), tokens[prompt:, None]


OWN, SHOWN = (INPUT_IDS, RESPONSE_POSITION), (TEACHER_INPUT_IDS, TEACHER_POSITION)


@pytest.mark.parametrize("where", [OWN, SHOWN], ids=["student", "teacher"])
def test_log_probabilities_and_entropies_are_those_of_the_whole_pass(
    where: tuple[str, str], student: PreTrainedModel, scorer: Scorer, columns: Any
) -> None:
    logp_BT = scorer.logp(student, columns, *where)
    assert (logp_BT.shape, logp_BT.dtype) == ((6, WIDTH), torch.float64)
    again_BT, entropy_BT = scorer.student(student, columns)
    for row, (_, length) in enumerate(LENGTHS):
        full_NV, tokens = full_logp(student, columns, row, *where)
        torch.testing.assert_close(logp_BT[row, :length], full_NV.gather(1, tokens)[:, 0])
        if where is OWN:
            torch.testing.assert_close(again_BT[row], logp_BT[row])
            torch.testing.assert_close(entropy_BT[row, :length], -(full_NV.exp() * full_NV).sum(-1))
    outside = ~torch.as_tensor(columns[RESPONSE_MASK])
    assert not logp_BT[outside].any() and not entropy_BT[outside].any()


@pytest.mark.parametrize("cost", list(Cost))
@pytest.mark.parametrize(
    "distill", [FULL, topk(4, "teacher"), topk(4, "student", tail_bucket=False)], ids=["full", "t", "s"]
)
def test_costs_are_cross_entropy_or_kl_to_the_teacher(
    cost: Cost, distill: Distillation, student: PreTrainedModel, teacher: TeacherWeights, scorer: Scorer, columns: Any
) -> None:
    found_BT = scorer.costs(distill, cost, student, teacher, columns)
    assert found_BT.shape == (6, WIDTH)
    for row, (_, length) in enumerate(LENGTHS):
        own, shown = (full_logp(student, columns, row, *where)[0] for where in (OWN, SHOWN))
        if distill.k is not None:
            ids = (own if distill.topk_source is TopKSource.STUDENT else shown).topk(distill.k).indices
            own, shown = (each.gather(1, ids) for each in (own, shown))
            if distill.tail_bucket:
                own, shown = (torch.cat([x, torch.log1p(-x.exp().sum(-1, keepdim=True))], -1) for x in (own, shown))
            else:
                own, shown = (x.log_softmax(-1) for x in (own, shown))
        expected = -(shown.exp() * own).sum(-1)
        if cost is Cost.KL:
            expected = expected + (shown.exp() * shown).sum(-1)
        torch.testing.assert_close(found_BT[row, :length], expected, rtol=1e-7, atol=1e-10)
        assert expected.abs().max() > 1e-3
    assert not found_BT[~torch.as_tensor(columns[RESPONSE_MASK])].any()


def test_samples_of_the_teacher_estimate_the_cross_entropy_without_bias(
    student: PreTrainedModel, teacher: TeacherWeights, columns: Any
) -> None:
    scorer = Scorer(10_000, TEMPERATURE, torch.device("cpu"), contextlib.nullcontext)
    exact_BT = scorer.costs(FULL, Cost.CE, student, teacher, columns)
    found_BT = scorer.costs(drawn(20_000), Cost.CE, student, teacher, columns)
    mask_BT = torch.as_tensor(columns[RESPONSE_MASK])
    torch.testing.assert_close(found_BT[mask_BT], exact_BT[mask_BT], rtol=0.02, atol=0.02)
    assert not found_BT[~mask_BT].any()
    # The teacher's draws, not the student's: its own cross-entropy is another.
    own = {**columns, TEACHER_INPUT_IDS: columns[INPUT_IDS], TEACHER_POSITION: columns[RESPONSE_POSITION]}
    other_BT = scorer.costs(drawn(20_000), Cost.CE, student, teacher, own)
    assert (other_BT - exact_BT)[mask_BT].abs().max() > 0.1


def test_samples_depend_on_the_tokens_and_the_purpose_alone(
    student: PreTrainedModel, teacher: TeacherWeights, columns: Any
) -> None:
    scorer = Scorer(10_000, TEMPERATURE, torch.device("cpu"), contextlib.nullcontext)
    everything_B = torch.ones(6, dtype=torch.bool)

    def ids(columns: Any, purpose: str = "loss") -> torch.Tensor:
        targets = scorer.targets(drawn(8), student, teacher, columns, everything_B, purpose)
        assert targets.ids_RTK is not None and targets.logp_RTK is None
        return targets.ids_RTK

    first = ids(columns)
    assert first.shape == (5, WIDTH, 8) and first.dtype is torch.long
    torch.manual_seed(1)  # The draws of others change nothing.
    assert torch.equal(first, ids(columns))
    assert not torch.equal(first, ids(columns, "cost"))
    other = columns[INPUT_IDS].copy()
    other[0, 0] += 1
    assert not torch.equal(first, ids({**columns, INPUT_IDS: other}))


@pytest.mark.parametrize("distill", [FULL, topk(3, "teacher"), topk(3, "student")], ids=["full", "t", "s"])
def test_targets_are_kept_for_the_chosen_rows_alone(
    distill: Distillation, student: PreTrainedModel, teacher: TeacherWeights, scorer: Scorer, columns: Any
) -> None:
    # The last row is padding: it has no slot even if it is chosen.
    chosen_B = torch.tensor([True, False, True, False, True, True])
    targets = scorer.targets(distill, student, teacher, columns, chosen_B)
    assert targets.slot_B.tolist() == [0, -1, 1, -1, 2, -1]
    kept = [value for value in (targets.hidden_RTH, targets.ids_RTK, targets.logp_RTK) if value is not None]
    assert kept and all(len(value) == 3 for value in kept)
    if distill.k is None:
        assert targets.hidden_RTH is not None and targets.hidden_RTH.shape[2] == student.config.hidden_size
        return
    assert targets.ids_RTK is not None and targets.logp_RTK is not None
    for slot, row in enumerate((0, 2, 4)):
        length = LENGTHS[row][1]
        own, shown = (full_logp(student, columns, row, *where)[0] for where in (OWN, SHOWN))
        ids = (own if distill.topk_source is TopKSource.STUDENT else shown).topk(3).indices
        assert torch.equal(targets.ids_RTK[slot, :length], ids)
        torch.testing.assert_close(targets.logp_RTK[slot, :length], shown.gather(1, ids))


@pytest.mark.parametrize("distill", [FULL, topk(3, "teacher"), topk(3, "student")], ids=["full", "t", "s"])
def test_nothing_to_distill_and_no_rows_at_all_give_empty_results(
    distill: Distillation, student: PreTrainedModel, teacher: TeacherWeights, scorer: Scorer, columns: Any
) -> None:
    targets = scorer.targets(distill, student, teacher, columns, torch.zeros(6, dtype=torch.bool))
    assert targets.slot_B.tolist() == [-1] * 6
    # A learner gets no rows where there are fewer than learners.
    none = {name: column[:0] for name, column in columns.items()}
    assert scorer.logp(student, none).shape == (0, WIDTH)
    assert scorer.student(student, none)[1].shape == (0, WIDTH)
    assert scorer.costs(distill, Cost.CE, student, teacher, none).shape == (0, WIDTH)


def test_a_k_above_the_vocabulary_leaves_one_token_for_the_tail_bucket(
    student: PreTrainedModel, teacher: TeacherWeights, columns: Any
) -> None:
    scorer = Scorer(10_000, TEMPERATURE, torch.device("cpu"), contextlib.nullcontext)
    vocabulary = student.config.vocab_size
    targets = scorer.targets(topk(10**6, "teacher"), student, teacher, columns, torch.ones(6, dtype=torch.bool))
    assert targets.ids_RTK is not None and targets.ids_RTK.shape[2] == vocabulary - 1
    found, expected = (
        scorer.costs(distill, Cost.KL, student, teacher, columns) for distill in (topk(10**6, "teacher"), FULL)
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_batches_hold_all_rows_with_responses_once_and_fit_into_the_budget() -> None:
    rng = torch.Generator().manual_seed(0)
    prompt_B = torch.randint(1, 30, (40,), generator=rng)
    length_B = torch.randint(0, 6, (40,), generator=rng)
    mask_BT = torch.arange(6) < length_B[:, None]
    position_BT = torch.where(mask_BT, prompt_B[:, None] + torch.arange(6), 1)
    width_B = widths(position_BT, mask_BT)
    assert torch.equal(width_B, torch.where(length_B > 0, prompt_B + length_B, 0))
    rows = length_B.nonzero().flatten().tolist()
    batches = list(budget_batches(rows, width_B.tolist(), 60))
    assert sorted(row for batch, _ in batches for row in batch.tolist()) == rows
    assert len(batches) > 3
    for batch, width in batches:
        assert width == int(width_B[batch].max())
        assert len(batch) == 1 or len(batch) * width <= 60
    # Rows of similar length are together, and a row that is too long by itself is alone.
    found = [width for _, width in batches]
    assert found == sorted(found)
    assert [len(batch) for batch, _ in budget_batches(rows, width_B.tolist(), 1)] == [1] * len(rows)
    assert list(budget_batches([], width_B.tolist(), 60)) == []
    assert not widths(position_BT, torch.zeros_like(mask_BT)).any()


@pytest.mark.parametrize("budget", [10_000, 30])
def test_several_responses_of_a_sequence_are_scored_in_one_pass(budget: int, student: PreTrainedModel) -> None:
    """Scores of each span are those of its prefix as a separate prompt."""
    rng = np.random.default_rng(1)
    spans = [[(3, 6), (10, 12), (12, 16)], [(2, 4)], [(5, 6), (7, 10)]]
    columns = {
        RESPONSE_MASK: np.zeros((3, 9), dtype=bool),
        INPUT_IDS: rng.integers(5, 300, (3, 16)),
        RESPONSE_POSITION: np.ones((3, 9), dtype=np.int64),
    }
    for row, parts in enumerate(spans):
        places = [place for start, stop in parts for place in range(start, stop)]
        columns[RESPONSE_MASK][row, : len(places)] = True
        columns[RESPONSE_POSITION][row, : len(places)] = places
    scorer = Scorer(budget, TEMPERATURE, torch.device("cpu"), contextlib.nullcontext)
    logp_BT = scorer.logp(student, columns)
    for row, parts in enumerate(spans):
        offset = 0
        for start, stop in parts:
            one = {
                RESPONSE_MASK: np.ones((1, stop - start), dtype=bool),
                INPUT_IDS: columns[INPUT_IDS][row : row + 1, :stop],
                RESPONSE_POSITION: np.arange(start, stop)[None],
            }
            full_NV, tokens = full_logp(student, one, 0, INPUT_IDS, RESPONSE_POSITION)
            found = logp_BT[row, offset : offset + stop - start]
            torch.testing.assert_close(found, full_NV.gather(1, tokens)[:, 0])
            offset += stop - start
        assert not logp_BT[row, offset:].any()

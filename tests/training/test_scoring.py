"""Scores in micro-batches are those of a plain forward pass, of the rows that are asked about."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from sdar_gym.algorithms.methods.distil import Cost
from sdar_gym.algorithms.objectives.distillation import Distillation, Divergence
from sdar_gym.algorithms.objectives.schedule import Schedule
from sdar_gym.algorithms.sdar.module import INPUT_IDS, RESPONSE_MASK, RESPONSE_POSITION
from sdar_gym.policy.load import load_model
from sdar_gym.policy.teacher_weights import TeacherWeights
from sdar_gym.training.collate import TEACHER_INPUT_IDS, TEACHER_PROMPT_LENGTH
from sdar_gym.training.scoring import Scorer, micro_batches

LENGTHS = [(5, 3), (9, 1), (2, 6), (7, 4), (3, 2)]
TEMPERATURE = 0.7
WIDTH = 8  # Answers are shorter: other shards may have longer ones.
FULL = Distillation(Schedule.constant(1.0), Divergence.FORWARD_KL, "full")


def topk(k: int, chooser: str, rest: bool = True) -> Distillation:
    return Distillation(Schedule.constant(1.0), Divergence.FORWARD_KL, "topk", k=k, topk_source=chooser, rest=rest)


@pytest.fixture(scope="module")
def student(policy_folder: Path) -> PreTrainedModel:
    return load_model(str(policy_folder), "float64")


@pytest.fixture
def teacher(student: PreTrainedModel) -> TeacherWeights:
    return TeacherWeights("live", student)


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
        RESPONSE_POSITION: np.ones(count, dtype=np.int64),
        TEACHER_PROMPT_LENGTH: np.ones(count, dtype=np.int64),
    }
    for row, (prompt, answer) in enumerate(LENGTHS):
        ids = rng.integers(5, 300, prompt + answer)
        columns[RESPONSE_MASK][row, :answer] = True
        columns[INPUT_IDS][row, : prompt + answer] = ids
        columns[TEACHER_INPUT_IDS][row, : prompt + answer + 2] = [7, 8, *ids]
        columns[RESPONSE_POSITION][row], columns[TEACHER_PROMPT_LENGTH][row] = prompt, prompt + 2
    return columns


@torch.no_grad()
def full_logp(model: PreTrainedModel, columns: Any, row: int, ids: str, lengths: str) -> tuple[torch.Tensor, Any]:
    """Of one row: log-probabilities of the vocabulary at each answer token, and the tokens."""
    prompt, answer = int(columns[lengths][row]), int(columns[RESPONSE_MASK][row].sum())
    tokens = torch.as_tensor(columns[ids][row])[: prompt + answer]
    logits = model(input_ids=tokens[None]).logits[0, prompt - 1 : -1] / TEMPERATURE
    return logits.log_softmax(-1), tokens[prompt:, None]


OWN, SHOWN = (INPUT_IDS, RESPONSE_POSITION), (TEACHER_INPUT_IDS, TEACHER_PROMPT_LENGTH)


@pytest.mark.parametrize("where", [OWN, SHOWN], ids=["student", "teacher"])
def test_log_probabilities_and_entropies_are_those_of_the_whole_pass(
    where: tuple[str, str], student: PreTrainedModel, scorer: Scorer, columns: Any
) -> None:
    logp_BT = scorer.logp(student, columns, *where)
    assert (logp_BT.shape, logp_BT.dtype) == ((6, WIDTH), torch.float64)
    again_BT, entropy_BT = scorer.student(student, columns)
    for row, (_, answer) in enumerate(LENGTHS):
        full_NV, tokens = full_logp(student, columns, row, *where)
        torch.testing.assert_close(logp_BT[row, :answer], full_NV.gather(1, tokens)[:, 0])
        if where is OWN:
            torch.testing.assert_close(again_BT[row], logp_BT[row])
            torch.testing.assert_close(entropy_BT[row, :answer], -(full_NV.exp() * full_NV).sum(-1))
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
    for row, (_, answer) in enumerate(LENGTHS):
        own, shown = (full_logp(student, columns, row, *where)[0] for where in (OWN, SHOWN))
        if distill.k is not None:
            ids = (own if distill.chooser == "student" else shown).topk(distill.k).indices
            own, shown = (each.gather(1, ids) for each in (own, shown))
            if distill.rest:
                own, shown = (torch.cat([x, torch.log1p(-x.exp().sum(-1, keepdim=True))], -1) for x in (own, shown))
            else:
                own, shown = (x.log_softmax(-1) for x in (own, shown))
        expected = -(shown.exp() * own).sum(-1)
        if cost is Cost.KL:
            expected = expected + (shown.exp() * shown).sum(-1)
        torch.testing.assert_close(found_BT[row, :answer], expected, rtol=1e-7, atol=1e-10)
        assert expected.abs().max() > 1e-3
    assert not found_BT[~torch.as_tensor(columns[RESPONSE_MASK])].any()


@pytest.mark.parametrize("distill", [FULL, topk(3, "teacher"), topk(3, "student")], ids=["full", "t", "s"])
def test_targets_are_kept_for_the_chosen_rows_alone(
    distill: Distillation, student: PreTrainedModel, teacher: TeacherWeights, scorer: Scorer, columns: Any
) -> None:
    # The last row is padding: it is not kept, whatever is said of it.
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
        answer = LENGTHS[row][1]
        own, shown = (full_logp(student, columns, row, *where)[0] for where in (OWN, SHOWN))
        ids = (own if distill.chooser == "student" else shown).topk(3).indices
        assert torch.equal(targets.ids_RTK[slot, :answer], ids)
        torch.testing.assert_close(targets.logp_RTK[slot, :answer], shown.gather(1, ids))


@pytest.mark.parametrize("distill", [FULL, topk(3, "teacher"), topk(3, "student")], ids=["full", "t", "s"])
def test_nothing_to_distil_and_no_rows_at_all_are_no_trouble(
    distill: Distillation, student: PreTrainedModel, teacher: TeacherWeights, scorer: Scorer, columns: Any
) -> None:
    targets = scorer.targets(distill, student, teacher, columns, torch.zeros(6, dtype=torch.bool))
    assert targets.slot_B.tolist() == [-1] * 6
    # A learner gets no rows where there are fewer than learners.
    none = {name: column[:0] for name, column in columns.items()}
    assert scorer.logp(student, none).shape == (0, WIDTH)
    assert scorer.student(student, none)[1].shape == (0, WIDTH)
    assert scorer.costs(distill, Cost.CE, student, teacher, none).shape == (0, WIDTH)


def test_as_many_tokens_as_there_are_leave_one_for_the_rest(
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


def test_micro_batches_hold_all_rows_with_answers_once_and_fit_into_the_budget() -> None:
    rng = torch.Generator().manual_seed(0)
    length_B = torch.randint(1, 30, (40,), generator=rng)
    answers_B = torch.randint(0, 6, (40,), generator=rng)
    mask_BT = torch.arange(6) < answers_B[:, None]
    pieces = list(micro_batches(length_B, mask_BT, 60))
    assert sorted(row for rows, _ in pieces for row in rows.tolist()) == answers_B.nonzero().flatten().tolist()
    assert len(pieces) > 3
    for rows, width in pieces:
        assert width == int((length_B + answers_B)[rows].max())
        assert len(rows) == 1 or len(rows) * width <= 60
    # Rows of similar length are together, and a row that is too long by itself is alone.
    widths = [width for _, width in pieces]
    assert widths == sorted(widths)
    assert [len(rows) for rows, _ in micro_batches(length_B, mask_BT, 1)] == [1] * int((answers_B > 0).sum())
    assert list(micro_batches(length_B, torch.zeros_like(mask_BT), 60)) == []

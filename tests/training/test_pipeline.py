"""The update pipeline without Ray: prepare, score, shape and collate, with made scores and with the tiny policy."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from made_episodes import (  # pyright: ignore[reportMissingImports]
    PAD,
    SDAR,
    batch_of,
    conversation,
    failed,
    numbers_of,
    pipeline_of,
    played,
    turn,
)
from transformers import PreTrainedModel

from sdar_gym.algorithms.losses.total import TokenBatch, compute_loss
from sdar_gym.algorithms.methods import METHODS, get_method
from sdar_gym.algorithms.methods.distil import FutureCredit, future_costs
from sdar_gym.policy.load import load_model
from sdar_gym.training.collate import (
    ADVANTAGE,
    CONTROL_INPUT_IDS,
    INPUT_IDS,
    OLD_LOGP,
    RESPONSE_MASK,
    RESPONSE_POSITION,
    TEACHER_INPUT_IDS,
    TEACHER_LOGP,
    TEACHER_POSITION,
    WEIGHT,
    Columns,
)
from sdar_gym.training.diagnostics import gate_weights
from sdar_gym.training.scoring import Scorer
from sdar_gym.training.turn_batch import TurnBatch

ALL_FAIL = get_method("allfail_ce").objective


class MadeScores:
    """A score function: numbers that differ for each name, turn and token.

    Attributes:
        calls: Names and number of rows of every call.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[str, ...], int]] = []

    def __call__(self, columns: Columns, names: Sequence[str]) -> Mapping[str, torch.Tensor]:
        mask = torch.from_numpy(columns[RESPONSE_MASK])
        self.calls.append((tuple(names), len(mask)))
        tokens = np.take_along_axis(
            columns[INPUT_IDS], columns[RESPONSE_POSITION].clip(max=columns[INPUT_IDS].shape[1] - 1), 1
        )
        phase = torch.from_numpy(tokens).double() + 0.7 * torch.arange(mask.shape[1])
        names = [*names, "entropy"] if "student" in names else list(names)
        # A score function may return anything where there is no response token.
        return {name: torch.where(mask, torch.sin(phase + place) - 2.0, torch.nan) for place, name in enumerate(names)}


def scored(batch: TurnBatch, objective: Any = SDAR, step: int = 0, **settings: Any) -> tuple[TurnBatch, MadeScores]:
    scores = MadeScores()
    return pipeline_of(objective, scores).score(batch, step, **settings), scores


@pytest.mark.parametrize(
    ("name", "plain", "measured"),
    [
        ("grpo", (), ()),
        ("sdar", ("teacher",), ("student", "teacher")),
        ("rlsd", ("student", "teacher"), ("student", "teacher")),
        ("ocsd", ("student", "teacher", "control"), ("student", "teacher", "control")),
        ("distil", ("cost",), ("student", "teacher", "cost")),
        ("frozen_ce", (), ("student", "teacher")),
        ("sdpo", (), ("student", "teacher")),
    ],
)
def test_no_score_is_requested_that_is_not_used(name: str, plain: tuple[str, ...], measured: tuple[str, ...]) -> None:
    objective = get_method(name).objective
    for diagnostics, names in ((False, plain), (True, measured)):
        assert objective.required_scores(0, diagnostics=diagnostics) == names
        _, scores = scored(batch_of(played(), objective), objective, diagnostics=diagnostics)
        assert [call[0] for call in scores.calls] == ([names] if names else [])


def test_a_teacher_with_an_ended_schedule_is_not_scored() -> None:
    rlsd = get_method("rlsd").objective
    assert rlsd.required_scores(99) == ("student", "teacher")
    assert rlsd.required_scores(100) == ()
    assert rlsd.required_scores(100, diagnostics=True) == ()


def test_turns_are_scored_where_something_depends_on_them() -> None:
    def rows(name: str, episodes: Any = None, **settings: Any) -> list[bool]:
        objective = get_method(name).objective
        batch = batch_of([*played(), *failed(1, 20)] if episodes is None else episodes, objective)
        return scored(batch, objective, **settings)[0].scored_B.tolist()

    assert rows("allfail_ce", diagnostics=True) == [True] * 11
    # Without diagnostics nothing needs the teacher's scores of sampled tokens there: see the columns.
    assert rows("allfail_ce") == [False] * 11
    gated = get_method("sdar").with_overrides({"distill": {"groups": "all_fail"}}).objective
    in_failed = [*[False] * 9, True, True]
    assert scored(batch_of([*played(), *failed(1, 20)], gated), gated)[0].scored_B.tolist() == in_failed
    # Shaping and future credit depend on whole groups and trajectories.
    for name in ("sdar", "rlsd", "distil"):
        assert all(rows(name))
    assert not any(rows("grpo", diagnostics=True))
    assert not any(rows("sdar", played(skilled=False), diagnostics=True))


def test_without_a_turn_to_score_the_score_function_is_not_called() -> None:
    batch, scores = scored(batch_of(played(skilled=False)))
    assert scores.calls == []
    # Everything is there all the same, without a gap.
    assert batch.has_teacher_scores
    assert torch.equal(batch.teacher_logp_BT, batch.old_logp_BT)


def test_every_turn_gets_the_scores_of_its_row() -> None:
    episodes = failed(0, 1) + failed(1, 3) + failed(2, 1)
    episodes[2].sequences[0].teacher_ids = None
    rlsd = get_method("rlsd").objective
    batch, scores = scored(batch_of(episodes, rlsd), rlsd)
    # Equal turns are one row, and a turn without a teacher is none.
    assert scores.calls == [(("student", "teacher"), 3)]
    assert batch.scored_B.tolist() == [True, True, False, True, True, True]
    mask_BT = batch.response_mask_BT
    for row, number in enumerate(numbers_of(batch)):
        length = int(mask_BT[row].sum())
        phase = 1000.0 + number + 0.7 * torch.arange(length, dtype=torch.float64)
        expected = [torch.sin(phase + place).float() - 2.0 for place in range(3)]
        if row == 2:  # It has the sampler's numbers and no gap.
            assert torch.equal(batch.student_logp_BT[row], batch.old_logp_BT[row])
            assert torch.equal(batch.teacher_logp_BT[row], batch.old_logp_BT[row])
            assert batch.entropy_BT is not None and batch.entropy_BT[row].isnan().all()
            continue
        found = (batch.student_logp_BT, batch.teacher_logp_BT, batch.entropy_BT)
        for value_BT, value in zip(found, expected, strict=True):
            assert value_BT is not None
            torch.testing.assert_close(value_BT[row, :length], value)
        assert torch.equal(batch.student_logp_BT[row, length:], batch.old_logp_BT[row, length:])
    assert batch.control_logp_BT is None and batch.cost_BT is None
    # The importance ratio keeps the sampler's numbers.
    assert torch.equal(batch.old_logp_BT, batch_of(episodes, rlsd).old_logp_BT)


def test_a_missing_cost_is_zero() -> None:
    distil = get_method("distil").objective
    episodes = failed(0, 1) + failed(1, 3)
    episodes[0].sequences[0].teacher_ids = None
    batch, _ = scored(batch_of(episodes, distil), distil)
    assert batch.cost_BT is not None and not batch.has_teacher_scores
    assert not batch.cost_BT[0].any()
    assert (batch.cost_BT[1:][batch.response_mask_BT[1:]] != 0).all()
    assert not batch.cost_BT[~batch.response_mask_BT].any()


@pytest.mark.parametrize("name", ["grpo", "sdar", "allfail_ce"])
def test_without_a_shaper_the_advantage_is_the_turn_s(name: str) -> None:
    objective = get_method(name).with_overrides({"policy_coeff": 0.5}).objective
    batch = batch_of(played(), objective)
    plain = batch_of(played(), get_method(name).objective).base_advantage_B
    expected = torch.where(batch.response_mask_BT, 0.5 * plain[:, None], 0.0)
    for each in (batch, scored(batch, objective, diagnostics=True)[0]):
        advantage_BT = pipeline_of(objective).shape(each, 0).advantage_BT
        assert advantage_BT is not None and torch.equal(advantage_BT, expected)


SHAPED = [name for name, method in METHODS.items() if method.objective.shaping is not None]


@pytest.mark.parametrize("name", SHAPED)
def test_shaping_is_that_of_the_whole_batch_and_leaves_turns_without_a_teacher(name: str) -> None:
    objective, step = get_method(name).objective, 25
    shaper = objective.shaping
    assert shaper is not None
    episodes = played()
    episodes[0].sequences[1].teacher_ids = None
    batch, _ = scored(batch_of(episodes, objective, step=step), objective, step)
    assert batch.scored_B.tolist() == [True, False, *[True] * 7]
    found_BT = pipeline_of(objective).shape(batch, step).advantage_BT
    assert found_BT is not None
    plain_BT = torch.where(batch.response_mask_BT, batch.base_advantage_B[:, None], 0.0)
    shaped_BT = shaper.shape(batch, objective.shaping_coeff_at(step))
    shaped_BT = torch.where(batch.response_mask_BT, shaped_BT, torch.zeros_like(plain_BT))
    kept = [0, *range(2, 9)]
    torch.testing.assert_close(found_BT[kept], shaped_BT[kept], rtol=0, atol=0)
    # A sum over later tokens includes the turns of the whole episode.
    assert torch.equal(found_BT[1], shaped_BT[1] if isinstance(shaper, FutureCredit) else plain_BT[1])
    assert (found_BT - plain_BT).abs().max() > 1e-5
    assert not found_BT[~batch.response_mask_BT].any()


def test_later_costs_are_subtracted_with_the_coefficient_of_the_distillation() -> None:
    objective = get_method("distil").with_overrides({"distill": {"coeff": 0.25}}).objective
    assert isinstance(objective.shaping, FutureCredit)
    batch, _ = scored(batch_of(played(), objective), objective)
    assert batch.cost_BT is not None
    ahead_BT = future_costs(
        objective.shaping, batch.cost_BT, batch.response_mask_BT, batch.episode_B, batch.turn_B, batch.group_B
    )
    assert ahead_BT.abs().max() > 1
    advantage_BT = pipeline_of(objective).shape(batch, 0).advantage_BT
    assert advantage_BT is not None
    torch.testing.assert_close(advantage_BT, -0.25 * ahead_BT)


@pytest.mark.parametrize(
    ("name", "message"), [("rlsd", "'rlsd' needs the teacher's scores"), ("distil", "needs the cost")]
)
def test_missing_scores_are_an_error(name: str, message: str) -> None:
    objective = get_method(name).objective
    with pytest.raises(ValueError, match=message):
        pipeline_of(objective).shape(batch_of(played(), objective), 0)


def test_the_gate_of_the_diagnostics_is_the_loss_s_at_the_start_of_the_update() -> None:
    batch, _ = scored(batch_of(played()), diagnostics=True)
    shaped = pipeline_of().shape(batch, 0)
    found_BT = gate_weights(SDAR, shaped)
    expected_BT = torch.sigmoid(5.0 * (batch.teacher_logp_BT - batch.student_logp_BT))
    torch.testing.assert_close(found_BT[batch.response_mask_BT], expected_BT[batch.response_mask_BT])
    assert gate_weights(get_method("grpo").objective, shaped).eq(1).all()


def test_a_failed_episode_costs_its_group() -> None:
    episodes = [*played(), *failed(1, 20)]
    episodes[2].error = "Task 'task 7', turn 1, action 'x': RuntimeError: broken"
    batch = pipeline_of().prepare(episodes, 0)
    assert set(batch.group_B.tolist()) == {1, 4}
    assert numbers_of(batch) == [1, 2, 3, 4, 20, 21]
    # An episode that failed is no episode that lost its group.
    assert batch.metrics["dropped_episodes"] == 0
    for episode in episodes:
        episode.error = "broken"
    with pytest.raises(ValueError, match="None of 0 episodes has another episode of its group"):
        pipeline_of().prepare(episodes, 0)


def test_prompts_that_need_finished_episodes_are_written_while_the_teacher_is_needed() -> None:
    class Writer:
        def __init__(self) -> None:
            self.written: list[list[str]] = []

        def write(self, episodes: Sequence[Any]) -> dict[str, float]:
            self.written.append([episode.episode_id for episode in episodes])
            for episode in episodes:
                for sequence in episode.sequences:
                    sequence.teacher_ids = sequence.behind([7, 8])
            return {"view_coverage": 1.0}

    writer, rlsd = Writer(), get_method("rlsd").objective
    pipeline = pipeline_of(rlsd, MadeScores(), writer=writer)
    batch = pipeline.prepare([*played(skilled=False), *failed(9, 30)[:1]], 0)
    # Of a group of one nothing is written.
    assert writer.written == [["4/0", "4/1", "7/0", "7/1", "7/2"]]
    assert batch.metrics["view_coverage"] == 1
    assert pipeline.score(batch, 0).scored_B.all()
    assert "view_coverage" not in pipeline.prepare(played(skilled=False), 100).metrics
    assert len(writer.written) == 1


def test_recomputed_log_probabilities_take_the_sampler_s_place() -> None:
    for name, calls in (("grpo", [(("student",), 9)]), ("sdar", [(("student",), 9), (("teacher",), 9)])):
        objective, scores = get_method(name).objective, MadeScores()
        pipeline = pipeline_of(objective, scores, old_logp="learner")
        prepared = pipeline.prepare(played(), 0)
        batch = pipeline.score(prepared, 0)
        assert scores.calls == calls
        mask_BT = batch.response_mask_BT
        assert torch.equal(batch.old_logp_BT, batch.student_logp_BT)
        assert (batch.old_logp_BT - prepared.old_logp_BT)[mask_BT].abs().min() > 1e-3
        assert not batch.old_logp_BT[~mask_BT].any()
        columns, _ = pipeline.collate(pipeline.shape(batch, 0), 0, row_multiple=1, shuffle_seed="a")
        kept = sorted(columns[OLD_LOGP][columns[RESPONSE_MASK]].tolist())
        assert kept == sorted(batch.old_logp_BT[mask_BT].tolist())


# With the real scorer and the tiny policy from here on.


@pytest.fixture(scope="module")
def policy() -> PreTrainedModel:
    return load_model("builtin:tiny", "float64").eval()


def real_scores(model: PreTrainedModel) -> Any:
    """The score function of a live teacher, as the learner computes it."""
    scorer = Scorer(4096, 0.7, torch.device("cpu"), contextlib.nullcontext)

    def score(columns: Columns, names: Sequence[str]) -> Mapping[str, torch.Tensor]:
        result: dict[str, torch.Tensor] = {}
        if "student" in names:
            result["student"], result["entropy"] = scorer.student(model, columns)
        if "teacher" in names:
            result["teacher"] = scorer.logp(model, columns, TEACHER_INPUT_IDS, TEACHER_POSITION)
        assert "control" not in names or CONTROL_INPUT_IDS in columns
        return result

    return score


def perturbed(episodes: Sequence[Any]) -> Sequence[Any]:
    """Log-probabilities of a sampler that is far off."""
    for episode in episodes:
        for record in episode.turns:
            record.old_logp = [value - 3.0 for value in record.old_logp]
    return episodes


@torch.no_grad()
def logp_of(model: PreTrainedModel, prompt: Sequence[int], response: Sequence[int]) -> torch.Tensor:
    """Log-probabilities of a response by a plain forward pass."""
    ids = torch.tensor([[*prompt, *response]])
    logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1] / 0.7
    return logits.log_softmax(-1).gather(1, torch.tensor(response)[:, None])[:, 0]


def small_ids(episodes: Sequence[Any]) -> Sequence[Any]:
    """The same episodes with token ids that the tiny policy has."""
    for episode in episodes:
        for sequence in episode.sequences:
            for name in ("ids", "teacher_ids"):
                setattr(sequence, name, [token % 300 for token in getattr(sequence, name)])
        for record in episode.turns:
            record.response_ids = [token % 300 for token in record.response_ids]
    return episodes


def test_the_scores_of_an_update_are_those_of_plain_forward_passes(policy: PreTrainedModel) -> None:
    pipeline = pipeline_of(SDAR, real_scores(policy), dtype=torch.float64)
    batch = pipeline.score(pipeline.prepare(small_ids(played()), 0), 0, diagnostics=True)
    gaps = 0.0
    for row, record in enumerate(batch.turns):
        sequence, length = batch.sequences[row], len(record.response_ids)
        student = logp_of(policy, sequence.prompt_ids, record.response_ids)
        assert sequence.teacher_ids is not None
        teacher = logp_of(policy, sequence.teacher_ids[:-length], record.response_ids)
        torch.testing.assert_close(batch.student_logp_BT[row, :length], student)
        torch.testing.assert_close(batch.teacher_logp_BT[row, :length], teacher)
        gaps = max(gaps, float((teacher - student).abs().max()))
    assert gaps > 0.1
    columns, rows = pipeline.collate(pipeline.shape(batch, 0), 0, row_multiple=4, shuffle_seed="a")
    assert rows == 9
    mask = columns[RESPONSE_MASK]
    assert sorted(columns[TEACHER_LOGP][mask].tolist()) == sorted(
        batch.teacher_logp_BT[batch.response_mask_BT].tolist()
    )


@pytest.mark.parametrize("old_logp", ["learner", "sampler"])
def test_the_first_step_is_on_policy_where_the_learner_recomputes(old_logp: str, policy: PreTrainedModel) -> None:
    grpo = get_method("grpo").objective
    pipeline = pipeline_of(grpo, real_scores(policy), old_logp=old_logp, dtype=torch.float64)
    episodes = perturbed(small_ids(played()))
    batch = pipeline.shape(pipeline.score(pipeline.prepare(episodes, 0), 0), 0)
    columns, _ = pipeline.collate(batch, 0, row_multiple=1, shuffle_seed="a")
    tensors = {name: torch.from_numpy(column) for name, column in columns.items()}
    scorer = Scorer(4096, 0.7, torch.device("cpu"), contextlib.nullcontext)
    logp_BT, entropy_BT = scorer.student(policy, columns)
    output = compute_loss(
        replace(grpo, kl_coeff=0.0),
        TokenBatch(
            logp_BT=logp_BT,
            old_logp_BT=tensors[OLD_LOGP],
            advantage_BT=tensors[ADVANTAGE],
            response_mask_BT=tensors[RESPONSE_MASK],
            weight_BT=tensors[WEIGHT],
            entropy_BT=entropy_BT,
        ),
    )
    if old_logp == "learner":
        # Exactly, up to the order of the rows in a pass.
        assert float(output.maxima["ratio_max"]) == pytest.approx(1.0, abs=1e-12)
        assert float(output.metrics["approx_kl"]) == pytest.approx(0.0, abs=1e-20)
    else:
        kept = [value for record in batch.turns for value in record.old_logp]
        assert sorted(columns[OLD_LOGP][columns[RESPONSE_MASK]].tolist()) == pytest.approx(sorted(kept))
        assert abs(float(output.maxima["ratio_max"]) - 1.0) > 0.1


def conversation_ids(seed: int) -> list[Any]:
    """Turns of a conversation with random token ids: prompts of four to eight tokens, responses of two to five."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(3):
        each = turn(number, reward=float(number == 2 and seed == 0))
        each.prompt = rng.integers(5, 300, 4 + 2 * number).tolist()
        each.record.response_ids = rng.integers(5, 300, 2 + (number + seed) % 4).tolist()
        each.record.old_logp = [-2.0] * len(each.record.response_ids)
        made.append(each)
    return made


def test_an_append_only_sequence_has_the_scores_of_its_prefixes(policy: PreTrainedModel) -> None:
    """The model is causal: a response's scores depend on the tokens before it, not on those after it."""
    episodes = [conversation(0, seed, conversation_ids(seed), won=seed == 0) for seed in range(2)]
    pipeline = pipeline_of(SDAR, real_scores(policy), dtype=torch.float64)
    batch = pipeline.score(pipeline.prepare(episodes, 0), 0, diagnostics=True)
    assert (len(batch.turns), len(batch.sequences)) == (6, 2)
    gaps = 0.0
    for row, record in enumerate(batch.turns):
        sequence, length = batch.sequences[int(batch.sequence_B[row])], len(record.response_ids)
        span = sequence.spans[int(batch.turn_B[row])]
        assert sequence.teacher_ids is not None
        shift = len(sequence.teacher_ids) - len(sequence.ids)
        student = logp_of(policy, sequence.ids[: span.start], record.response_ids)
        teacher = logp_of(policy, sequence.teacher_ids[: span.start + shift], record.response_ids)
        torch.testing.assert_close(batch.student_logp_BT[row, :length], student)
        torch.testing.assert_close(batch.teacher_logp_BT[row, :length], teacher)
        gaps = max(gaps, float((teacher - student).abs().max()))
    assert gaps > 0.1
    assert PAD not in [token for sequence in batch.sequences for token in sequence.ids]


def test_the_ratio_is_one_where_the_weights_have_not_changed() -> None:
    pipeline = pipeline_of(SDAR, MadeScores(), old_logp="learner")
    batch = pipeline.score(batch_of(played()), 0)
    inside = pipeline.ratio(batch)[batch.response_mask_BT]
    assert torch.equal(inside, torch.ones_like(inside))
    later = replace(batch, old_logp_BT=batch.old_logp_BT - 1.0)
    assert pipeline.ratio(later)[batch.response_mask_BT].tolist() == pytest.approx([torch.e] * len(inside))

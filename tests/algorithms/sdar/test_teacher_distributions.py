"""The teacher's distributions in an update: stored targets and chunks give the plain divergence."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from tiny_runs import learner_of, model_of, small_config  # pyright: ignore[reportMissingImports]
from transformers import PreTrainedModel

from sdar_gym.algorithms.losses.full_divergences import full_divergence, renormalized, with_tail_bucket
from sdar_gym.algorithms.objectives.distillation import Distillation, TopKSource
from sdar_gym.algorithms.sdar import SDAR, SDARConfig
from sdar_gym.policy import logprobs
from sdar_gym.training.collate import (
    DISTILL,
    INPUT_IDS,
    RESPONSE_MASK,
    RESPONSE_POSITION,
    TEACHER_INPUT_IDS,
    TEACHER_POSITION,
)
from sdar_gym.training.distillation_targets import AGREEMENT, DIVERGENCE, FULL_TEACHER_LOGP

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_instance")]
Build = Callable[[SDARConfig], SDAR]
TEACHERS: dict[str, dict[str, Any]] = {
    "live": {"weights": "live"},
    "ema": {"weights": "ema", "rate": 0.3},
    "stale": {"weights": "stale", "every": 2},
    "frozen": {"weights": "frozen"},
    "external": {"weights": "external", "model": "builtin:tiny"},
}
SUPPORTS: dict[str, dict[str, Any]] = {
    "full": {"divergence": "jsd", "support": "full", "alpha": 0.5},
    "teacher's": {"divergence": "forward_kl", "support": "topk", "k": 3, "topk_source": "teacher"},
    "student's": {
        "divergence": "reverse_kl",
        "support": "topk",
        "k": 3,
        "topk_source": "student",
        "tail_bucket": False,
    },
}


class Watched:
    """Records the batch of each update and every forward pass with a gradient.

    Args:
        learner: The learner.
    """

    def __init__(self, learner: Any):
        self.columns: list[dict[str, Any]] = []
        self.students: list[PreTrainedModel] = []
        # Of each pass its rows in the batch, and what the model returned.
        self.passes: list[tuple[list[int], dict[str, torch.Tensor]]] = []
        update, micro, term = learner.update, learner.compute_loss_for_module, learner._logits_term
        rows: list[list[int]] = []

        def note_update(*, training_data: Any, **kwargs: Any) -> Any:
            batch = training_data.batch.policy_batches[DEFAULT_MODULE_ID]
            self.columns.append({name: np.asarray(value) for name, value in batch.items()})
            self.students.append(deepcopy(learner._model).eval())
            return update(training_data=training_data, **kwargs)

        def note_rows(batch: Any, shard_rows: torch.Tensor) -> Any:
            rows.append(shard_rows.tolist())
            return term(batch, shard_rows)

        def note_pass(*, fwd_out: Any, **kwargs: Any) -> Any:
            self.passes.append((rows.pop(), {name: value.detach() for name, value in fwd_out.items()}))
            return micro(fwd_out=fwd_out, **kwargs)

        learner.update, learner.compute_loss_for_module, learner._logits_term = note_update, note_pass, note_rows


@torch.no_grad()
def full_logp(model: PreTrainedModel, ids: np.ndarray[Any, Any], prompt: int, length: int) -> torch.Tensor:
    """Log-probabilities of the whole vocabulary at every response token of one row, [response, vocabulary]."""
    row = torch.as_tensor(ids)[None, : prompt + length]
    return model(input_ids=row).logits[0, prompt - 1 : -1].log_softmax(-1)


def plain(distill: Distillation, student_NV: torch.Tensor, teacher_NV: torch.Tensor) -> torch.Tensor:
    """The divergence from whole distributions."""
    if distill.k is not None:
        source_NV = student_NV if distill.topk_source is TopKSource.STUDENT else teacher_NV
        ids_NK = source_NV.topk(distill.k).indices
        completed = with_tail_bucket if distill.tail_bucket else renormalized
        student_NV, teacher_NV = (completed(logp.gather(1, ids_NK)) for logp in (student_NV, teacher_NV))
    return full_divergence(
        distill.divergence, student_NV, teacher_NV, alpha=distill.alpha if distill.alpha is not None else 0.5
    )


def teachers_by_hand(name: str, students: list[PreTrainedModel]) -> PreTrainedModel:
    """The teacher of the last update, from the students at the start of each one."""
    if name == "live":
        return students[-1]
    if name in ("frozen", "external"):
        return students[0]
    if name == "stale":
        # Refreshed after every second update: the third one has the student with which it starts.
        return students[(len(students) - 1) // 2 * 2]
    average = deepcopy(students[0])
    for student in students[1:]:
        with torch.no_grad():
            for mine, theirs in zip(average.parameters(), student.parameters(), strict=True):
                mine.lerp_(theirs, TEACHERS["ema"]["rate"])
    return average


def full_config(teacher: str, support: str, **training: Any) -> SDARConfig:
    objective = {
        "teacher": TEACHERS[teacher],
        "distill": {"coeff": 0.5, "gate": None, **SUPPORTS[support]},
        "kl_coeff": 0.0,
    }
    config = small_config("sdar", objective=objective, max_steps=3, group_size=2, **training)
    return config.policy(dtype="float64")


@pytest.mark.parametrize(
    ("teacher", "support"),
    [*((name, "full") for name in TEACHERS), ("frozen", "teacher's"), ("frozen", "student's"), ("live", "student's")],
)
def test_the_divergence_is_that_of_the_whole_distributions(
    teacher: str, support: str, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So small that the logits of a response do not fit into one chunk.
    monkeypatch.setitem(logprobs.score_responses.__kwdefaults__, "logit_budget_bytes", 1)
    algorithm = build(full_config(teacher, support, micro_batch_tokens=200))
    distill = algorithm.config.get_method().objective.distill
    assert distill is not None
    watched = Watched(learner_of(algorithm))
    updates = {"stale": 4}.get(teacher, 3)
    for _ in range(updates):
        watched.passes.clear()
        algorithm.train()
    assert len(watched.passes) > 1
    student, taught = watched.students[-1], teachers_by_hand(teacher, watched.students)
    columns, compared, differs = watched.columns[-1], 0, 0.0
    for rows, out in watched.passes:
        for place, row in enumerate(rows):
            length, prompt = int(columns[RESPONSE_MASK][row].sum()), int(columns[RESPONSE_POSITION][row, 0])
            student_NV = full_logp(student, columns[INPUT_IDS][row], prompt, length)
            teacher_NV = full_logp(
                taught, columns[TEACHER_INPUT_IDS][row], int(columns[TEACHER_POSITION][row, 0]), length
            )
            assert columns[DISTILL][row, :length].all()
            found = {name: value[place, :length] for name, value in out.items()}
            torch.testing.assert_close(found[DIVERGENCE], plain(distill, student_NV, teacher_NV), rtol=1e-9, atol=1e-11)
            agrees = (student_NV.argmax(-1) == teacher_NV.argmax(-1)).double()
            if support != "student's":
                assert torch.equal(found[AGREEMENT], agrees)
            if support == "full":
                sampled = torch.as_tensor(columns[INPUT_IDS][row])[prompt:][:length, None]
                torch.testing.assert_close(found[FULL_TEACHER_LOGP], teacher_NV.gather(1, sampled)[:, 0])
            compared += length
            differs = max(differs, float((student_NV - teacher_NV).abs().max()))
    assert compared == sum(int(columns[RESPONSE_MASK][row].sum()) for row in range(len(columns[RESPONSE_MASK])))
    assert differs > 0.1


def test_a_teacher_known_by_its_samples_is_learned_from(build: Build) -> None:
    distill = {"coeff": 0.5, "divergence": "forward_ce", "support": "teacher_samples", "samples": 3, "gate": None}
    objective = {"teacher": TEACHERS["live"], "distill": distill, "policy_coeff": 0.0, "kl_coeff": 0.0}
    config = small_config("sdar", objective=objective, max_steps=3, group_size=2, micro_batch_tokens=200)
    algorithm = build(config.policy(dtype="float64"))
    learner = learner_of(algorithm)
    watched, drawn, targets = Watched(learner), [], learner._scorer.targets

    def note(*args: Any, **kwargs: Any) -> Any:
        drawn.append(targets(*args, **kwargs))
        return drawn[-1]

    learner._scorer.targets = note
    algorithm.train()
    student, columns, compared = watched.students[-1], watched.columns[-1], 0
    for rows, out in watched.passes:
        for place, row in enumerate(rows):
            length, prompt = int(columns[RESPONSE_MASK][row].sum()), int(columns[RESPONSE_POSITION][row, 0])
            student_NV = full_logp(student, columns[INPUT_IDS][row], prompt, length)
            ids = drawn[-1].ids_RTK[drawn[-1].slot_B[row], :length]
            assert ids.shape == (length, 3)
            expected = -student_NV.gather(1, ids).mean(-1)
            torch.testing.assert_close(out[DIVERGENCE][place, :length], expected, rtol=1e-9, atol=1e-11)
            assert FULL_TEACHER_LOGP not in out, "A black box has no log-probabilities."
            compared += length
    assert compared == int(columns[RESPONSE_MASK].sum()) and len(drawn) == 1


def test_teachers_have_different_weights_after_some_updates(build: Build) -> None:
    algorithm = build(full_config("frozen", "full"))
    watched = Watched(learner_of(algorithm))
    for _ in range(4):
        algorithm.train()
    kinds = [teachers_by_hand(name, watched.students) for name in ("live", "ema", "stale", "frozen")]
    heads = [model.get_output_embeddings().weight for model in kinds]
    for one in range(4):
        for other in range(one):
            assert (heads[one] - heads[other]).abs().max() > 1e-5


def test_a_live_teacher_keeps_the_head_from_the_start_of_the_update(build: Build) -> None:
    algorithm = build(full_config("live", "full", num_minibatches=2, lr=1e-2))
    learner = learner_of(algorithm)
    watched = Watched(learner)
    heads: list[torch.Tensor] = []
    apply = learner.apply_gradients

    def note(gradients: Any) -> None:
        heads.append(model_of(algorithm).get_output_embeddings().weight.detach().clone())
        apply(gradients)

    learner.apply_gradients = note
    algorithm.train()
    start = watched.students[-1]
    # The second step is taken with a head that has learned, and the teacher's has not.
    assert torch.equal(heads[0], start.get_output_embeddings().weight)
    assert (heads[1] - heads[0]).abs().max() > 1e-3
    columns = watched.columns[-1]
    seen: set[int] = set()
    for rows, out in watched.passes:
        for place, row in enumerate(rows):
            seen.add(row)
            length, prompt = int(columns[RESPONSE_MASK][row].sum()), int(columns[TEACHER_POSITION][row, 0])
            teacher_NV = full_logp(start, columns[TEACHER_INPUT_IDS][row], prompt, length)
            sampled = torch.as_tensor(columns[INPUT_IDS][row])[int(columns[RESPONSE_POSITION][row, 0]) :][:length, None]
            torch.testing.assert_close(
                out[FULL_TEACHER_LOGP][place, :length], teacher_NV.gather(1, sampled)[:, 0], rtol=1e-9, atol=1e-11
            )
    assert len(seen) == int(columns[RESPONSE_MASK].any(axis=1).sum())

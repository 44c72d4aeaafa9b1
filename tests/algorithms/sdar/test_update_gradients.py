"""The gradient of an update does not depend on micro-batches, order of rows, chunks, shards or learners."""

from __future__ import annotations

from collections.abc import Callable
from inspect import unwrap
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from tiny_runs import (  # pyright: ignore[reportMissingImports]
    equal,
    learner_metrics,
    learner_of,
    moments_of,
    remote,
    small_config,
    texts_of,
    weights_of,
)

from sdar_gym.algorithms.sdar import SDAR, SDARConfig
from sdar_gym.policy import logprobs
from sdar_gym.training import pipeline
from sdar_gym.training.collate import training_columns

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_instance")]
Build = Callable[[SDARConfig], SDAR]
# A gate on sampled tokens, shaped advantages, the whole vocabulary, and the student's top tokens.
NAMES = ("sdar", "rlsd", "frozen_ce", "sdpo")
# Each check builds the whole algorithm, so the slow suite has the other methods.
CHECKED = [pytest.param(name, marks=() if name in ("sdar", "sdpo") else pytest.mark.slow) for name in NAMES]
OBJECTIVES: dict[str, dict[str, Any]] = {"sdpo": {"distill": {"k": 5}}}


def exact_config(name: str, **training: Any) -> SDARConfig:
    """Double precision, and a teacher that acts strongly."""
    config = small_config(name, objective=OBJECTIVES.get(name, {}), grad_clip=1e9, **training)
    return config.policy(dtype="float64")


def gradient_of(trained: SDAR) -> np.ndarray[Any, Any]:
    """What the first step's gradient left in the optimizer."""
    return np.concatenate([moment.ravel() for moment in moments_of(trained)])


@pytest.fixture(scope="module")
def plain() -> Callable[[str], tuple[list[Any], np.ndarray[Any, Any]]]:
    """The episodes and the gradient of one update in the simplest way; computed once a method."""
    known: dict[str, Any] = {}

    def of(name: str) -> tuple[list[Any], np.ndarray[Any, Any]]:
        if name not in known:
            trained: Any = exact_config(name).build_algo()
            trained.train()
            known[name] = texts_of(trained), gradient_of(trained)
            trained.stop()
        return known[name]

    return of


def assert_same_update(trained: SDAR, expected: tuple[list[Any], np.ndarray[Any, Any]]) -> None:
    texts, gradient = expected
    assert texts_of(trained) == texts
    largest = np.abs(gradient).max()
    assert largest > 1e-4
    np.testing.assert_allclose(gradient_of(trained), gradient, rtol=1e-7, atol=1e-10 * largest)


@pytest.mark.parametrize("way", ["small micro-batches", "another order", "small chunks"])
@pytest.mark.parametrize("name", CHECKED)
def test_how_it_is_computed_does_not_change_the_gradient(
    name: str, way: str, build: Build, plain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = plain(name)
    config = exact_config(name)
    if way == "small micro-batches":
        config = exact_config(name, micro_batch_tokens=300)
    elif way == "small chunks":
        for function in (logprobs.score_responses, logprobs.topk_scores, logprobs.gather_scores):
            monkeypatch.setitem(unwrap(function).__kwdefaults__, "logit_budget_bytes", 1)
    else:

        def reordered(*args: Any, **settings: Any) -> Any:
            return training_columns(*args, **{**settings, "shuffle_seed": "another", "row_multiple": 7})

        monkeypatch.setattr(pipeline, "training_columns", reordered)
    trained = build(config)
    trained.train()
    assert_same_update(trained, expected)


def test_methods_have_gradients_of_their_own(plain: Any) -> None:
    gradients = [plain(name)[1] for name in NAMES]
    for one in range(len(NAMES)):
        for other in range(one):
            assert np.abs(gradients[one] - gradients[other]).max() > 1e-4 * np.abs(gradients[one]).max()


@pytest.mark.parametrize("name", CHECKED)
def test_the_gradients_of_shards_add_up_to_that_of_the_whole(name: str, build: Build) -> None:
    """What two learners do between scoring and averaging, in one process."""
    trained = build(exact_config(name, micro_batch_tokens=600))
    learner, seen, batches = learner_of(trained), [], []
    update = learner.update

    def note(given: dict[Any, torch.Tensor]) -> None:
        seen.append(torch.cat([gradient.flatten().clone() for gradient in given.values()]))

    def in_parts(*, training_data: Any, **kwargs: Any) -> Any:
        batch = training_data.batch.policy_batches[DEFAULT_MODULE_ID]
        columns = {name: np.asarray(value) for name, value in batch.items()}
        batches.append(columns)
        for rows in (slice(None), slice(0, None, 2), slice(1, None, 2)):
            part = SampleBatch({name: column[rows] for name, column in columns.items()})
            kwargs["minibatch_size"] = len(part)
            result = update(
                training_data=TrainingData(batch=MultiAgentBatch({DEFAULT_MODULE_ID: part}, env_steps=1)), **kwargs
            )
        return result

    learner.apply_gradients, learner.update = note, in_parts
    before = weights_of(trained)
    trained.train()
    assert equal(before, weights_of(trained))
    whole, *parts = seen
    assert len(parts) == 2
    assert all(float(part.abs().max()) > 1e-5 for part in parts)
    largest = float(whole.abs().max())
    torch.testing.assert_close(parts[0] + parts[1], whole, rtol=1e-7, atol=1e-10 * largest)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "learners"), [*((name, 2) for name in NAMES), ("rlsd", 1)])
def test_remote_learners_make_the_local_update(name: str, learners: int, build: Build, plain: Any) -> None:
    trained = build(remote(exact_config(name), learners=learners))
    trained.train()
    assert_same_update(trained, plain(name))
    local = build(exact_config(name))
    local.train()
    spread = weights_of(trained)
    for key, tensor in weights_of(local).items():
        torch.testing.assert_close(spread[key], tensor, rtol=1e-8, atol=1e-10)


def test_metrics_are_means_over_the_whole_update(build: Build) -> None:
    # At this learning rate the second minibatch meets the same student.
    trained = build(exact_config("sdar", micro_batch_tokens=700, num_minibatches=2, lr=1e-14))
    learner, passes = learner_of(trained), []
    micro = learner.compute_loss_for_module

    def note(**arguments: Any) -> Any:
        passes.append(arguments)
        return micro(**arguments)

    learner.compute_loss_for_module = note
    learned = learner_metrics(trained.train())
    assert len(passes) >= 3
    seen = trained.last_tokens
    assert seen is not None
    turns = [turn for episode in seen.episodes for turn in episode.turns]
    length_B = torch.tensor([len(turn.response_ids) for turn in turns])
    mask_BT = torch.arange(int(length_B.max())) < length_B[:, None]

    def mean(value_BT: torch.Tensor) -> float:
        return float(value_BT[mask_BT].mean())

    values = seen.values
    assert learned["weight"] == pytest.approx(1.0, abs=1e-6)
    assert learned["distill_fraction"] == pytest.approx(1.0, abs=1e-6)
    # Numbers of a batch pass through single precision on their way.
    assert learned["gap_mean"] == pytest.approx(mean(values["gap"]), rel=1e-5)
    assert learned["gate_mean"] == pytest.approx(mean(values["gate"]), rel=1e-5)
    assert learned["entropy"] == pytest.approx(mean(values["entropy"]), rel=1e-5)
    assert learned["policy_loss"] == pytest.approx(-mean(values["token_advantage"]), rel=1e-4, abs=1e-7)
    assert learned["advantage_abs"] == pytest.approx(mean(values["token_advantage"].abs()), rel=1e-5)
    assert learned["distill_loss"] == pytest.approx(mean(values["gate"] * values["gap"]), rel=1e-4)
    torch.testing.assert_close(values["gap"], values["teacher_logp"] - values["student_logp"], equal_nan=True)

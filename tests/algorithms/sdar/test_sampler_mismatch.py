"""Updates with a sampler that is not exactly the learner: the metrics, the caps, and the gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import (  # pyright: ignore[reportMissingImports]
    learner_metrics,
    learner_of,
    moments_of,
    remote,
    small_config,
    texts_of,
)

from sdar_gym.algorithms.sdar import SDAR, SDARConfig
from sdar_gym.rollout.engines import canary
from sdar_gym.training.collate import IMPORTANCE, OLD_LOGP, RESPONSE_MASK, WEIGHT

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_instance")]
Build = Callable[[SDARConfig], SDAR]
ENGINE = "perturbed_engine:perturbed_engine"
MISMATCH = {f"mismatch_{name}" for name in ("kl", "ratio_max", "ratio_min", "corrected_fraction")}


@pytest.fixture(autouse=True)
def _allow_other_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of engines would refuse this one: its weights differ by more than kernels can make up."""
    monkeypatch.setattr(canary, "TOLERANCE", 5.0)


def config(*, engine: str = ENGINE, **training: Any) -> SDARConfig:
    training = {"grad_clip": 1e9, "objective": {"kl_coeff": 0.0}, **training}
    return small_config("grpo", **training).policy(dtype="float64").rollout(engine=engine)


def ratios_of(algorithm: SDAR) -> torch.Tensor:
    """Learner to sampler of all tokens of the next update, by a pass of the present weights."""
    pipeline = algorithm.pipeline
    batch = pipeline.prepare(algorithm.last_episodes, 0)
    student_BT = pipeline._scores(batch, torch.ones(len(batch.turns), dtype=torch.bool), ("student",))["student"]
    return (student_BT - batch.old_logp_BT)[batch.response_mask_BT].exp()


def one_update(algorithm: SDAR) -> tuple[dict[str, float], dict[str, np.ndarray[Any, Any]], torch.Tensor]:
    """The learner's metrics, its columns, and the ratios, of an update without its effect."""
    seen: dict[str, Any] = {}
    update = learner_of(algorithm).update

    def note(*, training_data: Any, **kwargs: Any) -> Any:
        seen.update({name: np.array(value) for name, value in training_data.batch["default_policy"].items()})
        return update(training_data=training_data, **kwargs)

    learner_of(algorithm).update = note
    learner_of(algorithm).apply_gradients = lambda given: None
    learned = learner_metrics(algorithm.train())
    return learned, seen, ratios_of(algorithm)


@pytest.mark.parametrize("minibatches", [1, 2])
@pytest.mark.parametrize("old_logp", ["sampler", "learner"])
def test_the_mismatch_is_measured_against_the_sampler(old_logp: str, minibatches: int, build: Build) -> None:
    algorithm = build(config(old_logp=old_logp, num_minibatches=minibatches))
    learned, columns, ratio = one_update(algorithm)
    assert learned.keys() >= MISMATCH
    if old_logp == "sampler" and minibatches > 1:
        # Only the first minibatch meets the weights from before the first step.
        first = {name: column[: len(columns[WEIGHT]) // 2] for name, column in columns.items()}
        learner = learner_of(algorithm)
        with learner._evaluating() as model:
            logp_BT, _ = learner._scorer.student(model, first)
        mask = first[RESPONSE_MASK].astype(bool)
        ratio = (logp_BT - torch.from_numpy(first[OLD_LOGP]))[torch.from_numpy(mask)].exp()
        weight = torch.from_numpy(first[WEIGHT][mask])
        assert 0.2 < float(weight.sum()) < 0.8
    else:
        weight = torch.ones_like(ratio)
    kl = float(((ratio - 1 - ratio.log()) * weight).sum() / weight.sum())
    assert learned["mismatch_kl"] == pytest.approx(kl, rel=1e-5)
    assert learned["mismatch_ratio_max"] == pytest.approx(float(ratio.max()), rel=1e-5)
    assert learned["mismatch_ratio_min"] == pytest.approx(float(ratio.min()), rel=1e-5)
    assert float(ratio.max()) > 1.05 and float(ratio.min()) < 0.95
    if old_logp == "learner":
        assert learned["approx_kl"] < 1e-12 < learned["mismatch_kl"]
    elif minibatches == 1:
        assert learned["approx_kl"] == learned["mismatch_kl"]


def test_the_same_weights_are_no_mismatch(build: Build) -> None:
    for old_logp in ("sampler", "learner"):
        learned, _, _ = one_update(build(config(engine="transformers", old_logp=old_logp)))
        assert learned["mismatch_kl"] < 1e-10
        assert learned["mismatch_ratio_max"] == pytest.approx(1.0, abs=1e-5)
        assert learned["mismatch_ratio_min"] == pytest.approx(1.0, abs=1e-5)
        assert learned["mismatch_corrected_fraction"] == 0.0


@pytest.mark.parametrize("mode", ["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"])
def test_the_cap_is_kept(mode: str, build: Build) -> None:
    cap = 1.05
    algorithm = build(config(old_logp="learner", importance_correction=mode, importance_cap=cap))
    learned, columns, ratio = one_update(algorithm)
    mask = columns[RESPONSE_MASK].astype(bool)
    importance = columns[IMPORTANCE][mask]
    assert 0 < learned["mismatch_corrected_fraction"] < 1
    assert learned["mismatch_ratio_max"] > cap
    assert learned["weight"] == pytest.approx(1.0)
    assert importance.max() <= cap * (1 + 1e-12)
    if mode.endswith("mask"):
        assert importance[importance > 0].min() >= 1 / cap * (1 - 1e-12)
        assert (columns[WEIGHT][mask] > 0).tolist() == (importance > 0).tolist()
    else:
        assert importance.min() > 0 and (columns[WEIGHT][mask] > 0).all()
    if mode == "token_truncate":
        assert learned["mismatch_corrected_fraction"] == pytest.approx(float((ratio > cap).double().mean()), rel=1e-9)
    if mode == "token_mask":
        outside = (ratio > cap) | (ratio < 1 / cap)
        assert learned["mismatch_corrected_fraction"] == pytest.approx(float(outside.double().mean()), rel=1e-9)


def test_below_the_cap_the_first_step_is_that_of_the_ratio_to_the_sampler(build: Build) -> None:
    """Off policy by the sampler alone and unclipped, ρ_current · ρ_mismatch is the ratio to the sampler."""
    gradients = []
    wide = {"kl_coeff": 0.0, "clip_low": 1.0, "clip_high": 1e6, "dual_clip": None}
    for old_logp, settings in (("sampler", {}), ("learner", {"importance_cap": 1e6}), ("learner", {})):
        correction = {"importance_correction": "off"} if old_logp == "learner" and not settings else settings
        algorithm = build(config(old_logp=old_logp, objective=wide, **correction))
        learned = learner_metrics(algorithm.train())
        assert learned["mismatch_ratio_max"] > 1.05
        gradients.append((texts_of(algorithm), np.concatenate([moment.ravel() for moment in moments_of(algorithm)])))
    (texts, bypass), (same, corrected), (again, plain) = gradients
    assert texts == same == again
    largest = np.abs(bypass).max()
    np.testing.assert_allclose(corrected, bypass, rtol=1e-5, atol=1e-7 * largest)
    assert np.abs(plain - bypass).max() > 1e-3 * largest


@pytest.mark.parametrize("mode", ["token_truncate", "sequence_mask"])
def test_micro_batches_do_not_change_the_corrected_gradient(mode: str, build: Build) -> None:
    gradients = []
    for tokens in (100_000, 300):
        training: dict[str, Any] = {"importance_correction": mode, "importance_cap": 1.05, "micro_batch_tokens": tokens}
        algorithm = build(config(old_logp="learner", **training))
        learned = learner_metrics(algorithm.train())
        assert 0 < learned["mismatch_corrected_fraction"] < 1
        gradients.append(np.concatenate([moment.ravel() for moment in moments_of(algorithm)]))
    whole, parts = gradients
    np.testing.assert_allclose(parts, whole, rtol=1e-7, atol=1e-10 * np.abs(whole).max())


@pytest.mark.slow
@pytest.mark.parametrize("minibatches", [1, 2])
@pytest.mark.parametrize("old_logp", ["sampler", "learner"])
def test_two_learners_measure_and_correct_as_one(old_logp: str, minibatches: int, build: Build) -> None:
    training: dict[str, Any] = {"old_logp": old_logp, "num_minibatches": minibatches}
    if old_logp == "learner":
        training |= {"importance_correction": "token_mask", "importance_cap": 1.1}
    local, spread = build(config(**training)), build(remote(config(**training), learners=2))
    expected, found = learner_metrics(local.train()), learner_metrics(spread.train())
    assert texts_of(local) == texts_of(spread)
    for name in MISMATCH if minibatches == 1 or old_logp == "learner" else {"mismatch_corrected_fraction"}:
        assert found[name] == pytest.approx(expected[name], rel=1e-5, abs=1e-12), name
    # With two learners the first minibatch has other rows: only their size is comparable.
    assert 0.1 < found["mismatch_kl"] / expected["mismatch_kl"] < 10
    if minibatches == 1:
        one, other = (np.concatenate([moment.ravel() for moment in moments_of(each)]) for each in (local, spread))
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-7 * np.abs(one).max())


def test_settings_without_effect_are_refused() -> None:
    with pytest.raises(ValueError, match=r"training\.importance_correction='token_mask' has no effect: with training"):
        small_config(importance_correction="token_mask")
    with pytest.raises(ValueError, match=r"training\.importance_cap=3\.0 has no effect: there is no importance corr"):
        small_config(importance_cap=3.0)
    with pytest.raises(ValueError, match=r"training\.importance_cap=3\.0 has no effect"):
        small_config(old_logp="learner", importance_correction="off", importance_cap=3.0)
    assert small_config().training_settings.correction == "off"
    assert small_config(old_logp="learner", importance_cap=3.0).training_settings.correction == "token_truncate"
    assert small_config(old_logp="learner", importance_correction="off").training_settings.correction == "off"


def test_columns_keep_the_recomputed_log_probabilities(build: Build) -> None:
    _, columns, _ = one_update(build(config(old_logp="learner")))
    assert columns[OLD_LOGP].dtype == columns[IMPORTANCE].dtype == np.float64

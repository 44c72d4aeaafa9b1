"""The share of the distillation in the gradient: measured against gradients of their own, and λ set by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tiny_runs import (  # pyright: ignore[reportMissingImports]
    learner_metrics,
    learner_of,
    model_of,
    moments_of,
    remote,
    small_config,
)

from sdar_gym.algorithms.methods import get_method
from sdar_gym.algorithms.objectives.schedule import Schedule
from sdar_gym.algorithms.sdar import SDAR, SDARConfig
from sdar_gym.algorithms.sdar.gradient_share import GradientShare

Build = Callable[[SDARConfig], SDAR]
in_ray = [pytest.mark.ray, pytest.mark.usefixtures("ray_instance")]


def sharing(share: Any = 0.5) -> GradientShare:
    return GradientShare(get_method("sdar").objective.changed({"distill": {"coeff": {"share": share}}}))


def test_the_coefficient_is_the_share_of_the_mean_ratio() -> None:
    share = sharing()
    assert share.coefficient(0) == 0.5
    share.add(4.0, 2.0)
    assert share.coefficient(0) == pytest.approx(1.0)
    share.add(2.0, 4.0)
    assert share.coefficient(0) == pytest.approx(0.5)
    # Only the last five count.
    for _ in range(5):
        share.add(3.0, 1.0)
    assert share.coefficient(0) == pytest.approx(1.5)
    # A batch without one of the gradients says nothing.
    for policy, distill in ((0.0, 1.0), (1.0, 0.0), (float("inf"), 1.0), (float("nan"), 1.0)):
        share.add(policy, distill)
    assert share.coefficient(0) == pytest.approx(1.5)
    other = sharing()
    other.restore([*share.ratios])
    assert other.coefficient(7) == share.coefficient(7)


def test_a_share_may_have_a_schedule() -> None:
    share = sharing([[0, 1.0], [10, 0.0]])
    share.add(2.0, 1.0)
    assert [share.coefficient(step) for step in (0, 5, 10)] == pytest.approx([2.0, 1.0, 0.0])
    assert share.is_due(0) and not share.is_due(10)


def test_the_norms_are_measured_when_they_are_needed() -> None:
    share = sharing()
    assert [share.is_due(step) for step in range(3)] == [True] * 3
    share.restore([1.0] * 5)
    assert [step for step in range(40) if share.is_due(step)] == [0, 10, 20, 30]
    fixed = GradientShare(get_method("sdar").objective)
    assert fixed.coefficient(0) is None
    assert [step for step in range(120) if fixed.is_due(step)] == [0, 50, 100]
    assert not any(GradientShare(get_method(name).objective).is_due(0) for name in ("grpo", "rlsd", "opsd"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policy_coeff": {"share": 1.0}}, "policy_coeff cannot be a share"),
        (
            {"policy_coeff": 0.0, "distill": {"coeff": {"share": 1.0}}},
            "a share of the policy gradient, but policy_coeff",
        ),
        ({"distill": {"coeff": {"share": {"share": 1.0}}}}, r"or \{share: …\} of them"),
        ({"distill": {"coeff": {"part": 1.0}}}, r"or \{share: …\} of them"),
        ({"distill": {"coeff": {"share": -1.0}}}, "must never be negative"),
        ({"distill": {"coeff": {"share": "much"}}}, r"distill\.coeff\.share"),
    ],
)
def test_senseless_shares_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        get_method("sdar").objective.changed(changes)


def test_a_shaper_with_the_distillation_s_coefficient_needs_a_number() -> None:
    with pytest.raises(ValueError, match="as its own coefficient, which must be a number"):
        get_method("distil").objective.changed({"policy_coeff": 1.0, "distill": {"coeff": {"share": 1.0}}})


def test_a_share_is_written_as_it_is_read() -> None:
    for written in ({"share": 0.8}, {"share": [[0, 0.8], [10, 0.0]]}):
        assert Schedule.parse("coeff", written).plain() == written


def exact(**objective: Any) -> SDARConfig:
    """Both gradients and no other; AdamW's first moment is a tenth of the gradient."""
    objective = {"kl_coeff": 0.0, "entropy_coeff": 0.0, **objective}
    return small_config("sdar", objective=objective, grad_clip=1e9).policy(dtype="float64")


def gradient_norm(trained: SDAR) -> float:
    return float(10 * np.sqrt(sum((moment**2).sum() for moment in moments_of(trained))))


class TestInTraining:
    pytestmark = in_ray

    def test_the_norms_are_those_of_the_two_gradients_alone(self, build: Build) -> None:
        both = build(exact(distill={"coeff": {"share": 0.8}}))
        first = learner_metrics(both.train())
        assert first["distill_gradient_share"] == pytest.approx(0.8)
        assert first["distill_coeff"] == pytest.approx(
            0.8 * first["policy_gradient_norm"] / first["distill_gradient_norm"]
        )
        teacher_alone = build(exact(policy_coeff=0.0, distill={"coeff": 2.0}))
        teacher_alone.train()
        assert gradient_norm(teacher_alone) / 2 == pytest.approx(first["distill_gradient_norm"], rel=1e-6)
        reward_alone = build(exact(distill={"coeff": 1e-12}))
        reward_alone.train()
        assert gradient_norm(reward_alone) == pytest.approx(first["policy_gradient_norm"], rel=1e-6)
        # What was learned is the sum of both.
        fixed = build(exact(distill={"coeff": first["distill_coeff"]}))
        fixed.train()
        assert gradient_norm(fixed) == pytest.approx(gradient_norm(both), rel=1e-9)

    @pytest.mark.slow
    def test_measuring_changes_nothing(self, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
        measured = build(exact())
        assert "distill_gradient_share" in learner_metrics(measured.train())
        monkeypatch.setattr(GradientShare, "is_due", lambda self, step: False)
        plain = build(exact())
        assert "distill_gradient_share" not in learner_metrics(plain.train())
        for one, other in zip(moments_of(measured), moments_of(plain), strict=True):
            np.testing.assert_array_equal(one, other)

    def test_the_measurements_are_part_of_the_state(self, build: Build) -> None:
        trained = build(exact(distill={"coeff": {"share": 0.8}}))
        trained.train()
        trained.train()
        ratios = [*learner_of(trained)._share.ratios]
        assert len(ratios) == 2
        # A gradient that were left would be measured with the next update's.
        assert all(parameter.grad is None for parameter in model_of(trained).parameters())
        other = build(exact(distill={"coeff": {"share": 0.8}}))
        other.set_state(trained.get_state())
        assert [*learner_of(other)._share.ratios] == ratios

    @pytest.mark.slow
    def test_two_learners_measure_the_same(self, build: Build) -> None:
        one, two = (
            learner_metrics(build(remote(exact(distill={"coeff": {"share": 0.8}}), learners=count)).train())
            for count in (0, 2)
        )
        for name in ("policy_gradient_norm", "distill_gradient_norm", "distill_coeff", "distill_gradient_share"):
            assert two[name] == pytest.approx(one[name], rel=1e-6)

"""Trust episodes in training: what is played, what they weigh, and that a resumed run knows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tiny_runs import (  # pyright: ignore[reportMissingImports]
    learner_metrics,
    moments_of,
    small_config,
    texts_of,
)

from sdar_gym.algorithms.methods import get_method
from sdar_gym.algorithms.sdar import SDAR, SDARConfig
from sdar_gym.training.teacher_trust import TeacherTrust

Build = Callable[[SDARConfig], SDAR]


def exact(**distill: Any) -> SDARConfig:
    objective = {"kl_coeff": 0.0, "entropy_coeff": 0.0, "distill": {"coeff": 1.0, **distill}}
    return small_config("sdar", objective=objective, grad_clip=1e9).policy(dtype="float64")


def gradient(trained: SDAR) -> np.ndarray[Any, Any]:
    return 10 * np.concatenate([moment.ravel() for moment in moments_of(trained)])


def test_only_a_teacher_with_skills_can_earn_trust() -> None:
    with pytest.raises(ValueError, match=r"trust_episodes plays episodes with skills, but teacher\.view is 'sibling'"):
        get_method("sdar").objective.changed({"teacher": {"view": "sibling"}, "distill": {"trust_episodes": 1}})
    with pytest.raises(ValueError, match="trust_episodes"):
        get_method("sdar").objective.changed({"distill": {"trust_episodes": 0}})


@pytest.mark.ray
@pytest.mark.usefixtures("ray_instance")
def test_trust_scales_the_distillation_and_nothing_else(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    full = build(exact())
    full.train()
    teacher = build(exact(trust_episodes=2))
    found = teacher.train()
    assert texts_of(teacher) == texts_of(full)
    # Two tasks, two episodes each.
    assert found["teacher"]["trust_episodes"] == 4
    assert 0 <= found["teacher"]["success_with_skills"] <= 1
    gradients = {1.0: gradient(full)}
    norms = {}
    for trust in (0.0, 0.5):
        monkeypatch.setattr(TeacherTrust, "of", lambda self, types, trust=trust: dict.fromkeys(types, trust))
        weighed = build(exact(trust_episodes=1))
        norms[trust] = learner_metrics(weighed.train())["distill_gradient_norm"]
        gradients[trust] = gradient(weighed)
    np.testing.assert_allclose(gradients[0.5], (gradients[0.0] + gradients[1.0]) / 2, rtol=1e-6, atol=1e-9)
    assert np.abs(gradients[1.0] - gradients[0.0]).max() > 1e-4
    # A share is of the distillation in full: λ does not make up for what trust takes away.
    assert norms[0.0] == pytest.approx(norms[0.5])


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.usefixtures("ray_instance")
def test_what_was_learned_is_part_of_the_state(build: Build) -> None:
    trained = build(exact(trust_episodes=1))
    trained.train()
    state = trained._trust_episodes.trust.get_state()
    assert sum(counts[3] for counts in state.values()) == 2
    other = build(exact(trust_episodes=1))
    other.set_state(trained.get_state())
    assert other._trust_episodes.trust.get_state() == state
